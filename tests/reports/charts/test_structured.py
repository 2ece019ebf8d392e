"""Channels removed on charts and live curves: a look of its own, lines, MACs on hover."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pages.components import live, shell
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.structured import inspection
from pruning_core.reports.charts.comparison import figure
from pruning_core.reports.charts.style import SERIES
from pruning_core.results.best_model import headline
from pruning_core.results.findings import findings
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.frames import DENSE_BYTES, comparison, frame, point
from tests.helpers.inspections import Facts


def removed(asked: float, right: int, iteration: int = 0, **more: object) -> dict[str, object]:
    own = {"iteration": iteration, "macs": 3e6 * (1 - asked), "dense_bytes": DENSE_BYTES // 2}
    return point("structured", asked, right, **{**own, **more})


def traces(*rows: dict[str, object], x: str = "sparsity_prunable") -> list[object]:
    drawn = figure(frame(comparison(), list(rows)), "size", x)
    return [trace for trace in drawn.data if trace.name == "structured"]


def test_it_has_a_colour_and_a_symbol_of_its_own() -> None:
    assert SERIES["structured"].color == "#CC79A7"
    looks = [(look.color, look.symbol) for look in SERIES.values()]
    assert len({color for color, _ in looks}) == len({mark for _, mark in looks}) == len(looks)


def test_amounts_are_joined_over_sparsity_and_not_over_a_budget() -> None:
    rows = removed(0.3, 380), removed(0.5, 370)
    modes = [trace.mode for trace in traces(*rows)]  # type: ignore[attr-defined]
    assert modes == ["lines", "markers"]
    spent = traces(*rows, x="epochs")
    assert [trace.mode for trace in spent] == ["markers"]  # type: ignore[attr-defined]


def test_of_chains_only_the_ends_are_joined() -> None:
    rows = [removed(asked, 370, i) for asked, i in ((0.2, 1), (0.3, 2), (0.4, 1), (0.5, 2))]
    line, marks = traces(*rows)
    assert list(line.x)[-2:] == [30, 50]  # type: ignore[attr-defined]
    assert 20 not in list(line.x)  # type: ignore[attr-defined]
    assert len(marks.x) == 4  # type: ignore[attr-defined]


def test_the_hover_tells_macs_where_they_are_known() -> None:
    marks = traces(removed(0.5, 370))[-1]
    assert "1.5 M multiply-accumulates (MACs) an image" in marks.hovertext[0]  # type: ignore[attr-defined]
    other = figure(frame(comparison()), "size").data
    assert not any("MACs" in str(trace.hovertext) for trace in other)


def test_the_dense_file_is_the_baseline_s() -> None:
    drawn = figure(frame(comparison(), [removed(0.5, 370)]), "size")
    assert any("9.19 MB" in note.text for note in drawn.layout.annotations if note.text)


def test_it_is_set_against_the_control_and_the_headline_takes_it() -> None:
    rows = [removed(0.95, 380, sparsity_prunable=0.95, validation_drop=0.0)]
    texts = [found.text for found in findings(frame(comparison(), rows))]
    assert any("channels removed at 95 % asked" in t and "the dense control" in t for t in texts)
    assert not any("channels removed" in t and "iterative" in t for t in texts)
    found = headline(frame(comparison(), rows))
    assert found is not None
    assert found.name == "channels removed"


@pytest.mark.usefixtures("no_worker")
def test_each_chain_is_one_live_curve(cache: Cache, queue: Queue) -> None:
    own = StructuredSpec(True, (0.3, 0.5), steps=2, epochs=1, final_epochs=1)
    spec = replace(QUICKSTART, structured=own)
    facts = Facts(spec)
    facts.results[inspection(spec, 10).key] = {"notes": []}
    job = queue.submit(spec, "chains")
    queue.expand(job, plan(spec, facts), ())
    while row := queue.claim("t", 2):
        entries = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5}] * bool(row.settings.get("epochs"))
        queue.beat(row.key, "t", 1, {"fraction": 1.0, "history": entries})
        queue.finish(row.key, "t")
    found, strategies = live.histories(
        shell.Lab(cache, Store(cache), queue), job_progress(queue, job), 0
    )
    for name in ("channels 30 %", "channels 50 %"):
        assert [entry["epoch"] for entry in found[name]] == [1, 2, 3]
        assert strategies[name] == "structured"
    assert found["channels 50 %"][2]["stage"] == "channels, tail, 50 %"

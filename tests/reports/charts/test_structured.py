"""Structured models on charts and live curves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pages.components import live
from pages.components.lab import Lab
from pages.components.page_store import PageStore
from pruning_core.common.paths import Cache
from pruning_core.methods.strategies import STRATEGIES, STRUCTURED
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.structured import inspect_groups
from pruning_core.reports.charts.comparison import comparison_chart
from pruning_core.reports.charts.style import SERIES
from pruning_core.results.best_model import answers
from pruning_core.results.models import chain_names, titles
from pruning_core.results.pairs import pair_results
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from tests.helpers.frames import DENSE_BYTES, comparison, frame, point
from tests.helpers.inspections import DRY_RUN, Facts


def structured(target: float, right: int, iteration: int = 0, **more: Any) -> dict[str, Any]:
    """A row of a structured model; `right` test images are classified correctly."""
    values = {"iteration": iteration, "macs": 3e6 * (1 - target), "dense_bytes": DENSE_BYTES // 2}
    return point(STRUCTURED, target, right, **{**values, **more})


def traces(*rows: dict[str, Any], x: str = "sparsity_prunable") -> list[Any]:
    chart = comparison_chart(frame(comparison(), list(rows)), "size", x)
    return [trace for trace in chart.data if trace.name == STRUCTURED]


def test_every_series_has_its_own_color_and_symbol() -> None:
    assert SERIES[STRUCTURED].color == "#CC79A7"
    styles = [(strategy.color, strategy.symbol) for strategy in SERIES.values()]
    assert len({color for color, _ in styles}) == len({mark for _, mark in styles}) == len(styles)


def test_a_line_joins_ratios_over_sparsity_and_not_over_a_budget() -> None:
    rows = structured(0.3, 380), structured(0.5, 370)
    assert [trace.mode for trace in traces(*rows)] == ["lines", "markers"]
    assert [trace.mode for trace in traces(*rows, x="epochs")] == ["markers"]


def test_a_line_joins_only_the_last_step_of_each_ratio() -> None:
    rows = [structured(ratio, 370, i) for ratio, i in ((0.2, 1), (0.3, 2), (0.4, 1), (0.5, 2))]
    line, markers = traces(*rows)
    assert list(line.x)[-2:] == [30, 50]
    assert 20 not in list(line.x)
    assert len(markers.x) == 4


def test_the_hover_text_has_macs_where_they_are_known() -> None:
    markers = traces(structured(0.5, 370))[-1]
    assert "1.5 M multiply-accumulates (MACs) per image" in markers.hovertext[0]
    others = comparison_chart(frame(comparison()), "size").data
    assert not any("MACs" in str(trace.hovertext) for trace in others)


def test_the_dense_file_is_that_of_the_baseline() -> None:
    chart = comparison_chart(frame(comparison(), [structured(0.5, 370)]), "size")
    assert any("9.19 MB" in note.text for note in chart.layout.annotations if note.text)


def test_it_is_compared_with_the_control_and_can_be_the_best_model() -> None:
    rows = [structured(0.95, 380, sparsity_prunable=0.95, validation_drop=0.0)]
    title = STRATEGIES[STRUCTURED].title
    pairs = [result.names for result in pair_results([*comparison(), *rows])]
    assert [pair for pair in pairs if f"{title} at 95 %" in pair] == [
        (f"{title} at 95 %", "fine-tuned dense control")
    ]
    best = answers(frame(comparison(), rows))[0].best
    assert best is not None
    assert best.strategy == STRUCTURED


@pytest.mark.usefixtures("no_worker")
def test_the_steps_of_a_ratio_are_one_live_curve(cache: Cache, queue: Queue) -> None:
    settings = StructuredSpec(True, (0.3, 0.5), steps=2, epochs=1, final_epochs=1)
    spec = replace(QUICKSTART, structured=settings)
    facts = Facts(spec)
    facts.results[inspect_groups(spec, 10).key] = DRY_RUN
    job = queue.submit(spec, "structured")
    queue.expand(job, plan(spec, facts), ())
    while row := queue.claim("t", 2):
        epochs = [{"epoch": 1, "loss": 1.0, "accuracy": 0.5}] * bool(row.settings.get("epochs"))
        queue.beat(row.key, "t", 1, {"fraction": 1.0, "history": epochs})
        queue.finish(row.key, "t")
    state = job_progress(queue, job)
    curves, strategies = live.histories(Lab(cache, PageStore(cache), queue), state, 0)
    names = dict.fromkeys(
        name for model, name in chain_names(state.outline).items() if model.strategy == STRUCTURED
    )
    assert [name.split(" ", 1)[1] for name in names] == ["30 %", "50 %"]
    for name in names:
        assert [epoch["epoch"] for epoch in curves[name]] == [1, 2, 3]
        assert strategies[name] == STRUCTURED
    final = next(m for m in state.outline.models if m.final and m.strategy == STRUCTURED)
    assert curves[next(iter(names))][2]["stage"] == titles(state.outline)[final.key][0]

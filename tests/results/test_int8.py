"""Pruned and quantized points: rows of their own that choose nothing and stand on the charts."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.methods.strategies import QUANTIZED
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.reports.charts.comparison import CHARTS, figure
from pruning_core.reports.csv_export import to_csv
from pruning_core.results import models
from pruning_core.results.best_model import headline
from pruning_core.results.findings import findings
from pruning_core.results.int8 import int8_rows, int8_stages
from pruning_core.results.rows import is_pruned, over_seeds, rows_of
from pruning_core.results.tables import file_notes_told, notes_told, readable, summary_tables
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.frames import comparison, frame
from tests.helpers.pages import open_page, put, texts
from tests.pages.test_compare import run

MADE = {
    "bytes": 1000,
    "accuracy": 0.5,
    "accuracy_low": 0.4,
    "accuracy_high": 0.6,
    "loss": 1.0,
    "test_images": 400,
    "notes": ["Calibrated on all 9 training images; 512 were asked for."],
}


@pytest.fixture(autouse=True)
def no_worker(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages see the test's cache, and start no process."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: "")


def make(cache: Cache, rows: list[dict[str, Any]]) -> None:
    """Both int8 files of these rows, as if a worker had made them."""
    for stage in int8_stages(rows):
        put(Store(cache), stage.key, stage.kind, MADE)


def test_a_file_has_its_points_figures_but_what_was_measured_on_it(cache: Cache) -> None:
    rows = comparison()
    put(Store(cache), export_stage(rows[4]["key"], "onnx_int8").key, "export", MADE)
    (row,) = int8_rows(rows, Store(cache))
    point = rows[4]
    assert (row["strategy"], row["of"]) == ("int8_onnx", "one_shot")
    assert (row["accuracy"], row["sparse_bytes"]) == (0.5, 1000)
    assert row["accuracy_drop"] == pytest.approx(rows[0]["accuracy"] - 0.5)
    assert row["compression_ratio"] == pytest.approx(point["dense_bytes"] / 1000)
    assert math.isnan(row["validation_drop"])
    assert row["sparsity_prunable"] == point["sparsity_prunable"]


def test_it_changes_no_answer_no_finding_and_no_table_of_the_assignment(cache: Cache) -> None:
    rows = [row for seed in (0, 1) for row in comparison(seed)]
    make(cache, rows)
    before, after = frame(rows), frame(rows, int8_rows(rows, Store(cache)))
    assert len(after) == 3 * len(before)
    assert headline(after) == headline(before)
    assert findings(after) == findings(before)
    assert summary_tables(after) == summary_tables(before)


def test_files_of_different_strategies_are_no_seeds_of_one_another(cache: Cache) -> None:
    """One-shot and the equal_budget one at 90 % have the same amount and step."""
    rows = comparison()
    make(cache, rows)
    whole = over_seeds(frame(rows, int8_rows(rows, Store(cache))))
    assert set(whole["seeds"]) == {1}
    told = readable(whole)["Strategy"].tolist()
    assert "one-shot, same epochs, int8 ONNX" in told
    assert "dense control, int8 sparse" in told


@pytest.mark.parametrize("name", CHARTS)
def test_each_kind_of_file_is_a_series_of_points(cache: Cache, name: str) -> None:
    rows = comparison()
    make(cache, rows)
    drawn = figure(frame(rows, int8_rows(rows, Store(cache))), name)
    for strategy in QUANTIZED:
        (marks,) = [trace for trace in drawn.data if trace.name == strategy]
        assert (marks.mode, len(marks.x)) == ("markers", len(rows))
        assert any("int8 file 1.00 kB" in text for text in marks.hovertext)


def test_over_a_budget_they_stand_at_their_points_and_hide_no_label(cache: Cache) -> None:
    rows = comparison()
    make(cache, rows)
    alone = figure(frame(rows), "accuracy", "epochs")
    both = figure(frame(rows, int8_rows(rows, Store(cache))), "accuracy", "epochs")
    assert both.layout.xaxis.range == alone.layout.xaxis.range
    inside = [
        [a.text for a in drawn.layout.annotations if a.xref == "x"] for drawn in (alone, both)
    ]
    assert set(inside[0]) <= set(inside[1])


def test_a_file_is_no_pruned_point(cache: Cache) -> None:
    rows = comparison()
    make(cache, rows)
    assert not any(map(is_pruned, int8_rows(rows, Store(cache))))


def test_a_runs_points_come_with_their_files(cache: Cache) -> None:
    job = Queue(cache.queue).job(run(cache))
    assert job
    outline, store = Outline.from_json(job.outline), Store(cache)
    points = models.points(outline, store)
    assert set(points["of"]) == {""}
    make(cache, rows_of(points))
    both = models.points(outline, store)
    assert len(both) == (1 + len(QUANTIZED)) * len(points)
    assert to_csv(both).count(",int8_sparse,") == 0  # the strategy is the first column
    assert to_csv(both).count("\nint8_sparse,") == len(points)
    assert notes_told(both) == notes_told(points)
    kinds = "Pruned, int8 sparse and pruned, int8 ONNX"
    assert file_notes_told(both) == [f"{kinds}: {MADE['notes'][0]}"]


def test_a_note_on_some_files_says_which(cache: Cache) -> None:
    rows = [*comparison(0), *comparison(1)]
    make(cache, rows)
    found = int8_rows(rows, Store(cache))
    for row in found:
        row["notes"] = ["Only here."] if row["seed"] == 1 else []
    assert file_notes_told(frame(rows, found))[-1].startswith(
        "Pruned, int8 sparse and pruned, int8 ONNX, seed 1: Only"
    )


def test_the_page_has_them_made_and_shows_them(cache: Cache) -> None:
    job = run(cache)
    test = open_page("pages/3_Compare.py", runs=job)
    (add,) = [button for button in test.button if button.label == "Add int8"]
    add.click().run()
    queue, store = Queue(cache.queue), Store(cache)
    found = Queue(cache.queue).job(job)
    assert found
    points = models.points(Outline.from_json(found.outline), store)
    stages = int8_stages(rows_of(points))
    assert len(stages) == 2 * len(points)
    assert all((row := queue.stage(s.key)) and row.status == "queued" for s in stages)
    assert f"{len(stages)} int8 files to come" in texts(test)
    make(cache, rows_of(points))
    test = open_page("pages/3_Compare.py", runs=job)
    assert not [button for button in test.button if button.label == "Add int8"]
    told = MADE["notes"][0]  # type: ignore[index]
    assert not [box for box in test.info if told in box.value]
    assert [text for text in test.caption if told in text.value.replace("\\", "")]

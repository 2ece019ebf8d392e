"""int8 files are series of their own, and no model selection or finding uses them."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pruning_core.common.paths import Cache
from pruning_core.methods.strategies import QUANTIZED
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.reports.charts.comparison import CHARTS, comparison_chart
from pruning_core.reports.csv_export import to_csv
from pruning_core.results.best_model import answers
from pruning_core.results.findings import findings
from pruning_core.results.int8 import int8_rows, int8_stages
from pruning_core.results.models import results_frame
from pruning_core.results.rows import is_pruned, rows_of, with_seed_statistics
from pruning_core.results.tables import int8_notes, model_notes, results_table, summary_tables
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.export_page import shown
from tests.helpers.frames import comparison, frame
from tests.helpers.pages import open_page, put
from tests.helpers.results import exported
from tests.pages.test_compare import run

pytestmark = pytest.mark.usefixtures("no_worker")

NOTE = "Calibrated on all 9 training images; 512 were requested."
EXPORT = {**exported(1000, 0.5), "notes": [NOTE]}


def make(cache: Cache, rows: list[dict[str, Any]]) -> None:
    """Publish both int8 files of these rows."""
    for stage in int8_stages(rows):
        put(Store(cache), stage.key, stage.kind, EXPORT)


def test_a_file_has_the_figures_of_its_model_but_those_measured_on_it(cache: Cache) -> None:
    rows = comparison()
    put(Store(cache), export_stage(rows[4]["key"], "onnx_int8").key, "export", EXPORT)
    (row,) = int8_rows(rows, Store(cache))
    model = rows[4]
    assert (row["strategy"], row["quantized_from"]) == ("int8_onnx", "one_shot")
    assert (row["accuracy"], row["sparse_bytes"]) == (0.5, 1000)
    assert row["accuracy_drop"] == pytest.approx(rows[0]["accuracy"] - 0.5)
    assert row["compression_ratio"] == pytest.approx(model["dense_bytes"] / 1000)
    assert math.isnan(row["validation_drop"])
    assert row["sparsity_prunable"] == model["sparsity_prunable"]


def test_files_change_no_best_model_no_finding_and_no_table_of_the_assignment(cache: Cache) -> None:
    rows = [row for seed in (0, 1) for row in comparison(seed)]
    make(cache, rows)
    before, after = frame(rows), frame(rows, int8_rows(rows, Store(cache)))
    assert len(after) == 3 * len(before)
    assert answers(after) == answers(before)
    assert findings(after) == findings(before)
    assert summary_tables(after) == summary_tables(before)


def test_files_of_different_strategies_are_no_seeds_of_one_model(cache: Cache) -> None:
    """One-shot and one-shot, equal budget have the same target sparsity and step."""
    rows = comparison()
    make(cache, rows)
    whole = with_seed_statistics(frame(rows, int8_rows(rows, Store(cache))))
    assert set(whole["seeds"]) == {1}
    names = results_table(whole)["Strategy"].tolist()
    assert "one-shot, equal budget, int8 ONNX" in names
    assert "fine-tuned dense control, int8 sparse" in names


@pytest.mark.parametrize("name", CHARTS)
def test_each_file_format_is_a_series(cache: Cache, name: str) -> None:
    rows = comparison()
    make(cache, rows)
    drawn = comparison_chart(frame(rows, int8_rows(rows, Store(cache))), name)
    for strategy in QUANTIZED:
        (marks,) = [trace for trace in drawn.data if trace.name == strategy]
        assert (marks.mode, len(marks.x)) == ("markers", len(rows))
        assert any("int8 file 1.00 kB" in text for text in marks.hovertext)


def test_over_epochs_files_stand_at_their_models_and_hide_no_label(cache: Cache) -> None:
    rows = comparison()
    make(cache, rows)
    alone = comparison_chart(frame(rows), "accuracy", "epochs")
    both = comparison_chart(frame(rows, int8_rows(rows, Store(cache))), "accuracy", "epochs")
    assert both.layout.xaxis.range == alone.layout.xaxis.range
    inside = [
        [a.text for a in drawn.layout.annotations if a.xref == "x"] for drawn in (alone, both)
    ]
    assert set(inside[0]) <= set(inside[1])


def test_a_file_is_no_pruned_model(cache: Cache) -> None:
    rows = comparison()
    make(cache, rows)
    assert not any(map(is_pruned, int8_rows(rows, Store(cache))))


def test_the_frame_of_a_run_holds_its_files(cache: Cache) -> None:
    job = Queue(cache.queue).job(run(cache))
    assert job
    outline, store = Outline.from_json(job.outline), Store(cache)
    models = results_frame(outline, store)
    assert set(models["quantized_from"]) == {""}
    make(cache, rows_of(models))
    both = results_frame(outline, store)
    assert len(both) == (1 + len(QUANTIZED)) * len(models)
    assert to_csv(both).count(",int8_sparse,") == 0  # the strategy is the first column
    assert to_csv(both).count("\nint8_sparse,") == len(models)
    assert model_notes(both) == model_notes(models)
    kinds = "int8 sparse and int8 ONNX"
    assert int8_notes(both) == [f"{kinds}: {EXPORT['notes'][0]}"]


def test_a_note_on_some_files_names_them(cache: Cache) -> None:
    rows = [*comparison(0), *comparison(1)]
    make(cache, rows)
    found = int8_rows(rows, Store(cache))
    for row in found:
        row["notes"] = ["Only here."] if row["seed"] == 1 else []
    assert int8_notes(frame(rows, found))[-1].startswith("int8 sparse and int8 ONNX, seed 1: Only")


def test_the_page_exports_and_shows_the_files(cache: Cache) -> None:
    job = run(cache)
    test = open_page("pages/3_Compare.py", runs=job)
    (add,) = [button for button in test.button if button.label == "Quantize all to int8"]
    add.click().run()
    queue, store = Queue(cache.queue), Store(cache)
    found = Queue(cache.queue).job(job)
    assert found
    models = results_frame(Outline.from_json(found.outline), store)
    stages = int8_stages(rows_of(models))
    assert len(stages) == 2 * len(models)
    assert all((row := queue.stage(s.key)) and row.status == "queued" for s in stages)
    assert f"Queued; {len(stages)} left." in shown(test)
    make(cache, rows_of(models))
    test = open_page("pages/3_Compare.py", runs=job)
    assert not [button for button in test.button if button.label == "Quantize all to int8"]
    note = EXPORT["notes"][0]
    assert not [box for box in test.info if note in box.value]
    assert [text for text in test.caption if note in text.value.replace("\\", "")]

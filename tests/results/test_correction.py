"""Training-free correction in the results: names, its table, and sentences about it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import outline
from pruning_core.results.best_model import answers
from pruning_core.results.correction import correction_table
from pruning_core.results.models import titles
from pruning_core.results.pairs import pair_table
from pruning_core.results.rows import model_name
from pruning_core.results.tables import results_table, summary_tables
from pruning_core.settings.correction import CorrectionSpec
from tests.helpers.frames import comparison, frame, point
from tests.helpers.inspections import Facts

CORRECTED = replace(QUICKSTART, correction=CorrectionSpec(enabled=True, images=100))
CORRECT_IMAGES = (150, 250, 260, 300)


def corrected(asked: float = 0.5, **changes: Any) -> list[dict[str, Any]]:
    """The rows of a pruned model and its corrections."""
    untrained = {"epochs": 0, "accuracy_drop": 0.2}
    return [
        point("correction", asked, right, iteration=i, seconds=3.0 * i, **{**untrained, **changes})
        for i, right in enumerate(CORRECT_IMAGES)
    ]


def test_each_correction_has_a_name() -> None:
    planned = plan(CORRECTED, Facts(CORRECTED))
    names = titles(outline(planned))
    models = [m for m in planned.models if m.strategy == "correction" and m.target == 0.5]
    assert [names[m.key] for m in models] == [
        (f"{model_name('correction', 0.5, i)}, 50 %", "correction") for i in range(len(CORRECTIONS))
    ]
    assert [model_name("correction", 0.5, i) for i in range(len(CORRECTIONS))] == [
        "training-free, no correction",
        "training-free, BN recalibration",
        "training-free, bias correction",
        "training-free, weight reconstruction (least squares)",
    ]


def test_the_table_has_a_row_for_each_correction_by_sparsity() -> None:
    table = correction_table(frame(comparison(), corrected(0.9), corrected(0.5)))
    assert list(table["Target sparsity"]) == ["50 %"] * 4 + ["90 %"] * 4
    assert list(table["Correction"])[:4] == list(CORRECTIONS.titles.values())
    columns = ["Target sparsity", "Correction", "Accuracy", "95 % CI", "Time"]
    assert list(table.columns) == columns
    assert table["Accuracy"][3] == "75 %"
    several = correction_table(frame(comparison(1), corrected(seed=1), corrected(seed=0)))
    assert list(several["Seed"]) == [0] * 4 + [1] * 4
    assert correction_table(frame(comparison())).empty


def test_other_tables_contain_corrected_models() -> None:
    both = frame(comparison(), corrected())
    strategies = list(results_table(both)["Strategy"])
    assert "training-free, weight reconstruction (least squares)" in strategies
    assert "training-free, no correction" in summary_tables(both)


def test_the_last_correction_is_compared_with_fine_tuning() -> None:
    """At the highest sparsity, with the epochs of both."""
    table = pair_table([*comparison(), *corrected(0.9)])
    (row,) = table[table["First model"].str.startswith("training-free")].to_dict("records")
    assert row["First model"] == "training-free (weight reconstruction)"
    assert (row["Second model"], row["First model is"]) == ("one-shot", "better")
    assert (row["Accuracy"], row["Epochs"]) == ("75 vs 70 %", "0 vs 2 epochs")


def test_the_best_model_may_be_a_corrected_one() -> None:
    baseline = [row for row in comparison() if row["strategy"] == "baseline"]
    best = answers(frame(baseline, corrected(validation_drop=0.0)))[0].best
    assert best is not None
    assert best.name.startswith("training-free")

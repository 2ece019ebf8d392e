"""The hover text of a model."""

from __future__ import annotations

from pruning_core.reports.charts.hover import hover_text
from pruning_core.results.differences import with_reference
from pruning_core.results.rows import mean_over_seeds
from tests.helpers.frames import comparison, point


def test_the_hover_text_has_every_value() -> None:
    row = comparison(notes=["Mean was guessed."])[-2]
    assert hover_text(row).split("<br>") == [
        "<b>iterative</b>, step 5, seed 0, run",
        "target sparsity 90 %, reached 90.00 % (prunable weights)",
        "sparsity 90.00 % (conv + linear weights), 88.63 % (all parameters)",
        "accuracy 82.5 % (95 % CI 78.5 % to 85.9 %)",
        "accuracy drop 12.5 points",
        "validation accuracy 82.5 % (10,000 images)",
        "sparse file 1.13 MB, dense file 9.19 MB",
        "compression ratio 8.1x",
        "254,378 of 2,236,682 parameters are non-zero",
        "fine-tuning: 10 epochs, 1 min 45 s",
        "Mean was guessed.",
    ]


def test_the_baseline_has_its_training_and_no_drop() -> None:
    text = hover_text(comparison()[0])
    assert "training: 20 epochs, 1 min" in text
    assert "fine-tuning" not in text
    assert "accuracy drop" not in text


def test_unknown_values_are_left_out() -> None:
    unknown = float("nan")
    row = point("one_shot", 0.5, accuracy=unknown, sparse_bytes=unknown, sparsity_model=unknown)
    text = hover_text(row)
    assert not [
        word for word in ("accuracy 9", "file", "all parameters", "MACs", "nan") if word in text
    ]


def test_regrown_weights_are_counted() -> None:
    assert "1,234 pruned weights regrown in this step" in hover_text(
        point("iterative", 0.5, iteration=2, regrown=1234)
    )


def test_long_notes_are_wrapped_and_escaped() -> None:
    lines = hover_text(point("one_shot", 0.5, notes=["<i> " * 60])).split("<br>")
    assert lines[-1].count("&lt;i&gt;") < 60
    assert "<i>" not in lines[-1]


def test_the_differences_from_the_reference_are_given() -> None:
    row = with_reference(comparison())[-2]
    line = "\u221213 points and \u22127.86 MB from the fine-tuned dense control"
    assert line in hover_text(row).split("<br>")
    mean = mean_over_seeds(with_reference([*comparison(), *comparison(1, 3)]))[-2]
    assert line in hover_text(mean).split("<br>")

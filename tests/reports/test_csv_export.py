"""The CSV holds the numbers of the results, bit for bit."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.reports import csv_export
from pruning_core.reports.charts.hover import hover_text
from pruning_core.results.tables import results_table
from tests.helpers.frames import comparison, frame, point

ASSIGNMENT = [
    "strategy",
    "seed",
    "iteration",
    "sparsity_asked",
    "sparsity_prunable",
    "sparsity_weights",
    "sparsity_model",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_drop",
    "dense_bytes",
    "sparse_bytes",
    "compression_ratio",
    "parameters",
    "nonzero",
    "epochs",
    "seconds",
]


def first_row(results: pd.DataFrame) -> dict[str, str]:
    return next(csv.DictReader(io.StringIO(csv_export.to_csv(results))))


def test_the_columns_of_the_assignment_come_first() -> None:
    assert list(csv_export.CSV_COLUMNS[: len(ASSIGNMENT)]) == ASSIGNMENT


def test_the_csv_gives_back_every_number_bit_for_bit() -> None:
    results = frame(comparison())
    text = csv_export.to_csv(results)
    assert text.splitlines()[0] == ",".join(csv_export.CSV_COLUMNS)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["strategy"] for row in rows] == results["strategy"].tolist()
    for column in csv_export.CSV_COLUMNS[1 : csv_export.CSV_COLUMNS.index("notes")]:
        assert [float(row[column]) for row in rows] == results[column].tolist()


def test_whole_epochs_have_no_decimals() -> None:
    """In the CSV, the table and the hover text: 0.5, 2 and 2.5, neither 2.0 nor 2.5000001."""
    epochs, texts = (0.5, 2.0, 2.5), ("0.5", "2", "2.5")
    results = frame([point("one_shot", i / 10, epochs=n) for i, n in enumerate(epochs, 1)])
    rows = csv.DictReader(io.StringIO(csv_export.to_csv(results)))
    assert tuple(row["epochs"] for row in rows) == texts
    assert tuple(results_table(results)["Epochs"]) == texts
    for text, row in zip(texts, results.to_dict("records"), strict=True):
        assert f"fine-tuning: {text} epochs, 20 s" in hover_text(row)


def test_notes_are_joined() -> None:
    results = frame(comparison(notes=["The head, of 1,000, was replaced.", "Mean guessed."]))
    assert first_row(results)["notes"] == "The head, of 1,000, was replaced.; Mean guessed."


def test_several_runs_have_a_column_for_the_run(tmp_path: Path) -> None:
    results = frame(comparison(), comparison(run="other", run_id="run-2"))
    path = csv_export.write_csv(results, tmp_path / "new" / "results.csv")
    table = pd.read_csv(path)
    notes = csv_export.CSV_COLUMNS.index("notes")
    columns = [*csv_export.CSV_COLUMNS[:notes], "run", *csv_export.CSV_COLUMNS[notes:]]
    assert list(table.columns) == columns
    assert set(table["run"]) == {"run", "other"}


def test_several_seeds_have_their_mean_and_standard_deviation() -> None:
    results = frame(comparison(), comparison(1, 4), comparison(2, -4))
    table = pd.read_csv(io.StringIO(csv_export.to_csv(results)))
    rows = table[(table["strategy"] == "iterative") & (table["iteration"] == 5)]
    assert rows["accuracy"].tolist() == [0.825, 0.835, 0.815]
    assert rows["seeds"].tolist() == [3, 3, 3]
    assert rows["accuracy_mean"].tolist() == pytest.approx([0.825] * 3)
    assert rows["accuracy_sd"].tolist() == pytest.approx([0.01] * 3)
    assert list(table.columns)[6:9] == ["sparsity_model", "accuracy", "accuracy_low"]
    assert list(table.columns)[-11:-7] == ["notes", "seeds", "accuracy_mean", "accuracy_sd"]


def test_one_seed_has_no_standard_deviation() -> None:
    row = first_row(frame(comparison()))
    assert (row["seeds"], row["accuracy_mean"], row["accuracy_sd"]) == ("1", row["accuracy"], "")


def test_no_results_give_the_column_names_only() -> None:
    assert csv_export.to_csv(pd.DataFrame()) == ",".join(csv_export.CSV_COLUMNS) + "\n"

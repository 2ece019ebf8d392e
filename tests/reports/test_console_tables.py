"""The tables of results: the assignment's console tables, and the table of every value."""

from __future__ import annotations

from pruning_core.results.tables import results_table, summary_tables
from tests.helpers.frames import comparison, frame


def test_the_two_console_tables() -> None:
    lines = summary_tables(frame(comparison())).splitlines()
    assert lines[0] == "=== PRUNING STRATEGY COMPARISON SUMMARY ==="
    first = lines.index("One-Shot Pruning Results:")
    assert lines[first + 1] == "Sparsity (%)    Model Size (MB)       Accuracy (%)"
    assert [line.split() for line in lines[first + 2 : first + 7]] == [
        ["0.00", "8.99", "95.50"],
        ["50.00", "4.63", "95.00"],
        ["70.00", "2.88", "94.00"],
        ["90.00", "1.13", "70.00"],
        [],
    ]
    second = lines.index("Iterative Pruning Results:")
    assert lines[second + 1].startswith("Iteration    Sparsity (%)")
    assert lines[second + 2].split() == ["0", "0.00", "8.99", "95.00"]
    assert lines[second + 7].split() == ["5", "90.00", "1.13", "82.50"]


def test_below_the_tables_are_the_other_models_and_the_control() -> None:
    lines = summary_tables(frame(comparison())).splitlines()
    third = lines.index("Also measured:")
    assert lines[third + 2].split() == ["0.00", "8.99", "95.00", "baseline"]
    assert lines[third + 3].startswith("   90.00")
    assert "88.00    one-shot, " in lines[third + 3]
    assert lines[third + 3].endswith("10 epochs")
    assert lines[third + 4] == (
        "One-shot at 0.00 is the fine-tuned dense control: no pruning, 2 epochs of fine-tuning."
    )
    assert "dense file: 9.19 MB" in lines[-1]


def test_several_seeds_and_runs_have_headings() -> None:
    seeds = summary_tables(frame(comparison(), comparison(1)))
    assert [text in seeds for text in ("Seed: 0", "Seed: 1", "Run:")] == [True, True, False]
    runs = summary_tables(frame(comparison(), comparison(run="b", run_id="2")))
    assert "Run: b\n" in runs
    assert runs.count("Iterative Pruning Results:") == 2
    assert runs.count("=== PRUNING") == 1


def test_the_table_has_mean_and_deviation_of_several_seeds_only() -> None:
    one_seed = results_table(frame(comparison()))
    assert not [name for name in one_seed if name.startswith("Mean ±")]
    table = results_table(frame(comparison(), comparison(1, 4), comparison(2, -4)))
    (column,) = (name for name in table if name.startswith("Mean ±"))
    assert table[table["Step"] == 5][column].tolist() == ["82.5 % ± 1"] * 3

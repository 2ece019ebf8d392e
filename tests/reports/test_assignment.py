"""The assignment's two functions: its tables to the letter, and its figure in every form."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pruning_core.reports.assignment import compare_pruning_strategies, print_summary_table
from tests.helpers.assignment import ITERATIVE, ONE_SHOT


def test_the_tables_are_those_of_the_assignment(capsys: pytest.CaptureFixture[str]) -> None:
    print_summary_table(ONE_SHOT, ITERATIVE)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "=== PRUNING STRATEGY COMPARISON SUMMARY ===",
        "",
        "One-Shot Pruning Results:",
        "Sparsity (%)    Model Size (MB)       Accuracy (%)",
        "    0.00               8.85               75.20",
        "   90.00               0.88               55.30",
        "",
        "Iterative Pruning Results:",
        "Iteration    Sparsity (%)    Model Size (MB)       Accuracy (%)",
        "    0               0.00               8.85               75.20",
        "    1              36.90               5.58               74.80",
        "    2              90.02               0.88               68.20",
    ]


@pytest.mark.parametrize(
    "one_shot",
    [
        ONE_SHOT,
        {row["amount"]: {k: v for k, v in row.items() if k != "amount"} for row in ONE_SHOT},
        {name: [row[name] for row in ONE_SHOT] for name in ONE_SHOT[0]},
        {name: np.array([row[name] for row in ONE_SHOT]) for name in ONE_SHOT[0]},
        pd.DataFrame(ONE_SHOT),
        pd.DataFrame(ONE_SHOT).set_index("amount"),
        iter(ONE_SHOT),
    ],
    ids=["list", "by amount", "columns", "arrays", "frame", "indexed frame", "iterator"],
)
def test_the_figure_takes_every_form_of_results(one_shot: Any) -> None:
    figure = compare_pruning_strategies(one_shot, ITERATIVE)
    markers = {(t.name, t.yaxis): t for t in figure.data if t.mode == "markers"}
    assert list(markers["one_shot", "y"].y) == pytest.approx([55.3])
    assert list(markers["iterative", "y2"].y) == pytest.approx([5.58, 0.88])
    assert list(markers["iterative", "y3"].y) == pytest.approx([0.4, 7.0])
    assert list(markers["one_shot", "y4"].y) == pytest.approx([8.85 / 0.88])
    assert list(markers["iterative", "y4"].x) == pytest.approx([36.9, 90.02])
    assert list(markers["baseline", "y"].y) == pytest.approx([75.2])


def test_accuracy_may_be_missing(capsys: pytest.CaptureFixture[str]) -> None:
    bare = {"amount": 0.5, "sparsity": 50.0, "model_size": 4.0}
    print_summary_table(bare, [{**ITERATIVE[0], "accuracy": None}])
    out = capsys.readouterr().out.splitlines()
    assert out[4].split() == ["50.00", "4.00", "-"]
    with pytest.warns(UserWarning, match="No result is the dense model"):
        figure = compare_pruning_strategies(bare, [])
    assert "Accuracy: no data" in [a.text for a in figure.layout.annotations]


def test_an_iteration_0_is_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    start = {"iteration": 0, "sparsity": 0.0, "model_size": 9.0, "accuracy": 80.0}
    print_summary_table([], [start, *ITERATIVE])
    assert len(capsys.readouterr().out.splitlines()) == 10
    figure = compare_pruning_strategies([], [start, *ITERATIVE])
    drops = next(
        t for t in figure.data if (t.name, t.yaxis, t.mode) == ("iterative", "y3", "markers")
    )
    assert list(drops.y) == pytest.approx([5.2, 11.8])


def test_the_figure_is_written_as_html_and_other_endings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "four.html"
    compare_pruning_strategies(ONE_SHOT, ITERATIVE, path)
    assert "Compression ratio" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"four\.bmp must be a file name .* \.html, \.png"):
        compare_pruning_strategies(ONE_SHOT, ITERATIVE, tmp_path / "four.bmp")


@pytest.mark.parametrize(
    "iterative",
    [
        [{**row, "iteration": i} for i, row in enumerate(ITERATIVE)],
        [{k: v for k, v in row.items() if k != "iteration"} for row in ITERATIVE],
        pd.DataFrame([{k: v for k, v in row.items() if k != "iteration"} for row in ITERATIVE]),
    ],
    ids=["from 0", "not numbered", "frame"],
)
def test_a_pruned_model_is_never_iteration_0(
    iterative: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    print_summary_table(ONE_SHOT, iterative)
    lines = capsys.readouterr().out.split("Iterative Pruning Results:")[1].splitlines()[2:]
    assert [line.split()[:2] for line in lines] == [["0", "0.00"], ["1", "36.90"], ["2", "90.02"]]
    figure = compare_pruning_strategies(ONE_SHOT, iterative)
    markers = {(t.name, t.yaxis): t for t in figure.data if t.mode == "markers"}
    assert list(markers["iterative", "y4"].y) == pytest.approx([8.85 / 5.58, 8.85 / 0.88])


def test_a_dense_model_that_trained_some_zeros_away_is_no_denser() -> None:
    start = {"iteration": 0, "sparsity": 0.5, "model_size": 9.0, "accuracy": 80.0}
    figure = compare_pruning_strategies(ONE_SHOT, [start, *ITERATIVE])
    markers = {(t.name, t.yaxis): t for t in figure.data if t.mode == "markers"}
    assert list(markers["iterative", "y4"].y) == pytest.approx([9.0 / 5.58, 9.0 / 0.88])


def test_results_of_other_forms_are_refused() -> None:
    for wrong, message in (
        (3, "of type int"),
        ([(0.5, 50.0)], "of type tuple"),
        ([{"sparsity": "50"}], "sparsity is '50', which is not a number"),
        ([{"sparsity": 50.0, "accuracy": math.inf}], "accuracy is inf"),
        ({"sparsity": [1.0, 2.0], "accuracy": [3.0]}, "differ in length"),
    ):
        with pytest.raises(ValueError, match=message):
            print_summary_table(wrong, ITERATIVE)


def test_empty_results_and_results_without_sparsity_are_refused() -> None:
    with pytest.raises(ValueError, match="No results to compare"):
        compare_pruning_strategies([], [])
    with pytest.raises(ValueError, match="Result 1 of iterative_results has no 'sparsity'"):
        print_summary_table(ONE_SHOT, [{"iteration": 1}])


def test_without_a_dense_model_nothing_is_compared_with_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A pruned model is no baseline."""
    print_summary_table(ONE_SHOT[1:], ITERATIVE)
    iterative = capsys.readouterr().out.split("Iterative Pruning Results:")[1]
    assert [line.split()[0] for line in iterative.splitlines()[2:]] == ["1", "2"]
    with pytest.warns(UserWarning, match="No result is the dense model"):
        figure = compare_pruning_strategies(ONE_SHOT[1:], ITERATIVE)
    markers = {(t.name, t.yaxis): t for t in figure.data if t.mode == "markers"}
    assert list(markers["one_shot", "y"].y) == pytest.approx([55.3])
    assert not any(name == "baseline" for name, _ in markers)
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert {"Accuracy drop (percentage points): no data", "Compression ratio: no data"} <= set(
        titles
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"accuracy": 667.0}, "accuracy is 667, which is not 0 to 100 percent"),
        ({"accuracy": -1.0}, "accuracy is -1"),
        ({"sparsity": 150.0}, "sparsity is 150"),
        ({"model_size": -8.0}, "model_size is -8 MB, less than 0"),
        ({"iteration": 0.5}, "iteration is 0.5, not a whole number"),
        ({"iteration": -1}, "iteration is -1"),
    ],
)
def test_values_that_cannot_be_are_refused(changed: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=f"Result 2 of iterative_results: {message}"):
        print_summary_table(ONE_SHOT, [ITERATIVE[0], {**ITERATIVE[1], **changed}])


@pytest.mark.parametrize("name", ["sparsity", "accuracy"])
def test_fractions_in_the_place_of_percent_are_noticed(name: str) -> None:
    one_shot, iterative = (
        [{**row, name: row[name] / 100} for row in rows] for rows in (ONE_SHOT, ITERATIVE)
    )
    with pytest.warns(UserWarning, match=f"No {name} is above 1 %.*multiply them by 100") as record:
        print_summary_table(one_shot, iterative)
    assert record[0].filename == __file__


@pytest.mark.parametrize("ending", ["png", "svg", "pdf", "jpeg", "html"])
def test_charts_without_values_are_drawn_empty(tmp_path: Path, ending: str) -> None:
    bare = [{"amount": 0.5, "sparsity": 50.0, "accuracy": math.nan}]
    path = tmp_path / f"four.{ending}"
    with pytest.warns(UserWarning, match="No result is the dense model"):
        compare_pruning_strategies(bare, [], path)
    assert path.stat().st_size > 1000


def test_a_file_that_cannot_be_written_is_refused_with_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(ValueError, match=r"four\.html cannot be written: (File exists|Not a dir)"):
        compare_pruning_strategies(ONE_SHOT, ITERATIVE, file / "four.html")
    for other in (3, b"four.png"):
        with pytest.raises(ValueError, match="Pass a path as text"):
            compare_pruning_strategies(ONE_SHOT, ITERATIVE, other)  # type: ignore[arg-type]


def test_the_dense_one_shot_model_has_the_accuracy_that_iteration_0_lacks() -> None:
    iterative = [{**row, "accuracy": None} for row in ITERATIVE]
    figure = compare_pruning_strategies(ONE_SHOT, iterative)
    markers = {(t.name, t.yaxis): t for t in figure.data if t.mode == "markers"}
    assert list(markers["one_shot", "y3"].y) == pytest.approx([75.2 - 55.3])

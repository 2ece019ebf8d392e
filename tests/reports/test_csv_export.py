"""What a person takes away must hold the same numbers as the points."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pruning_core.reports import assignment, csv_export, image_export
from pruning_core.reports.assignment import compare_pruning_strategies, print_summary_table
from pruning_core.reports.charts.hover import hover_text
from pruning_core.reports.csv_export import write_report
from pruning_core.reports.html_report import html_report
from pruning_core.reports.image_export import ImageError, render, write_images
from pruning_core.results.findings import findings
from pruning_core.results.tables import readable, summary_tables
from pruning_core.settings.spec import Spec
from tests.helpers.frames import comparison, frame, point

needs_chrome = pytest.mark.skipif(
    not image_export.chrome_found(), reason="Images need Chrome or Chromium, and none is here."
)
ONE_SHOT = [
    {"amount": 0.0, "sparsity": 0.0, "model_size": 8.85, "accuracy": 75.2},
    {"amount": 0.9, "sparsity": 90.0, "model_size": 0.88, "accuracy": 55.3},
]
ITERATIVE = [
    {"iteration": 1, "sparsity": 36.9, "model_size": 5.58, "accuracy": 74.8},
    {"iteration": 2, "sparsity": 90.02, "model_size": 0.88, "accuracy": 68.2},
]


def made_html(points: pd.DataFrame, specs: dict[str, Any] | None = None) -> str:
    return html_report(points, specs or {"run-1": Spec()}, findings(points))


@pytest.fixture
def no_chrome(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_export, "chrome_found", lambda: False)
    monkeypatch.setattr(csv_export, "chrome_found", lambda: False)


def test_the_csv_gives_back_every_number_bit_for_bit() -> None:
    points = frame(comparison())
    text = csv_export.to_csv(points)
    assert text.splitlines()[0] == ",".join(csv_export.CSV_COLUMNS)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["strategy"] for row in rows] == points["strategy"].tolist()
    for column in csv_export.CSV_COLUMNS[1 : csv_export.CSV_COLUMNS.index("notes")]:
        assert [float(row[column]) for row in rows] == points[column].tolist()


def test_epochs_are_whole_where_they_are_whole() -> None:
    """In the file, in the table and in the hover: 0.5, 2 and 2.5, neither 2.0 nor 2.5000001."""
    spent = (0.5, 2.0, 2.5)
    points = frame([point("one_shot", i / 10, epochs=n) for i, n in enumerate(spent, 1)])
    rows = csv.DictReader(io.StringIO(csv_export.to_csv(points)))
    assert [row["epochs"] for row in rows] == ["0.5", "2", "2.5"]
    assert list(readable(points)["Epochs"]) == ["0.5", "2", "2.5"]
    for number, row in zip(("0.5", "2", "2.5"), points.to_dict("records"), strict=True):
        assert f"fine-tuning: {number} epochs, 20 s" in hover_text(row)


def test_the_csv_says_substitutions() -> None:
    points = frame(comparison(notes=["The head, of 1,000, was replaced.", "Mean guessed."]))
    row = next(csv.DictReader(io.StringIO(csv_export.to_csv(points))))
    assert row["notes"] == "The head, of 1,000, was replaced.; Mean guessed."


def test_the_csv_tells_runs_apart_where_there_are_several(tmp_path: Path) -> None:
    points = frame(comparison(), comparison(run="other", run_id="run-2"))
    path = csv_export.write_csv(points, tmp_path / "new" / "points.csv")
    back = pd.read_csv(path)
    asked = csv_export.CSV_COLUMNS.index("notes")
    columns = [*csv_export.CSV_COLUMNS[:asked], "run", *csv_export.CSV_COLUMNS[asked:]]
    assert list(back.columns) == columns
    assert set(back["run"]) == {"run", "other"}


def test_the_csv_says_how_the_seeds_of_a_point_spread() -> None:
    points = frame(comparison(), comparison(1, 4), comparison(2, -4))
    back = pd.read_csv(io.StringIO(csv_export.to_csv(points)))
    rows = back[(back["strategy"] == "iterative") & (back["iteration"] == 5)]
    assert rows["accuracy"].tolist() == [0.825, 0.835, 0.815]
    assert rows["seeds"].tolist() == [3, 3, 3]
    assert rows["accuracy_mean"].tolist() == pytest.approx([0.825] * 3)
    assert rows["accuracy_sd"].tolist() == pytest.approx([0.01] * 3)
    assert list(back.columns)[6:9] == ["sparsity_model", "accuracy", "accuracy_low"]
    assert list(back.columns)[-7:-3] == ["notes", "seeds", "accuracy_mean", "accuracy_sd"]


def test_one_seed_has_no_deviation() -> None:
    row = next(csv.DictReader(io.StringIO(csv_export.to_csv(frame(comparison())))))
    assert (row["seeds"], row["accuracy_mean"], row["accuracy_sd"]) == ("1", row["accuracy"], "")


def test_the_table_tells_the_spread_where_there_are_seeds() -> None:
    assert "Mean ± sd" not in readable(frame(comparison()))
    rows = readable(frame(comparison(), comparison(1, 4), comparison(2, -4)))
    assert rows[rows["Step"] == 5]["Mean ± sd"].tolist() == ["82.5 % ± 1"] * 3


def test_the_csv_of_nothing_has_a_heading() -> None:
    assert csv_export.to_csv(pd.DataFrame()) == ",".join(csv_export.CSV_COLUMNS) + "\n"


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
    third = lines.index("Also measured:")
    assert lines[third + 2].split() == ["0.00", "8.99", "95.00", "baseline"]
    assert lines[third + 3].endswith("88.00    one-shot, 10 epochs")
    assert lines[third + 4] == "One-shot at 0.00 is the dense control: no cut, 2 epochs more."
    assert "dense file: 9.19 MB" in lines[-1]


def test_the_console_tables_of_several_seeds_and_runs() -> None:
    seeds = summary_tables(frame(comparison(), comparison(1)))
    assert [s in seeds for s in ("Seed: 0", "Seed: 1", "Run:")] == [True, True, False]
    runs = summary_tables(frame(comparison(), comparison(run="b", run_id="2")))
    assert "Run: b\n" in runs
    assert runs.count("Iterative Pruning Results:") == 2
    assert runs.count("=== PRUNING") == 1


def test_the_report_holds_answer_charts_findings_table_and_settings() -> None:
    points = frame(comparison(notes=["Mean guessed."]))
    text = made_html(points)
    assert "At most 1 point lost on the validation images: 74.9 % sparse" in text
    for name in ("accuracy", "size", "drop", "ratio"):
        assert f'id="chart-{name}"' in text
        for image_format in ("png", "svg"):
            assert f"downloadImage('chart-{name}', {{format: '{image_format}'" in text
    for finding in findings(points):
        assert finding.text.replace("'", "&#x27;").replace("<", "&lt;") in text
    assert text.count("<tr") == 1 + len(points)
    assert "&quot;stem_stride&quot;: 2" in text
    assert "<li>Mean guessed.</li>" in text
    assert "Wilson" in text
    assert re.search(r"plotly \d", text)


def test_the_report_fetches_nothing() -> None:
    outside = re.sub(r"<script.*?</script>", "", made_html(frame(comparison())), flags=re.DOTALL)
    assert "<script" not in outside
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", outside)
    assert "http" not in outside


def test_the_report_escapes_what_people_wrote() -> None:
    evil = "<script>alert(1)</script>"
    points = frame(comparison(run=evil, notes=[evil]), comparison(run="b", run_id="2", luck=-3))
    text = made_html(points, {"run-1": {"label": evil}})
    assert evil not in text
    assert "&lt;script&gt;alert(1)" in text


def test_the_report_says_why_there_is_no_answer() -> None:
    rows = [r for r in comparison() if r["sparsity_asked"] in (0.0, 0.9)]
    assert "No pruned point loses at most 1 point" in made_html(frame(rows))


def test_the_report_names_what_trained_the_points() -> None:
    points = frame(comparison(versions={"torch": "9.9"}, device="cpu", threads=1))
    text = made_html(points)
    assert "Trained with torch 9.9." in text
    assert "Device cpu, 1 thread." in text


@pytest.mark.usefixtures("no_chrome")
def test_without_chrome_the_rest_is_written_and_a_sentence_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write_report(frame(comparison()), {"run-1": Spec()}, tmp_path / "out")
    assert [path.name for path in written] == ["pruning_comparison.csv", "pruning_comparison.html"]
    assert all(path.stat().st_size for path in written)
    assert "none was found" in csv_export.missing_chrome()[0]
    with pytest.raises(ImageError, match=r"Chrome or Chromium.*\.html"):
        write_images(frame(comparison()), tmp_path)
    monkeypatch.setattr(assignment, "chrome_found", lambda: False)
    with pytest.warns(UserWarning, match=r"Chrome.*four\.html is written"):
        compare_pruning_strategies(ONE_SHOT, ITERATIVE, tmp_path / "four.png")
    assert "<html" in (tmp_path / "four.html").read_text(encoding="utf-8")


@needs_chrome
def test_images_are_real_and_one_browser_draws_them_all(tmp_path: Path) -> None:
    paths = write_images(frame(comparison()), tmp_path)
    assert len(paths) == 9
    for path in paths:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG\r\n")
        else:
            root = ET.fromstring(path.read_text(encoding="utf-8"))
            assert "one-shot" in "".join(root.itertext())


@needs_chrome
def test_a_browser_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from kaleido import Kaleido
    from kaleido.errors import BrowserFailedError

    async def fail(*arguments: object, **options: object) -> None:
        raise BrowserFailedError("it went away")

    monkeypatch.setattr(Kaleido, "calc_fig", fail)
    with pytest.raises(ImageError, match="could not draw the image: it went away"):
        render([(compare_pruning_strategies(ONE_SHOT, ITERATIVE), "png")])


def test_the_assignments_tables(capsys: pytest.CaptureFixture[str]) -> None:
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
    ],
    ids=["list", "by amount", "columns"],
)
def test_the_assignments_figure_takes_every_form(one_shot: Any) -> None:
    drawn = compare_pruning_strategies(one_shot, ITERATIVE)
    points = {(t.name, t.yaxis): t for t in drawn.data if t.mode == "markers"}
    assert list(points["one_shot", "y"].y) == pytest.approx([55.3])
    assert list(points["iterative", "y2"].y) == pytest.approx([5.58, 0.88])
    assert list(points["iterative", "y3"].y) == pytest.approx([0.4, 7.0])
    assert list(points["one_shot", "y4"].y) == pytest.approx([8.85 / 0.88])
    assert list(points["iterative", "y4"].x) == pytest.approx([36.9, 90.02])
    assert list(points["baseline", "y"].y) == pytest.approx([75.2])


def test_the_assignment_without_accuracy(capsys: pytest.CaptureFixture[str]) -> None:
    bare = {"amount": 0.5, "sparsity": 50.0, "model_size": 4.0}
    print_summary_table(bare, [{**ITERATIVE[0], "accuracy": None}])
    out = capsys.readouterr().out.splitlines()
    assert out[4].split() == ["50.00", "4.00", "-"]
    drawn = compare_pruning_strategies(bare, [])
    assert "accuracy not known" in [a.text for a in drawn.layout.annotations]


def test_an_iteration_0_is_the_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    start = {"iteration": 0, "sparsity": 0.0, "model_size": 9.0, "accuracy": 80.0}
    print_summary_table([], [start, *ITERATIVE])
    assert len(capsys.readouterr().out.splitlines()) == 10
    drawn = compare_pruning_strategies([], [start, *ITERATIVE])
    drops = next(
        t for t in drawn.data if (t.name, t.yaxis, t.mode) == ("iterative", "y3", "markers")
    )
    assert list(drops.y) == pytest.approx([5.2, 11.8])


def test_the_assignments_figure_as_html_and_wrong_endings(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "four.html"
    compare_pruning_strategies(ONE_SHOT, ITERATIVE, path)
    assert "Compression ratio" in path.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match=r"four\.bmp ends in none of \.html, \.png"):
        compare_pruning_strategies(ONE_SHOT, ITERATIVE, tmp_path / "four.bmp")


def test_the_assignment_refuses_nothing_and_nonsense() -> None:
    with pytest.raises(ValueError, match="no results"):
        compare_pruning_strategies([], [])
    with pytest.raises(ValueError, match="Result 1 of iterative_results has no 'sparsity'"):
        print_summary_table(ONE_SHOT, [{"iteration": 1}])

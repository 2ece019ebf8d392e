"""Image files of the charts: the figures of the page, without a browser, in equal bytes."""

from __future__ import annotations

import html
import io
import os
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ET
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import matplotlib.style
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D
from PIL import Image

from pruning_core.methods.strategies import STRATEGIES
from pruning_core.reports.assignment import compare_pruning_strategies
from pruning_core.reports.charts.comparison import comparison_chart, comparison_plots
from pruning_core.reports.charts.style import SERIES, symbol
from pruning_core.reports.csv_export import write_report
from pruning_core.reports.image_export import (
    FORMATS,
    MARKERS,
    UNKNOWN_NOTE,
    ImageError,
    drawn,
    images_zip,
    panel_image,
)
from pruning_core.settings.spec import Spec
from tests.helpers.assignment import ITERATIVE, ONE_SHOT
from tests.helpers.frames import comparison, frame, point
from tests.helpers.project import ROOT

BEGINNINGS = {"png": b"\x89PNG\r\n", "svg": b"<?xml", "pdf": b"%PDF", "jpg": b"\xff\xd8\xff"}
BEGINNINGS |= {"webp": b"RIFF"}
NAMES = ("$x_1^2$ \\frac{a", "_first_ <b>bold</b> & 'q'", "猫狗 \U000fffff \x1b[31m\nred", "a" * 80)


def svg_texts(svg: bytes) -> set[str]:
    """The texts of an SVG: matplotlib draws letters as shapes, with the text as a comment."""
    parser = ET.XMLParser(target=ET.TreeBuilder(insert_comments=True))
    nodes = [node for node in ET.fromstring(svg, parser).iter() if node.tag is ET.Comment]
    return {html.unescape(node.text or "").strip() for node in nodes}


@pytest.mark.parametrize("image_format", FORMATS)
def test_equal_rows_give_equal_bytes(image_format: str) -> None:
    content = panel_image(frame(comparison()), image_format)
    assert content.startswith(BEGINNINGS[image_format])
    with ThreadPoolExecutor(2) as pool:
        again, other = pool.map(
            lambda rows: panel_image(frame(rows), image_format), (comparison(), comparison(luck=-9))
        )
    assert again == content
    assert other != content


def test_the_style_of_a_user_changes_nothing() -> None:
    rows = frame(comparison(), comparison(run="b", run_id="run-2"))
    usual = panel_image(rows, "svg")
    with matplotlib.style.context(["dark_background", "ggplot"]):
        assert panel_image(rows, "svg") == usual


def test_the_panel_prints_on_white_at_the_width_of_a_page() -> None:
    image = Image.open(io.BytesIO(panel_image(frame(comparison()))))
    assert image.info["dpi"] == pytest.approx((300, 300), abs=1)
    assert 6.5 <= image.width / 300 <= 7.5
    colors = image.convert("RGB").getcolors(2**24)
    assert colors is not None
    assert max(colors)[1] == (255, 255, 255)


def looks(lines: list[Line2D]) -> Counter[tuple[object, ...]]:
    """What is drawn: coordinates, color, opacity, and the width of a line or size of a marker."""
    return Counter(
        (
            tuple(np.asarray(line.get_xdata())),
            tuple(np.asarray(line.get_ydata())),
            line.get_alpha(),
            to_hex(line.get_markeredgecolor() if line.get_marker() != "None" else line.get_color()),
            round(
                line.get_markersize() if line.get_marker() != "None" else line.get_linewidth(), 6
            ),
        )
        for line in lines
    )


def expected(figure: go.Figure) -> Counter[tuple[object, ...]]:
    """The same of the chart on the page; a pixel of it is 0.6 points in print."""
    return Counter(
        (
            tuple(trace.x),
            tuple(trace.y),
            trace.opacity,
            (trace.line if trace.mode == "lines" else trace.marker).color.lower(),
            round(0.6 * (trace.line.width if trace.mode == "lines" else trace.marker.size), 6),
        )
        for trace in figure.data
    )


@pytest.mark.parametrize("x", ["sparsity_prunable", "seconds"])
def test_an_image_has_the_values_lines_and_intervals_of_the_page(x: str) -> None:
    """Seeds are thin and their mean is thick, as on the page; each interval has its ends."""
    rows = frame(comparison(0), comparison(1, luck=-6))
    plots, _ = comparison_plots(rows, x)
    for axes, plot in zip(drawn(plots, []).axes, plots, strict=True):
        series = [a for a in axes.get_children() if isinstance(a, Line2D) and a.get_zorder() > 2]
        page = comparison_chart(rows, plot.name, x)
        assert looks([line for line in series if line.get_marker() != "_"]) == expected(page)
        bars = [c for c in axes.collections if isinstance(c, LineCollection)]
        ends = [(low[1], high[1]) for collection in bars for low, high in collection.get_segments()]
        intervals = [
            (y - down, y + up)
            for trace in page.data
            if trace.error_y.array is not None
            for y, up, down in zip(
                trace.y, trace.error_y.array, trace.error_y.arrayminus, strict=True
            )
        ]
        assert bool(intervals) == ("accuracy" in plot.title.lower())
        assert np.allclose(sorted(ends), sorted(intervals))


def test_no_label_leaves_the_image() -> None:
    """The label of each strategy stands at its last point."""
    rows = frame(comparison(), [point(name, 0.9) for name in SERIES])
    plots, _ = comparison_plots(rows, "sparsity_prunable")
    figure = drawn(plots, [])
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for axes in figure.axes for text in axes.texts]
    assert any("LR schedule" in text.get_text() for text in texts)
    ends = [text.get_window_extent(renderer).x1 for text in texts]
    assert max(ends) <= figure.bbox.x1


def test_every_symbol_of_every_run_can_be_drawn() -> None:
    for strategy, run in product(SERIES, range(6)):
        assert any(symbol(strategy, run).startswith(name) for name in MARKERS)
    rows = [point(name, 0.5, run=f"run {i}", run_id=f"{i}") for i in range(6) for name in SERIES]
    texts = svg_texts(panel_image(frame(rows), "svg"))
    assert {STRATEGIES[name].title for name in SERIES} <= texts
    assert {f"run {i}" for i in range(6)} <= texts


def test_names_are_written_as_they_are() -> None:
    runs = [comparison(run=name, run_id=name) for name in NAMES]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts = svg_texts(panel_image(frame(*runs), "svg"))
        assert panel_image(frame(*runs)).startswith(BEGINNINGS["png"])
    assert {NAMES[0], NAMES[1], "a" * 43 + "…", UNKNOWN_NOTE} <= texts
    assert any(text.endswith("�[31m red") for text in texts)


def test_the_files_of_a_comparison(tmp_path: Path) -> None:
    written = write_report(frame(comparison()), {"run-1": Spec()}, tmp_path)
    assert [path.name for path in written] == [
        f"pruning_comparison.{ending}" for ending in ("csv", "html", "png")
    ]
    assert written[2].read_bytes() == panel_image(frame(comparison()))


def test_the_zip_has_every_chart_in_three_formats() -> None:
    content = images_zip(frame(comparison()), "epochs")
    assert content == images_zip(frame(comparison()), "epochs")
    names = ("pruning_comparison", "accuracy", "size", "drop", "ratio")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert set(archive.namelist()) == {f"{n}.{e}" for n in names for e in ("png", "svg", "pdf")}
        for name in archive.namelist():
            assert archive.read(name).startswith(BEGINNINGS[name[-3:]])
        assert "Fine-tuning epochs" in svg_texts(archive.read("ratio.svg"))


@pytest.mark.parametrize("ending", ["SVG", "pdf"])
def test_the_assignment_writes_what_the_ending_says(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "deep" / f"four.{ending}"
    compare_pruning_strategies(ONE_SHOT, ITERATIVE, path)
    assert path.read_bytes().startswith(BEGINNINGS[ending.lower()])


def test_a_user_without_a_home_gets_the_image_and_no_message(tmp_path: Path) -> None:
    code = (
        "import sys\nimport pruning_core\n"
        "from tests.helpers.assignment import ITERATIVE, ONE_SHOT\n"
        "compare = pruning_core.compare_pruning_strategies\n"
        "assert 'matplotlib' not in sys.modules\n"
        "compare(ONE_SHOT, ITERATIVE, sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    path = tmp_path / "pruning_comparison.png"
    home = {"HOME": str(tmp_path / "gone" / "home"), "PATH": os.environ["PATH"]}
    (tmp_path / "gone").touch()  # a file, so that no folder can be made in it
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**home, "TMPDIR": str(tmp_path)},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes().startswith(BEGINNINGS["png"])


def test_without_matplotlib_a_sentence_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delattr("matplotlib.figure")
    with pytest.raises(ImageError, match=r"pip install -r requirements\.txt"):
        write_report(frame(comparison()), {"run-1": Spec()}, tmp_path)
    assert pd.read_csv(tmp_path / "pruning_comparison.csv").shape[0] == 11
    assert (tmp_path / "pruning_comparison.html").stat().st_size

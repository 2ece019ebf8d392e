"""The break-even chart, on made-up times."""

from __future__ import annotations

import pandas as pd
import pytest

from pruning_core.planning.timing import crossover_stage
from pruning_core.reports.charts.sparse_speedup import break_even_chart
from pruning_core.results.sparse_speedup import ALL_LAYERS, COLUMNS, sparse_speedup_frame
from tests.helpers.latency import FixedResults


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = []
    for layer, shape, ratios in (
        (ALL_LAYERS, (None, None, None), (0.5, 2.0)),
        ("features.1", (16, 32, 9), (0.2, 1.5)),
        ("features.2", (16, 32, 9), (0.2, 1.5)),
        ("classifier", (10, 64, 1), (0.9, 4.0)),
    ):
        for sparsity, ratio in zip((0.5, 0.9), ratios, strict=True):
            values = (layer, *shape, "torch_csr", sparsity, "torch_mm" * (layer != ALL_LAYERS))
            times = (10.0, 10.0 / ratio, ratio, 0.9 * ratio, 1.1 * ratio, 40)
            rows.append(dict(zip(COLUMNS, (*values, *times), strict=True)))
    return sparse_speedup_frame(crossover_stage("b" * 64), FixedResults(rows))


def test_each_shape_is_drawn_once_and_all_layers_thick(frame: pd.DataFrame) -> None:
    chart = break_even_chart(frame, ["torch_csr"], sparsity=0.8)
    *thin, thick = chart.data
    assert len(thin) == 2
    assert thick.name == "PyTorch CSR, all layers"
    assert list(thick.x) == [50.0, 90.0]
    assert list(thick.y) == [0.5, 2.0]
    assert thick.error_y.array[1] == pytest.approx(0.2)


def test_lines_mark_break_even_and_the_sparsity_of_the_model(frame: pd.DataFrame) -> None:
    chart = break_even_chart(frame, ["torch_csr"], sparsity=0.8)
    horizontal, vertical = chart.layout.shapes
    assert (horizontal.y0, vertical.x0) == (1, 80)
    texts = [note.text for note in chart.layout.annotations]
    assert texts == ["break-even", "this model: 80 %"]


def test_without_a_model_only_break_even_is_marked(frame: pd.DataFrame) -> None:
    assert len(break_even_chart(frame).layout.shapes) == 1


def test_the_hover_text_names_kernels_times_and_speedup(frame: pd.DataFrame) -> None:
    thin, *_, thick = break_even_chart(frame, ["torch_csr"]).data
    assert thick.customdata[1][0] == (
        "90 % sparsity, PyTorch CSR<br>sparse 5 µs, dense 10 µs<br>"
        "speed-up 2.00x (95 % CI 1.80 to 2.20)"
    )
    assert "dense 10 µs (PyTorch matrix product)" in thin.customdata[0][0]
    assert thin.hovertemplate.startswith("features.1: 16 x 32 weights, 9 positions<br>")


def test_the_subtitle_counts_the_layers(frame: pd.DataFrame) -> None:
    title = break_even_chart(frame).layout.title.text
    assert "<b>Break-even sparsity</b>" in title
    assert "3 layers, random masks, batch size 1, 1 thread" in title

"""Latency and speed-up charts, on made-up times."""

from __future__ import annotations

import pandas as pd
import pytest

from pruning_core.planning.timing import Conditions, latency_stages
from pruning_core.reports.charts.latency import latency_chart, speedup_chart
from pruning_core.reports.charts.style import GREY
from pruning_core.results.latency import OVER_FASTEST, latency_frame, speedup_text
from tests.helpers.latency import FixedResults, timed

DENSE, PRUNED = "a" * 64, "b" * 64


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = [
        timed(DENSE, "dense"),
        timed(PRUNED, "candidate", ratio=1.5),
        timed(DENSE, "control", ratio=1.0),
        timed(PRUNED, "candidate", batch=32, ratio=1.1),
    ]
    stages = latency_stages([DENSE, PRUNED], ("onnx",), Conditions((1, 32)))
    return latency_frame(stages, FixedResults(rows), {DENSE: "dense", PRUNED: "90 %"})


def test_latencies_have_the_median_and_percentile_bars(frame: pd.DataFrame) -> None:
    chart = latency_chart(frame)
    assert [trace.name for trace in chart.data] == ["dense", "90 %"]
    assert chart.data[0].marker.color == GREY
    assert list(chart.data[1].x) == [2.0]
    assert list(chart.data[1].error_x.array) == [3.0]
    assert list(chart.data[1].error_x.arrayminus) == [1.0]
    assert chart.layout.xaxis.title.text == "Latency (ms)"
    assert "batch size 1, 1 thread" in chart.layout.title.text


def test_the_hover_text_has_the_speedup_of_pruned_models_only(frame: pd.DataFrame) -> None:
    dense, pruned = latency_chart(frame).data
    assert "speed-up over dense 1.50x (95 % CI 1.35 to 1.80, 40 rounds)" in pruned.text[0]
    assert "latency 2 ms (10th to 90th percentile 1 to 5 ms)" in pruned.text[0]
    assert "throughput 500 images/s" in pruned.text[0]
    assert "speed-up" not in dense.text[0]


def test_speedups_have_intervals_and_an_a_a_control(frame: pd.DataFrame) -> None:
    chart = speedup_chart(frame)
    assert [trace.name for trace in chart.data] == ["90 %", "dense (A/A control)"]
    assert list(chart.data[0].x) == [1.5]
    assert chart.data[0].error_x.array[0] == pytest.approx(0.3)
    assert chart.data[1].marker.color == GREY
    assert chart.layout.shapes[0].x0 == 1
    assert chart.layout.xaxis.title.text == "Speed-up over dense (95 % CI)"
    assert [trace.name for trace in speedup_chart(frame, batch=32).data] == ["90 %"]


def test_a_sparse_runtime_is_also_compared_with_the_fastest_dense_runtime() -> None:
    rows = [
        timed(DENSE, "dense", runtime="mnn"),
        timed(PRUNED, "candidate", ratio=1.6, runtime="mnn_sparse", fastest=1.2),
        timed(DENSE, "reference"),
    ]
    stages = latency_stages([DENSE, PRUNED], ("onnx",))
    frame = latency_frame(stages, FixedResults(rows), {DENSE: "dense", PRUNED: "90 %"})
    (dots,) = speedup_chart(frame).data
    assert list(zip(dots.x, dots.y, strict=True)) == [(1.6, 1), (1.2, 3)]
    titles = [text for text in speedup_chart(frame).layout.yaxis.ticktext if "<b>" in text]
    assert titles == ["<b>MNN, sparse</b>", "<b>MNN, sparse vs dense in ONNX Runtime</b>"]
    assert [trace.name for trace in latency_chart(frame).data] == ["dense", "90 %"]
    text = speedup_text(frame.to_dict("records")[1], OVER_FASTEST)
    assert text == "1.2x (1.08 to 1.44), faster"


def test_a_model_has_one_style_in_both_charts(frame: pd.DataFrame) -> None:
    charts = [chart(frame).data for chart in (latency_chart, speedup_chart)]
    markers = [next(trace.marker for trace in data if trace.name == "90 %") for data in charts]
    assert markers[0] == markers[1]
    assert markers[0].color != GREY


def test_models_are_listed_below_their_runtime(frame: pd.DataFrame) -> None:
    """The title of a runtime comes first, and no two rows have the same height."""
    eager = frame[frame["batch_size"] == 1].assign(runtime="eager", runtime_title="PyTorch")
    chart = latency_chart(pd.concat([frame, eager], ignore_index=True))
    labels = dict(zip(chart.layout.yaxis.tickvals, chart.layout.yaxis.ticktext, strict=True))
    titles = {0: "<b>ONNX Runtime</b>", 3: "<b>PyTorch</b>"}
    assert labels == {**titles, 1: "dense", 2: "90 %", 4: "dense", 5: "90 %"}
    assert [list(trace.y) for trace in chart.data] == [[1, 4], [2, 5]]


def test_speedups_that_differ_much_get_a_logarithmic_axis(frame: pd.DataFrame) -> None:
    assert speedup_chart(frame).layout.xaxis.type is None
    frame.loc[1, "speedup_high"] = 10.0
    assert speedup_chart(frame).layout.xaxis.type == "log"


def test_without_measurements_the_charts_are_empty(frame: pd.DataFrame) -> None:
    empty = latency_frame([], FixedResults([]))
    for chart in (latency_chart(empty), speedup_chart(empty), latency_chart(frame, threads=8)):
        assert not chart.data

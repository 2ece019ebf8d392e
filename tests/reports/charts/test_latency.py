"""Charts of speed, on made-up times."""

from __future__ import annotations

import pandas as pd
import pytest

from pruning_core.planning.timing import Conditions, latency_stages, sparse_speedup_stage
from pruning_core.reports.charts.latency import crossover_chart, latency_chart, ratio_chart
from pruning_core.reports.charts.style import GREY
from pruning_core.results.latency import latency_frame
from pruning_core.results.sparse_speedup import ALL_LAYERS, COLUMNS, crossover_frame

DENSE, CUT = "a" * 64, "b" * 64


class Results:
    """Answers for every stage what a stage found."""

    def __init__(self, rows: list[dict]) -> None:
        self.rows = rows

    def exists(self, key: str) -> bool:
        return True

    def read(self, key: str) -> dict:
        return {"rows": self.rows, "notes": []}


def timed(point: str, role: str, batch: int = 1, ratio: float | None = None) -> dict:
    compared = {
        "ratio": ratio,
        "ratio_low": ratio and 0.9 * ratio,
        "ratio_high": ratio and 1.2 * ratio,
        "judgement": ratio and "faster",
    }
    return {
        **{"point": point, "runtime": "onnx", "role": role, "batch": batch, "threads": 1},
        **{"image_size": 32, "bytes": 1000, "first_runtime": "onnx", "rounds": 40},
        **{"p10_ms": 1.0, "p50_ms": 2.0, "p90_ms": 5.0, "images_per_second": 500.0},
        **compared,
        **{f"first_{name}": value for name, value in compared.items()},
    }


@pytest.fixture
def frame() -> pd.DataFrame:
    rows = [
        timed(DENSE, "dense"),
        timed(CUT, "candidate", ratio=1.5),
        timed(DENSE, "control", ratio=1.0),
        timed(CUT, "candidate", batch=32, ratio=1.1),
    ]
    stages = latency_stages([DENSE, CUT], ("onnx",), Conditions((1, 32)))
    return latency_frame(stages, Results(rows), {DENSE: "dense", CUT: "90 %"})


def test_times_with_their_spread(frame: pd.DataFrame) -> None:
    drawn = latency_chart(frame)
    assert [trace.name for trace in drawn.data] == ["dense", "90 %"]
    assert drawn.data[0].marker.color == GREY
    assert list(drawn.data[1].x) == [2.0]
    assert list(drawn.data[1].error_x.array) == [3.0]
    assert list(drawn.data[1].error_x.arrayminus) == [1.0]
    assert "1.50 times as fast" in drawn.data[1].text[0]
    assert "times as fast" not in drawn.data[0].text[0]


def test_ratios_with_their_intervals_and_the_control(frame: pd.DataFrame) -> None:
    drawn = ratio_chart(frame)
    assert [trace.name for trace in drawn.data] == ["90 %", "dense, timed twice"]
    assert list(drawn.data[0].x) == [1.5]
    assert drawn.data[0].error_x.array[0] == pytest.approx(0.3)
    assert drawn.layout.shapes[0].x0 == 1
    assert [trace.name for trace in ratio_chart(frame, batch=32).data] == ["90 %"]


def test_a_model_looks_the_same_in_both_charts(frame: pd.DataFrame) -> None:
    looks = [chart(frame).data for chart in (latency_chart, ratio_chart)]
    cut = [next(trace.marker for trace in data if trace.name == "90 %") for data in looks]
    assert cut[0] == cut[1]
    assert cut[0].color != GREY


def test_models_stand_under_their_runtime(frame: pd.DataFrame) -> None:
    """Title rows come first, and no two rows share a place."""
    other = frame[frame["images_at_a_time"] == 1].assign(
        runtime="eager", runtime_title="PyTorch, batch norm folded"
    )
    drawn = latency_chart(pd.concat([frame, other], ignore_index=True))
    assert list(drawn.layout.yaxis.tickvals) == [1, 2, 4, 5]
    assert list(drawn.layout.yaxis.ticktext) == ["dense", "90 %"] * 2
    titles = {note.text: note.y for note in drawn.layout.annotations}
    assert titles == {"<b>ONNX Runtime</b>": 0, "<b>PyTorch, batch norm folded</b>": 3}
    assert [list(trace.y) for trace in drawn.data] == [[1, 4], [2, 5]]


def test_ratios_far_apart_stand_on_a_logarithmic_axis(frame: pd.DataFrame) -> None:
    assert ratio_chart(frame).layout.xaxis.type is None
    frame.loc[1, "times_as_fast_high"] = 10.0
    assert ratio_chart(frame).layout.xaxis.type == "log"


def test_nothing_timed_is_an_empty_chart(frame: pd.DataFrame) -> None:
    none = latency_frame([], Results([]))
    for drawn in (latency_chart(none), ratio_chart(none), latency_chart(frame, threads=8)):
        assert not drawn.data


def products() -> pd.DataFrame:
    rows = []
    for layer, shape, ratios in (
        (ALL_LAYERS, (None, None, None), (0.5, 2.0)),
        ("features.1", (16, 32, 9), (0.2, 1.5)),
        ("features.2", (16, 32, 9), (0.2, 1.5)),
        ("classifier", (10, 64, 1), (0.9, 4.0)),
    ):
        for sparsity, ratio in zip((0.5, 0.9), ratios, strict=True):
            values = (layer, *shape, "torch_csr", sparsity, "torch_mm" * (layer != ALL_LAYERS))
            found = (*values, 10.0, 10.0 / ratio, ratio, 0.9 * ratio, 1.1 * ratio, 40)
            rows.append(dict(zip(COLUMNS, found, strict=True)))
    return crossover_frame(sparse_speedup_stage(CUT), Results(rows))


def test_the_crossover_shows_each_shape_once_and_all_layers() -> None:
    drawn = crossover_chart(products(), ["torch_csr"], sparsity=0.8)
    *thin, thick = drawn.data
    assert len(thin) == 2
    assert thick.name == "all layers, torch, CSR"
    assert list(thick.x) == [50.0, 90.0]
    assert list(thick.y) == [0.5, 2.0]
    assert thick.error_y.array[1] == pytest.approx(0.2)
    places = [(shape.x0, shape.y0) for shape in drawn.layout.shapes]
    assert places[0][1] == 1
    assert places[1][0] == 80
    assert any("this model: 80 %" in note.text for note in drawn.layout.annotations)


def test_without_a_model_there_is_no_mark() -> None:
    drawn = crossover_chart(products())
    assert len(drawn.layout.shapes) == 1

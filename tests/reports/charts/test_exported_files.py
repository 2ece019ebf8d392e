"""The chart of exported files, on made-up sizes."""

from __future__ import annotations

import pandas as pd
import pytest

from pruning_core.reports.charts.exported_files import file_size_chart
from pruning_core.reports.charts.text_alternative import chart_numbers


@pytest.fixture
def frame() -> pd.DataFrame:
    shared = {"accuracy": 0.9, "accuracy_low": 0.85, "accuracy_high": 0.93, "test_images": 1797}
    return pd.DataFrame(
        [
            {"format": "zlib", "bytes": 2_000_000, "order0_entropy_bytes": float("nan"), **shared},
            {
                "format": "bitmask_fp32",
                "bytes": 1_100_000,
                "order0_entropy_bytes": 1_000_000,
                **shared,
            },
        ]
    ).assign(accuracy_drop=0.01)


def test_each_file_is_a_bar_with_its_size_and_accuracy(frame: pd.DataFrame) -> None:
    bars = file_size_chart(frame).data[0]
    assert list(bars.y) == ["Dense + zlib", "Sparse (bitmask) fp32"]
    assert list(bars.x) == [2.0, 1.1]
    assert list(bars.text) == ["2.00 MB, 90 %", "1.10 MB, 90 %"]


def test_the_numbers_name_the_file_formats_and_both_series(frame: pd.DataFrame) -> None:
    assert chart_numbers(file_size_chart(frame)).to_dict("records") == [
        {"Series": "File", "Size on disk (MB)": 2.0, "File format": "Dense + zlib"},
        {"Series": "File", "Size on disk (MB)": 1.1, "File format": "Sparse (bitmask) fp32"},
        {
            "Series": "Order-0 entropy",
            "Size on disk (MB)": 1.0,
            "File format": "Sparse (bitmask) fp32",
        },
    ]


def test_an_order0_entropy_is_a_mark_where_it_is_known(frame: pd.DataFrame) -> None:
    marks = file_size_chart(frame).data[1]
    assert (list(marks.x), list(marks.y)) == ([1.0], ["Sparse (bitmask) fp32"])
    assert "order-0 entropy" in marks.hovertemplate


def test_the_hover_text_compares_the_file_with_its_bound(frame: pd.DataFrame) -> None:
    without, bounded = file_size_chart(frame).data[0].hovertext
    assert bounded.split("<br>") == [
        "Sparse (bitmask) fp32",
        "size on disk 1,100,000 bytes",
        "order-0 entropy 1.00 MB (file +10.0 %)",
        "accuracy 90 % (95 % CI 85 % to 93 %), 1,797 test images",
        "accuracy drop 1 point (model minus file)",
    ]
    assert "entropy" not in without


def test_no_file_is_an_empty_chart(frame: pd.DataFrame) -> None:
    chart = file_size_chart(frame.iloc[:0])
    assert not [trace for trace in chart.data if len(trace.x)]

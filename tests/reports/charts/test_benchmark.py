"""The benchmark chart, on made-up figures."""

from __future__ import annotations

import pytest

from pruning_core.reports.charts.benchmark import NOT_SPEEDUPS, benchmark_chart
from pruning_core.results.benchmark import FIGURES, BenchmarkResult, MedianRange

FIGURE = MedianRange(2.5, 2.0, 4.0)


def test_every_speedup_is_a_dot_with_the_range_of_its_rounds() -> None:
    result = BenchmarkResult(dict.fromkeys(FIGURES, FIGURE), {})
    chart = benchmark_chart(result)
    (dots,) = chart.data
    speedups = [name for name in FIGURES if name not in NOT_SPEEDUPS]
    assert list(dots.y) == [FIGURES[name].short for name in speedups]
    assert set(dots.text) == {"2.5x"}
    assert dots.error_x.array[0] == pytest.approx(1.5)
    assert dots.error_x.arrayminus[0] == pytest.approx(0.5)
    assert chart.layout.xaxis.type == "log"
    assert chart.layout.shapes[0].x0 == 1


def test_measurements_that_are_missing_are_left_out() -> None:
    assert len(benchmark_chart(BenchmarkResult({}, {})).data[0].x or ()) == 0

"""Training-free correction in charts and files."""

from __future__ import annotations

from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.reports.charts.comparison import CHARTS, comparison_chart
from pruning_core.reports.csv_export import to_csv
from pruning_core.reports.html_report import html_report
from tests.helpers.frames import comparison, frame, point

CORRECTED = [
    point("correction", 0.5, right, iteration=i, seconds=3.0 * i, epochs=0, accuracy_drop=0.2)
    for i, right in enumerate((150, 250, 260, 300))
]


def test_charts_leave_corrected_models_out() -> None:
    without, both = frame(comparison()), frame(comparison(), CORRECTED)
    for name in CHARTS:
        for x in ("sparsity_prunable", "epochs"):
            charts = [comparison_chart(rows, name, x).to_json() for rows in (both, without)]
            assert charts[0] == charts[1]


def test_files_contain_corrected_models() -> None:
    both = frame(comparison(), CORRECTED)
    assert to_csv(both).count("\ncorrection,") == len(CORRECTIONS)
    heading = "<h2>Training-free correction</h2>"
    assert heading in html_report(both, {})
    assert heading not in html_report(frame(comparison()), {})

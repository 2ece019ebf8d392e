"""The HTML report holds everything and fetches nothing."""

from __future__ import annotations

import re
from html import escape
from typing import Any

import pandas as pd
import pytest
from plotly.io.json import to_json_plotly

from pruning_core.reports.charts.style import BY_RUN, BY_STRATEGY, on_white
from pruning_core.reports.charts.verdict import verdict_chart
from pruning_core.reports.html_report import html_report
from pruning_core.results.findings import findings
from pruning_core.results.pairs import BETWEEN_RUNS, pair_table
from pruning_core.results.rows import rows_of, run_numbers
from pruning_core.results.verdict import verdicts
from pruning_core.settings.spec import Spec
from tests.helpers.frames import comparison, frame, point


def report(results: pd.DataFrame, specs: dict[str, Any] | None = None) -> str:
    return html_report(results, specs or {"run-1": Spec()})


def test_it_has_answer_charts_findings_table_and_settings() -> None:
    results = frame(comparison(notes=["Mean guessed."]))
    text = report(results)
    (verdict,) = verdicts(results)
    assert "74.9 %" in verdict.sentence
    for sentence in (verdict.heading, verdict.sentence, verdict.basis):
        assert escape(sentence) in text
    for figure in verdict.figures:
        assert f"<b>{escape(figure.value)}</b>" in text
    assert 'id="chart-verdict-0"' in text
    for name in ("accuracy", "size", "drop", "ratio"):
        assert f'id="chart-{name}"' in text
        for image_format in ("png", "svg"):
            assert f"downloadImage('chart-{name}', {{format: '{image_format}'" in text
    for finding in findings(results):
        assert (escape(finding.text) in text) == (finding.kind != "best")
    assert text.count("<tr") == 2 + len(results) + len(pair_table(rows_of(results)))
    assert "&quot;stem_stride&quot;: 2" in text
    assert "<li>Mean guessed.</li>" in text
    assert "Wilson" in text
    assert re.search(r"plotly \d", text)


def test_its_charts_say_in_words_what_they_show() -> None:
    names = re.findall('role="group" aria-label="(.*?)"', report(frame(comparison())))
    assert len(names) == 5
    assert all("%" in name or "MB" in name or "x at" in name for name in names), names


def test_an_upload_is_shown_by_its_own_name() -> None:
    path = f"/cache/uploads/{'ab' * 32}/my photos.zip"
    text = report(frame(comparison()), {"run-1": {"data": {"path": path}}})
    assert "&quot;path&quot;: &quot;my photos.zip&quot;" in text
    assert "abab" not in text


def test_its_sections_have_plain_titles_in_reading_order() -> None:
    correction = point("correction", 0.5, iteration=1)
    text = report(frame(comparison(notes=["Mean guessed."]), [correction]))
    assert re.findall("<h2>(.*?)</h2>", text) == [
        "Best model within the goal",
        "Findings",
        "Charts",
        "All pairwise comparisons",
        "Training-free correction",
        "Models",
        "Notes",
        "Definitions",
        "Settings",
        "Software and hardware",
    ]


def test_an_empty_section_has_no_title() -> None:
    text = report(frame(comparison()))
    assert "<h2>Notes</h2>" not in text
    assert "<h2>Training-free correction</h2>" not in text


def test_it_fetches_nothing() -> None:
    outside = re.sub(r"<script.*?</script>", "", report(frame(comparison())), flags=re.DOTALL)
    assert "<script" not in outside
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", outside)
    assert "http" not in outside


def test_it_escapes_what_people_wrote() -> None:
    evil = "<script>alert(1)</script>"
    results = frame(comparison(run=evil, notes=[evil]), comparison(run="b", run_id="2", luck=-3))
    text = report(results, {"run-1": {"label": evil}})
    assert evil not in text
    assert "&lt;script&gt;alert(1)" in text


def test_it_gives_the_reason_where_no_model_is_within_the_tolerance() -> None:
    results = frame([row for row in comparison() if row["sparsity_asked"] in (0.0, 0.9)])
    (verdict,) = verdicts(results)
    assert verdict.heading == "No model meets the goal"
    text = report(results)
    for sentence in (verdict.heading, *verdict.reasons, *verdict.nearest):
        assert escape(sentence) in text
    assert '<div class="figures">' not in text


def test_several_runs_have_one_legend() -> None:
    assert 'class="legend"' not in report(frame(comparison()))
    both = frame(comparison(), comparison(run="b", run_id="run-2"))
    assert report(both).count('<ul class="legend"') == 1
    assert report(both).count(BETWEEN_RUNS) == 2, "under the findings and with the table"
    assert BETWEEN_RUNS not in report(frame(comparison()))


@pytest.mark.parametrize(("replicas", "text"), [(1, "1 replica of"), (2, "2 replicas of")])
def test_it_names_the_software_and_hardware_of_the_training(replicas: int, text: str) -> None:
    results = frame(comparison(versions={"torch": "9.9"}, device="cpu", replicas=replicas))
    html = report(results)
    assert "Trained with torch 9.9." in html
    assert f"Device cpu (Chip 9000 (AVX2)), {text}" in html


@pytest.mark.parametrize("color_by", [BY_RUN, BY_STRATEGY])
def test_the_chart_of_the_verdict_has_the_colors_of_the_page(color_by: str) -> None:
    results = frame(comparison(), comparison(run="b", run_id="run-2", luck=-8))
    (verdict,) = verdicts(results)
    chart = verdict_chart(verdict, color_by, run_numbers(rows_of(results)))
    traces = to_json_plotly(on_white(chart).to_dict()["data"])
    assert traces in html_report(results, {}, color_by=color_by)

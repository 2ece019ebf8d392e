"""The HTML report of a comparison: one file that needs no other file and no network."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from html import escape
from importlib.metadata import version
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
from plotly.offline import get_plotlyjs

from pruning_core.common.formatting import format_count
from pruning_core.common.paths import shown_path
from pruning_core.methods.devices import CPU
from pruning_core.reports.charts.comparison import (
    CHARTS,
    comparison_chart,
    legend_html,
    several_runs,
)
from pruning_core.reports.charts.style import BY_STRATEGY, chart_config, on_white
from pruning_core.reports.charts.text_alternative import chart_text
from pruning_core.reports.charts.verdict import chart_caption, verdict_chart
from pruning_core.results.correction import correction_table
from pruning_core.results.findings import control_notes, findings
from pruning_core.results.glossary import glossary_rows
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.pairs import BETWEEN_RUNS, pair_table
from pruning_core.results.rows import rows_of, run_numbers
from pruning_core.results.tables import int8_notes, model_notes, results_table
from pruning_core.results.verdict import Verdict, verdicts
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

PACKAGES = ("plotly", "pandas", "numpy", "scipy")
STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Arial, sans-serif; color: #222;
  background: #fff; max-width: 1240px; margin: 0 auto; padding: 16px; }
h1 { font-size: 24px; margin: 8px 0; }
h2 { font-size: 18px; margin: 32px 0 8px; }
.figures { display: flex; flex-wrap: wrap; gap: 8px 32px; margin: 16px 0 8px; }
.figures div { display: flex; flex-direction: column-reverse; }
.figures b { font-size: 24px; font-weight: 600; line-height: 1.2; }
.figures i { font-style: normal; }
.figures span, .figures i, .save, .small { font-size: 13px; color: #595959; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 20px; list-style: none; padding: 0;
  font-size: 13px; }
.charts { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 24px 16px; }
.save button { font: inherit; color: #0060a0; background: none; border: 0; padding: 0 4px;
  cursor: pointer; text-decoration: underline; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 7px; border-bottom: 1px solid #ddd;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
dt { font-weight: 600; margin-top: 8px; }
dd { margin: 0; }
pre { font-size: 12px; background: #f5f5f5; padding: 12px; overflow-x: auto; }
@media (max-width: 900px) { .charts { grid-template-columns: minmax(0, 1fr); } }
@media print { .save { display: none; } .charts > div { break-inside: avoid; } }
"""


def html_report(
    frame: pd.DataFrame,
    specs: Mapping[str, Spec | Mapping[str, Any]],
    x: str = "sparsity_prunable",
    goal: Goal = DEFAULT_GOAL,
    color_by: str = BY_STRATEGY,
) -> str:
    """The report as HTML: verdict, findings, charts, tables, definitions, settings, versions.

    `specs` maps a run's id to its settings, `x` is a key of X_AXES, and `goal` selects the best
    model at the top. `color_by` says what the color of a series stands for.
    """
    numbers = run_numbers(rows_of(frame))
    body = [
        "<h1>Pruning comparison</h1>",
        *(
            _verdict(verdict, f"verdict-{number}", color_by, numbers)
            for number, verdict in enumerate(verdicts(frame, goal))
        ),
        # The verdicts above say which model is best.
        _section("Findings", _findings(frame, goal)),
        _section("Charts", _charts(frame, x, color_by)),
        _section("All pairwise comparisons", _pair_section(frame)),
        _section("Training-free correction", _corrections(frame)),
        _section("Models", _table(results_table(frame))),
        _section("Notes", _list([*model_notes(frame), *control_notes(frame), *int8_notes(frame)])),
        _section("Definitions", _definitions()),
        _section("Settings", _settings(frame, specs)),
        _section("Software and hardware", _list(_versions(frame))),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    return (
        f'<!doctype html><html lang="en"><head>{head}<title>Pruning comparison</title>'
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head>"
        f"<body>{''.join(body)}</body></html>"
    )


def _findings(frame: pd.DataFrame, goal: Goal) -> str:
    shown = [finding for finding in findings(frame, goal) if finding.kind != "best"]
    notes = (f'<p class="small">{escape(one.note)}</p>' for one in shown if one.note)
    return _list(one.text for one in shown) + "".join(notes)


def _section(title: str, content: str) -> str:
    return f"<h2>{title}</h2>{content}" if content else ""


def _list(sentences: Iterable[str]) -> str:
    items = "".join(f"<li>{escape(text)}</li>" for text in sentences)
    return f"<ul>{items}</ul>" if items else ""


def _verdict(verdict: Verdict, name: str, color_by: str, runs: Mapping[str, int]) -> str:
    place = f": {verdict.place}" if verdict.place else ""
    heading = f"<h2>{escape(verdict.heading + place)}</h2>"
    figures = "".join(
        f"<div><i>{escape(figure.change)}</i><b>{escape(figure.value)}</b>"
        f"<span>{escape(figure.label)}</span></div>"
        for figure in verdict.figures
    )
    row = f'<div class="figures">{figures}</div>' if figures else ""
    texts = (*verdict.reasons, *verdict.nearest, verdict.basis, *verdict.notes)
    sentences = "".join(f"<p>{escape(text)}</p>" for text in texts if text)
    first = f"<p>{escape(verdict.sentence)}</p>" if verdict.sentence else ""
    chart = ""
    if verdict.models:
        figure = verdict_chart(verdict, color_by, runs)
        chart = _verdict_chart(figure, chart_caption(verdict), name)
    return f"{heading}{first}{row}{sentences}{chart}"


def _verdict_chart(figure: go.Figure, caption: str, name: str) -> str:
    chart = pio.to_html(
        on_white(figure),
        config=chart_config(name),
        include_plotlyjs=False,
        full_html=False,
        div_id=f"chart-{name}",
        default_width="620px",
    )
    return f'<div>{_named(chart, figure)}<p class="small">{escape(caption)}</p></div>'


def _pair_section(frame: pd.DataFrame) -> str:
    rows = rows_of(frame)
    table = pair_table(rows)
    if table.empty:
        return ""
    note = f'<p class="small">{BETWEEN_RUNS}</p>' if several_runs(rows) else ""
    return f"<details><summary>Table</summary>{note}{_table(table)}</details>"


def _charts(frame: pd.DataFrame, x: str, color_by: str) -> str:
    """The four charts, and one legend for several runs: those of one run have labels."""
    rows = rows_of(frame)
    legend = legend_html(rows, color_by) if several_runs(rows) else ""
    charts = "".join(_chart(frame, name, x, color_by) for name in CHARTS)
    return f'{legend}<div class="charts">{charts}</div>'


def _chart(frame: pd.DataFrame, name: str, x: str, color_by: str) -> str:
    element, figure = f"chart-{name}", comparison_chart(frame, name, x, color_by)
    chart = pio.to_html(
        on_white(figure),
        config=chart_config(name),
        include_plotlyjs=False,
        full_html=False,
        div_id=element,
    )
    buttons = "".join(_button(element, name, image_format) for image_format in ("png", "svg"))
    return f'<div>{_named(chart, figure)}<div class="save">Save as {buttons}</div></div>'


def _named(chart: str, figure: go.Figure) -> str:
    """A chart with a text for people who do not see it; its numbers are in the table of models."""
    return f'<div role="group" aria-label="{escape(chart_text(figure))}">{chart}</div>'


def _button(element: str, name: str, image_format: str) -> str:
    options = f"{{format: '{image_format}', filename: '{name}', scale: 2}}"
    call = f"Plotly.downloadImage('{element}', {options})"
    return f'<button type="button" onclick="{call}">{image_format.upper()}</button>'


def _table(table: pd.DataFrame) -> str:
    return f'<div class="wide">{table.to_html(index=False, border=0)}</div>'


def _corrections(frame: pd.DataFrame) -> str:
    table = correction_table(frame)
    return "" if table.empty else _table(table)


def _definitions() -> str:
    terms = (
        f"<dt>{escape(row['Term'])}</dt><dd>{escape(row['Definition'])}</dd>"
        for row in glossary_rows()
    )
    return f"<dl>{''.join(terms)}</dl>"


def _settings(frame: pd.DataFrame, specs: Mapping[str, Spec | Mapping[str, Any]]) -> str:
    labels = dict(zip(frame["run_id"], frame["run"], strict=True))
    parts = []
    for run_id, spec in specs.items():
        settings = to_dict(spec) if isinstance(spec, Spec) else dict(spec)
        text = shown_path(json.dumps(settings, indent=2, ensure_ascii=False))
        label = labels.get(run_id, run_id)
        summary = f"<summary>{escape(str(label))}</summary>"
        parts.append(f"<details>{summary}<pre>{escape(text)}</pre></details>")
    return "".join(parts)


def _versions(frame: pd.DataFrame) -> Iterable[str]:
    """Versions and devices of the training, if `frame` has them, and versions of the report."""
    for versions in frame.get("versions", pd.Series(dtype=object)).map(_pairs).unique():
        yield f"Trained with {versions}."
    if {"device", "replicas"} <= set(frame.columns):
        devices = frame.groupby(["device", "replicas", "processor"], sort=True).size()
        for device, replicas, processor in devices.index:
            name = f" ({processor})" if processor else ""
            count = f", {format_count(replicas, 'replica')} of a model in training"
            yield f"Device {device}{name}{count if device == CPU else ''}."
    versions = {name: version(name) for name in PACKAGES}
    yield f"Report written with Python {platform.python_version()}, {_pairs(versions)}."


def _pairs(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in versions.items())

"""Compare: the verdict, the findings, four charts, differences, the table, the downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from pages.components import int8_series, live, matrix, model_slider
from pages.components.address import Address, choice, id_list
from pages.components.chart import cached, draw_chart
from pages.components.compared_latency import draw_compared_latency
from pages.components.correction_table import draw_corrections
from pages.components.facts import explain
from pages.components.goal import PARAMETERS as GOAL
from pages.components.goal import draw_goal, reject_wrong_limits
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.links import link
from pages.components.markdown import inline, plain
from pages.components.matrix import draw_matrix, pick_reference
from pages.components.model_slider import draw_model_slider
from pages.components.next_runs import draw_next
from pages.components.run_picker import pick_runs, run_names
from pages.components.shell import IMAGE_FORMAT, draw_link_problems, open_page
from pages.components.table import draw_definitions, draw_table
from pages.components.verdict import draw_verdict
from pruning_core.common.formatting import format_count, format_percent
from pruning_core.planning.stage import Outline
from pruning_core.reports import csv_export
from pruning_core.reports.charts.comparison import (
    CHARTS,
    X_AXES,
    comparison_chart,
    legend_html,
    several_runs,
)
from pruning_core.reports.charts.style import BY_RUN, BY_STRATEGY
from pruning_core.reports.charts.text_alternative import chart_text
from pruning_core.reports.html_report import html_report
from pruning_core.reports.image_export import images_zip, panel_image
from pruning_core.results import models
from pruning_core.results import rows as result_rows
from pruning_core.results.differences import with_reference
from pruning_core.results.findings import control_notes, findings
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.models import combined, results_frame, titles
from pruning_core.results.rows import rows_of
from pruning_core.results.tables import model_notes
from pruning_core.results.verdict import verdicts_of
from pruning_core.settings.spec import Spec, dataset_name, from_json
from pruning_core.storage.job_progress import ACTIVE, job_states
from pruning_core.storage.job_record import Job
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row

POLL_SECONDS = 2.0
ENDED = ("done", "failed", "cancelled")
IMAGE_FORMATS = {"png": "PNG", "svg": "SVG"}
COLORS = {BY_RUN: "Run", BY_STRATEGY: "Strategy"}
ADDRESS = Address(
    "Compare",
    id_list("runs"),
    *GOAL,
    choice("x", list(X_AXES)),
    choice("image", list(IMAGE_FORMATS)),
    choice("color", list(COLORS)),
    *matrix.PARAMETERS,
    *model_slider.PARAMETERS,
)
LEGEND_STYLE = """
<style>
.legend {display: flex; flex-wrap: wrap; gap: 0.2rem 1.2rem; list-style: none;
    padding: 0 !important; margin: 0 !important;}
.legend li {margin: 0 !important; font-size: 0.85rem;}
</style>
"""

Rows = dict[str, list[Row]]


def read(lab: Lab, jobs: list[Job]) -> tuple[pd.DataFrame, dict[str, Spec]]:
    """The finished models of several runs, and the settings of each run by its id."""
    specs = {job.id: from_json(job.spec) for job in jobs}
    labels = run_names(lab, jobs)
    frames = [
        results_frame(
            Outline.from_json(job.outline),
            lab.store,
            labels[job.id],
            job.id,
            dataset_name(specs[job.id]),
        )
        for job in jobs
    ]
    return combined(frames), specs


@dataclass
class DownloadOptions:
    """The choices on the page that its downloads use too."""

    goal: Goal = DEFAULT_GOAL
    color_by: str = BY_STRATEGY


@st.fragment
def draw_verdicts(
    lab: Lab,
    frame: pd.DataFrame,
    rows: list[result_rows.Row],
    specs: dict[str, Spec],
    options: DownloadOptions,
) -> None:
    """What follows from the goal: verdicts, findings, and what to run next.

    It is a fragment, so that the charts are not drawn again.
    """
    options.goal = draw_goal(ADDRESS)
    ADDRESS.write_part()
    numbers = result_rows.run_numbers(rows)
    every = verdicts_of(rows, options.goal)
    for number, verdict in enumerate(every):
        draw_verdict(verdict, number, len(every) > 1, options.color_by, numbers)
    draw_findings(frame, options.goal)
    draw_next(lab, every, rows, specs)


def draw_notes(frame: pd.DataFrame) -> None:
    """Notes on the models, folded: they come after the answer."""
    notes = [inline(note) for note in (*model_notes(frame), *control_notes(frame))]
    if notes:
        with st.expander(format_count(len(notes), "note")):
            st.markdown("\n".join(f"- {note}" for note in notes))


def draw_choices(rows: list[result_rows.Row]) -> tuple[str, str]:
    """The choices of the charts. Returns the names of the x axis and of the reference."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = ADDRESS.select_box(
            "x",
            "X axis",
            {name: axis.title.capitalize() for name, axis in X_AXES.items()},
            "Sparsity is counted in three ways: over the prunable weights, over all convolution "
            "and linear weights, and over all parameters.",
            300,
        )
        reference = pick_reference(rows, ADDRESS)
        if several_runs(rows):
            ADDRESS.segmented_control(
                "color",
                "Color by",
                COLORS,
                "Run: a color for each run, a symbol for each strategy. Strategy: a color for each "
                "strategy, a symbol for each run.",
            )
        with st.container(key=IMAGE_FORMAT, width="content"):
            ADDRESS.segmented_control(
                "image",
                "Image format",
                IMAGE_FORMATS,
                "Each chart has a camera button at its top right. It saves the chart in this "
                "format. Narrow screens have no such button: save the charts under Downloads.",
            )
    return x, reference


def draw_charts(rows: list[result_rows.Row], x: str, color_by: str) -> None:
    """The assignment's four charts, under one legend where there are several runs."""
    if several_runs(rows):
        st.html(LEGEND_STYLE + legend_html(rows, color_by))
    names, key = list(CHARTS), (x, color_by, rows[0]["reference"], identity(rows))
    for pair in (names[:2], names[2:]):
        for column, name in zip(st.columns(2), pair, strict=True):
            with column:
                make = partial(_chart, rows, name, x, color_by)
                figure, alt = cached(f"chart {name}", key, make)
                draw_chart(figure, name, ADDRESS["image"], alt=alt)


def _chart(rows: list[result_rows.Row], name: str, x: str, color_by: str) -> tuple[go.Figure, str]:
    """One of the four charts, and what it shows in words."""
    figure = comparison_chart(rows, name, x, color_by)
    shown = f"{CHARTS[name].title} of {format_count(len(rows), 'model')} over {X_AXES[x].title}."
    if several_runs(rows):  # the series of a strategy are those of all runs
        accuracies = [row["accuracy"] for row in rows]
        low, high = format_percent(min(accuracies)), format_percent(max(accuracies))
        details = f"The test accuracy is from {low} to {high}."
    else:
        details = chart_text(figure)
    return figure, f"{shown} {details} The table on this page has the numbers."


def identity(rows: list[result_rows.Row]) -> tuple[tuple[str, ...], ...]:
    """What tells the models of the page apart: a stage has one result, a run one name."""
    return tuple((row["run_id"], row["run"], row["strategy"], row["key"]) for row in rows)


def draw_findings(frame: pd.DataFrame, goal: Goal) -> None:
    """What the data show, in a few sentences; the card above has said which model is best."""
    header_with_guide("Findings", "metrics", "statistical-significance")
    shown = [finding for finding in findings(frame, goal) if finding.kind != "best"]
    texts = [f"- {plain(finding.text)}" for finding in shown]
    for text in texts:
        st.markdown(text)
    for note in filter(None, (finding.note for finding in shown)):
        st.caption(note)
    if not texts:
        st.caption("No findings yet. They need at least two comparable models that have finished.")


def draw_downloads(
    frame: pd.DataFrame, specs: dict[str, Spec], x: str, options: DownloadOptions
) -> None:
    """The results as files."""
    st.header("Downloads")
    with st.container(horizontal=True):
        save("CSV", lambda: csv_export.to_csv(frame), "pruning_comparison.csv", "text/csv")
        save(
            "CSV for Excel (decimal comma)",
            lambda: csv_export.to_csv(frame, excel=True),
            "pruning_comparison_excel.csv",
            "text/csv",
        )
        save(
            "HTML report",
            lambda: html_report(frame, specs, x, options.goal, options.color_by),
            "pruning_comparison.html",
            "text/html",
        )
        save(
            "Assignment chart (PNG)",
            lambda: panel_image(frame, "png", x, color_by=options.color_by),
            "pruning_comparison.png",
            "image/png",
        )
        save(
            "All charts (PNG, SVG, PDF)",
            lambda: images_zip(frame, x, options.color_by),
            "pruning_comparison.zip",
            "application/zip",
        )


def save(label: str, content: Callable[[], str | bytes], file: str, kind: str) -> None:
    """A download button. `content` is called when it is pressed."""
    st.download_button(label, content, file, kind, on_click="ignore")


@st.fragment(run_every=POLL_SECONDS)
def watch(lab: Lab, jobs: list[Job], unfinished: list[str], ended_before: int) -> None:
    """Draw the page again when a stage of these runs has ended."""
    live.keep_worker(lab)
    with st.container(key="progress of runs"):
        st.caption(f"Running: {', '.join(unfinished)}. Results update as models finish.")
    if unfinished != unfinished_labels(lab, jobs) or ended_before != ended(lab.queue, jobs):
        st.rerun()


def unfinished_labels(lab: Lab, jobs: list[Job]) -> list[str]:
    """The labels of the runs that wait or run."""
    state, names = job_states(lab.queue, jobs), run_names(lab, jobs)
    return [plain(names[job.id]) for job in jobs if state[job.id] in ACTIVE]


def ended(queue: Queue, jobs: list[Job]) -> int:
    """How many stages of these runs are done, failed or cancelled."""
    counts = queue.counts([job.id for job in jobs]).values()
    return sum(count.get(status, 0) for count in counts for status in ENDED)


def draw_failures(lab: Lab, jobs: list[Job], rows: Rows) -> None:
    """Each model that failed, and the reason."""
    runs = run_names(lab, jobs)
    for job in jobs:
        names = titles(Outline.from_json(job.outline))
        for row in rows[job.id]:
            if row.status == "failed" and row.key in names:
                reason = explain(row.field, row.error)
                st.warning(f"{plain(runs[job.id])}: {names[row.key][0]} failed. {plain(reason)}")


def draw_damaged(lab: Lab, jobs: list[Job], rows: Rows) -> None:
    """Results that can no longer be read, and the button that computes them again."""
    damaged: list[str] = []
    for job in jobs:
        done = [row.key for row in rows[job.id] if row.status == "done"]
        damaged += models.damaged(Outline.from_json(job.outline), lab.store, done)
    if not damaged:
        return
    keys = list(dict.fromkeys(damaged))
    st.warning(
        f"{format_count(len(keys), 'damaged result')} on disk. These models are missing here. "
        "Press Run again to compute only them."
    )

    def run_again() -> None:
        for key in keys:
            lab.queue.lost(key)

    if st.button("Run again", key="again", type="primary", on_click=run_again):
        st.rerun()


@st.fragment
def draw(lab: Lab, jobs: list[Job]) -> None:
    """Everything about the finished models of the runs."""
    rows = {job.id: lab.queue.stages_of(job.id) for job in jobs}
    draw_failures(lab, jobs, rows)
    draw_damaged(lab, jobs, rows)
    frame, specs = read(lab, jobs)
    if frame.empty:
        reject_wrong_limits(ADDRESS)
        st.info("No finished model yet. See progress on Runs.")
        link("Runs", job=jobs[0].id)
        return
    finished = rows_of(frame)
    matrix.limit_choices(finished, ADDRESS)
    model_slider.limit_choices(finished, jobs, ADDRESS)
    if not several_runs(finished):
        ADDRESS.leave_out("only several runs have colors to choose", "color")
    options = DownloadOptions(color_by=ADDRESS["color"] if several_runs(finished) else BY_STRATEGY)
    draw_verdicts(lab, frame, finished, specs, options)
    draw_notes(frame)
    st.header("Charts")
    x, reference = draw_choices(finished)
    compared = with_reference(finished, reference)
    draw_charts(compared, x, options.color_by)
    int8_series.draw_button(lab, frame)
    table = draw_matrix(finished, reference, ADDRESS, identity(finished))
    draw_compared_latency(lab, table, jobs)
    draw_model_slider(lab, jobs, compared, ADDRESS)
    draw_corrections(frame)
    header_with_guide("Table", "metrics", "sparsity")
    draw_table(frame, reference, identity(finished))
    draw_definitions()
    int8_series.draw_notes(frame)
    draw_downloads(frame, specs, x, options)


def main() -> None:
    lab = open_page("Compare")
    st.title("Compare")
    ADDRESS.open()
    jobs = pick_runs(lab, ADDRESS)
    place = st.container()
    if not jobs:
        reject_wrong_limits(ADDRESS)
        ADDRESS.write()
        with place:
            draw_link_problems()
        if lab.queue.started(1):
            st.info("Choose one or more runs.")
        else:
            live.draw_no_results(lab)
        return
    ended_before, unfinished = ended(lab.queue, jobs), unfinished_labels(lab, jobs)
    if unfinished:
        watch(lab, jobs, unfinished, ended_before)
    draw(lab, jobs)
    ADDRESS.write()
    with place:
        draw_link_problems()


main()

"""Compare: the best model, four charts, the findings, the table, the downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from pages.components import int8_series, live
from pages.components.address import Address, choice, id_list
from pages.components.chart import draw_chart
from pages.components.correction_table import draw_corrections
from pages.components.facts import explain
from pages.components.goal import PARAMETERS as GOAL
from pages.components.goal import draw_goal
from pages.components.guide_link import header_with_guide
from pages.components.lab import Lab
from pages.components.links import link
from pages.components.markdown import inline, plain
from pages.components.picking import pick_runs
from pages.components.shell import draw_link_problems, open_page
from pages.components.table import draw_definitions, draw_table
from pruning_core.common.formatting import format_count
from pruning_core.planning.stage import Outline
from pruning_core.reports import csv_export
from pruning_core.reports.charts.comparison import CHARTS, X_AXES, comparison_chart
from pruning_core.reports.html_report import html_report
from pruning_core.reports.image_export import images_zip, panel_image
from pruning_core.results import models
from pruning_core.results.best_model import Answer, answers
from pruning_core.results.findings import findings
from pruning_core.results.goal import DEFAULT_GOAL, Goal
from pruning_core.results.labels import flatten, short_labels
from pruning_core.results.models import combined, results_frame, titles
from pruning_core.results.tables import model_notes
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec, dataset_name, from_json
from pruning_core.storage.job_progress import ACTIVE, job_states
from pruning_core.storage.jobs import Job, Queue
from pruning_core.storage.stage_queue import Row

SHOWN_FINDINGS = 10
POLL_SECONDS = 2.0
ENDED = ("done", "failed", "cancelled")
ADDRESS = Address(
    "Compare",
    id_list("runs"),
    *GOAL,
    choice("x", list(X_AXES)),
    choice("image", ["png", "svg"]),
)

Rows = dict[str, list[Row]]


def read(lab: Lab, jobs: list[Job]) -> tuple[pd.DataFrame, dict[str, Spec]]:
    """The finished models of several runs, and the settings of each run by its id."""
    specs = {job.id: from_json(job.spec) for job in jobs}
    flat = {job.id: {**flatten(to_dict(specs[job.id])), "label": job.label} for job in jobs}
    labels = short_labels(flat) if len(jobs) > 1 else {job.id: job.label for job in jobs}
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
class Shown:
    """The goal that the page shows. The HTML report uses it too."""

    goal: Goal = DEFAULT_GOAL


@st.fragment
def draw_best_models(frame: pd.DataFrame, shown: Shown) -> None:
    """The best model that meets the goal. A fragment, so that the charts are not drawn again."""
    shown.goal = draw_goal(ADDRESS)
    ADDRESS.write()
    for answer in answers(frame, shown.goal):
        draw_best_model(answer)


def draw_best_model(answer: Answer) -> None:
    """The figures for one data set, or why no model is shown."""
    if answer.place:
        st.subheader(plain(answer.place[0].upper() + answer.place[1:]))
    if answer.best is None and answer.text:
        st.info(plain(answer.text))
    elif answer.best:
        with st.container(horizontal=True, gap="medium"):
            for label, value in answer.best.figures:
                st.metric(label.capitalize(), plain(value), width="content")
        st.caption(plain(answer.text))
    for warning in answer.warnings:
        st.warning(plain(warning))


def draw_charts(frame: pd.DataFrame) -> str:
    """The assignment's four charts. Returns the name of the chosen x axis."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = st.selectbox(
            "X axis",
            list(X_AXES),
            index=list(X_AXES).index(ADDRESS["x"]),
            key=ADDRESS.key("x"),
            format_func=lambda name: X_AXES[name].title.capitalize(),
            width=360,
            help="Sparsity is counted in three ways: over the prunable weights, over all "
            "convolution and linear weights, and over all parameters.",
        )
        image = st.segmented_control(
            "Image format",
            ["png", "svg"],
            default=ADDRESS["image"],
            required=True,
            key=ADDRESS.key("image"),
            format_func=str.upper,
            help="The format of the camera button at the top right of each chart.",
        )
    names = list(CHARTS)
    for pair in (names[:2], names[2:]):
        for column, name in zip(st.columns(2), pair, strict=True):
            with column:
                draw_chart(comparison_chart(frame, name, x), name, image)
    return x


def draw_findings(frame: pd.DataFrame) -> None:
    """What the data show, in sentences with their numbers."""
    header_with_guide("Findings", "metrics", "statistical-significance")
    # The best models above already warn of a bad baseline.
    shown = [finding for finding in findings(frame) if finding.kind != "baseline"]
    texts = [f"- {plain(finding.text)}" for finding in shown]
    if not texts:
        st.caption("Nothing to compare yet: fewer than two comparable models have finished.")
    for text in texts[:SHOWN_FINDINGS]:
        st.markdown(text)
    if len(texts) > SHOWN_FINDINGS:
        with st.expander(format_count(len(texts) - SHOWN_FINDINGS, "more finding")):
            for text in texts[SHOWN_FINDINGS:]:
                st.markdown(text)


def draw_downloads(frame: pd.DataFrame, specs: dict[str, Spec], x: str, shown: Shown) -> None:
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
            lambda: html_report(frame, specs, findings(frame), x, shown.goal),
            "pruning_comparison.html",
            "text/html",
        )
        save(
            "Assignment chart (PNG)",
            lambda: panel_image(frame, "png", x),
            "pruning_comparison.png",
            "image/png",
        )
        save(
            "All charts (PNG, SVG, PDF)",
            lambda: images_zip(frame, x),
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
    st.caption(f"Running: {', '.join(unfinished)}. Results update as models finish.")
    if unfinished != unfinished_labels(lab, jobs) or ended_before != ended(lab.queue, jobs):
        st.rerun()


def unfinished_labels(lab: Lab, jobs: list[Job]) -> list[str]:
    """The labels of the runs that wait or run."""
    state = job_states(lab.queue, jobs)
    return [plain(job.label) for job in jobs if state[job.id] in ACTIVE]


def ended(queue: Queue, jobs: list[Job]) -> int:
    """How many stages of these runs are done, failed or cancelled."""
    counts = queue.counts([job.id for job in jobs]).values()
    return sum(count.get(status, 0) for count in counts for status in ENDED)


def draw_failures(jobs: list[Job], rows: Rows) -> None:
    """Each model that failed, and the reason."""
    for job in jobs:
        names = titles(Outline.from_json(job.outline))
        for row in rows[job.id]:
            if row.status == "failed" and row.key in names:
                reason = explain(row.field, row.error)
                st.warning(f"{plain(job.label)}: {names[row.key][0]} failed. {plain(reason)}")


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
        f"{format_count(len(keys), 'damaged result')} on disk: these models are missing here. "
        "Run again computes only them."
    )

    def run_again() -> None:
        for key in keys:
            lab.queue.lost(key)

    if st.button("Run again", key="again", type="primary", on_click=run_again):
        st.rerun()


@st.fragment
def draw(lab: Lab, jobs: list[Job]) -> None:
    """Everything about the finished models of the runs."""
    ADDRESS.write()
    rows = {job.id: lab.queue.stages_of(job.id) for job in jobs}
    draw_failures(jobs, rows)
    draw_damaged(lab, jobs, rows)
    frame, specs = read(lab, jobs)
    if frame.empty:
        st.info("No finished model yet. See progress on Runs.")
        link("Runs", job=jobs[0].id)
        return
    if notes := [inline(note) for note in model_notes(frame)]:
        st.info("\n".join(f"- {note}" for note in notes) if len(notes) > 1 else notes[0])
    shown = Shown()
    draw_best_models(frame, shown)
    x = draw_charts(frame)
    int8_series.draw_button(lab, frame)
    draw_findings(frame)
    draw_corrections(frame)
    header_with_guide("Table", "metrics", "sparsity")
    draw_table(frame)
    draw_definitions()
    int8_series.draw_notes(frame)
    draw_downloads(frame, specs, x, shown)


def main() -> None:
    lab = open_page("Compare")
    st.title("Compare")
    ADDRESS.open()
    jobs = pick_runs(lab, ADDRESS)
    ADDRESS.write()
    draw_link_problems()
    if not jobs:
        st.info("Nothing to compare yet. Start a run on Home or Tune.")
        link("Home", "Choose a preset")
        return
    ended_before, unfinished = ended(lab.queue, jobs), unfinished_labels(lab, jobs)
    if unfinished:
        watch(lab, jobs, unfinished, ended_before)
    draw(lab, jobs)


main()

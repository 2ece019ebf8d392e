"""Compare: the answer, the four charts, the findings, the table, the downloads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components import int8_series, ladder_table, live, table
from pages.components.facts import explain, inline
from pages.components.picking import MOST_RUNS
from pages.components.shell import Lab, link, open_page, plain
from pruning_core.common.formatting import format_count
from pruning_core.planning.stage import Outline
from pruning_core.reports import csv_export
from pruning_core.reports.charts.comparison import CHARTS, X_AXES, comparison_chart
from pruning_core.reports.charts.style import chart_config
from pruning_core.reports.html_report import html_report
from pruning_core.reports.image_export import chrome_found, images_zip
from pruning_core.results import models
from pruning_core.results.best_model import Answer, answers
from pruning_core.results.findings import findings
from pruning_core.results.labels import flatten, short_labels
from pruning_core.results.models import combined, results_frame, titles
from pruning_core.results.tables import model_notes
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec, from_json
from pruning_core.storage.job_progress import ACTIVE, states
from pruning_core.storage.jobs import Job, Queue
from pruning_core.storage.stage_queue import Row

FINDINGS = 5
POLL_SECONDS = 2.0

Rows = dict[str, list[Row]]


def pick(lab: Lab) -> list[Job]:
    """The runs in the link, else the newest that has something to show."""
    labels = lab.queue.started_labels(MOST_RUNS)
    given = st.query_params.get("runs", "")
    wanted = [name for name in given.split(",") if name]
    others = [name for name in wanted if name not in labels]
    labels.update({name: job.label for name in others if (job := lab.queue.job(name))})
    if unknown := [name for name in wanted if name not in labels]:
        st.warning(f"There is no run {plain(', '.join(unknown))}.")
    fresh = st.session_state.get("linked runs") != given or "runs" not in st.session_state
    if given and fresh and len(unknown) < len(wanted):
        st.session_state["runs"] = [name for name in wanted if name in labels]
    if "runs" not in st.session_state and labels:
        st.session_state["runs"] = [next(iter(labels))]
    chosen = st.multiselect(
        "Runs",
        list(labels),
        key="runs",
        format_func=lambda name: f"{labels[name]} ({name[:6]})",
        help="One run, or several to lay over each other.",
    )
    st.query_params["runs"] = st.session_state["linked runs"] = ",".join(chosen)
    return [job for name in chosen if (job := lab.queue.job(name))]


def read(lab: Lab, jobs: list[Job]) -> tuple[pd.DataFrame, dict[str, Spec]]:
    """The points of several runs and their specs."""
    specs = {job.id: from_json(job.spec) for job in jobs}
    flat = {job.id: {**flatten(to_dict(specs[job.id])), "label": job.label} for job in jobs}
    labels = short_labels(flat)
    frames = [
        results_frame(
            Outline.from_json(job.outline),
            lab.store,
            labels[job.id],
            job.id,
            data_name(specs[job.id]),
        )
        for job in jobs
    ]
    return combined(frames), specs


def data_name(spec: Spec) -> str:
    """The data set as a person would call it."""
    return Path(spec.data.path).name if spec.data.name == "images" else spec.data.name


@dataclass
class Answered:
    """What the answer above was last asked, in points; the report asks the same."""

    tolerance: float = 1.0


@st.fragment
def draw_headline(frame: pd.DataFrame, asked: Answered) -> None:
    """The answer before the charts, which stay as they are when it is asked anew."""
    asked.tolerance = st.slider(
        "Accuracy that may be lost, in points",
        0.0,
        10.0,
        1.0,
        0.1,
        key="tolerance",
        help="The most sparse model within it is shown, chosen on the validation images. One "
        "point is one percent of the images.",
    )
    for answer in answers(frame, asked.tolerance / 100):
        draw_answer(answer)


def draw_answer(answer: Answer) -> None:
    """The figures of one data set, or why there are none."""
    if answer.place:
        st.subheader(plain(answer.place[0].upper() + answer.place[1:]))
    if answer.best is None and answer.text:
        st.info(plain(answer.text))
    elif answer.best:
        with st.container(horizontal=True, gap="large"):
            for label, value in answer.best.figures:
                st.metric(label.capitalize(), plain(value), width="content")
        st.caption(plain(answer.text))
    for warning in answer.warnings:
        st.warning(plain(warning))


def draw_charts(frame: pd.DataFrame) -> str:
    """The assignment's four charts. Returns the horizontal axis that is chosen."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        x = st.selectbox(
            "Horizontal axis",
            list(X_AXES),
            key="x",
            format_func=lambda name: X_AXES[name].title.capitalize(),
            width=360,
            help="Sparsity has three counts: of the weights that the run may prune, of all "
            "convolution and linear weights, of all parameters.",
        )
        image = st.segmented_control(
            "A chart's camera saves",
            ["png", "svg"],
            default="png",
            required=True,
            key="image",
            format_func=str.upper,
            help="The button at the top right of each chart.",
        )
    names = list(CHARTS)
    for pair in (names[:2], names[2:]):
        for column, name in zip(st.columns(2), pair, strict=True):
            drawn = comparison_chart(frame, name, x)
            column.plotly_chart(drawn, key=f"chart {name}", config=chart_config(name, image))
    return x


def draw_findings(frame: pd.DataFrame) -> None:
    """What the data say, in sentences with their numbers."""
    st.header("Findings")
    found = findings(frame)
    pairs = [f for f in found if f.kind == "pair"]
    # What is wrong with a baseline stands in the answer above.
    shown = [f for f in found if f.kind not in ("pair", "baseline")] + pairs
    if not shown:
        st.caption("There is nothing to compare yet: no two finished points belong together.")
    for finding in shown[:FINDINGS]:
        st.markdown(f"- {plain(finding.text)}")
    if len(shown) > FINDINGS:
        with st.expander(f"{len(shown) - FINDINGS} more comparisons"):
            for finding in shown[FINDINGS:]:
                st.markdown(f"- {plain(finding.text)}")


def draw_downloads(frame: pd.DataFrame, specs: dict[str, Spec], x: str, asked: Answered) -> None:
    """Everything as files."""
    st.header("Downloads")
    with st.container(horizontal=True):
        save("CSV", lambda: csv_export.to_csv(frame), "pruning_comparison.csv", "text/csv")
        save(
            "HTML report",
            lambda: html_report(frame, specs, findings(frame), x, asked.tolerance / 100),
            "pruning_comparison.html",
            "text/html",
        )
        if chrome_found():
            save(
                "All charts (PNG and SVG)",
                lambda: images_zip(frame, x),
                "pruning_comparison.zip",
                "application/zip",
            )
    for sentence in csv_export.missing_chrome():
        st.caption(sentence)


def save(label: str, make: Callable[[], str | bytes], file: str, kind: str) -> None:
    """A button that makes its file when it is pressed."""
    st.download_button(label, make, file, kind, on_click="ignore")


@st.fragment(run_every=POLL_SECONDS)
def watch(lab: Lab, jobs: list[Job], growing: list[str], finished: int) -> None:
    """Draw the page anew once there is more to show; until then a look costs next to nothing."""
    live.keep_worker(lab)
    st.caption(f"Still running: {', '.join(growing)}. What is finished is shown, and grows.")
    if growing != still_growing(lab, jobs) or finished != ended(lab.queue, jobs):
        st.rerun()


def ended(queue: Queue, jobs: list[Job]) -> int:
    """How many stages of these runs have come to an end, good or bad."""
    counts = queue.counts([job.id for job in jobs]).values()
    over = ("done", "failed", "cancelled")
    return sum(number for found in counts for state, number in found.items() if state in over)


def draw_state(jobs: list[Job], rows: Rows) -> None:
    """What never will be there, and why."""
    for job in jobs:
        names = titles(Outline.from_json(job.outline))
        for row in rows[job.id]:
            if row.status == "failed" and row.key in names:
                reason = explain(row.field, row.error)
                st.warning(f"{plain(job.label)}: {names[row.key][0]} failed. {plain(reason)}")


def draw_damaged(lab: Lab, jobs: list[Job], rows: Rows) -> None:
    """Results that were finished and can no longer be read, and the way to have them again."""
    lost: list[str] = []
    for job in jobs:
        done = [row.key for row in rows[job.id] if row.status == "done"]
        lost += models.damaged(Outline.from_json(job.outline), lab.store, done)
    if not lost:
        return
    kept = list(dict.fromkeys(lost))
    were = "was" if len(kept) == 1 else "were"
    st.warning(
        f"{format_count(len(kept), 'result')} {were} damaged on disk and set aside, so the "
        "points are missing here. Run them again to have them back; all others are kept."
    )

    def again() -> None:
        for key in kept:
            lab.queue.lost(key)

    if st.button("Run again", key="again", type="primary", on_click=again):
        st.rerun()


@st.fragment
def draw(lab: Lab, jobs: list[Job]) -> None:
    """What is finished."""
    rows = {job.id: lab.queue.stages_of(job.id) for job in jobs}
    draw_state(jobs, rows)
    draw_damaged(lab, jobs, rows)
    frame, specs = read(lab, jobs)
    if frame.empty:
        st.info("These runs have no finished point to show. Watch them on Runs.")
        link("Runs", job=jobs[0].id)
        return
    if notes := model_notes(frame):
        st.info("\n".join(f"- {inline(note)}" for note in notes) if notes[1:] else inline(notes[0]))
    asked = Answered()
    draw_headline(frame, asked)
    x = draw_charts(frame)
    int8_series.draw(lab, frame)
    draw_findings(frame)
    ladder_table.draw(frame)
    st.header("Table")
    table.draw(frame)
    table.draw_definitions()
    int8_series.draw_notes(frame)
    draw_downloads(frame, specs, x, asked)


def main() -> None:
    lab = open_page("Compare")
    st.title("Compare")
    jobs = pick(lab)
    if not jobs:
        st.info("Nothing to compare yet. Start a run on Home or Tune and come back.")
        link("Home", "Choose a preset")
        return
    finished, growing = ended(lab.queue, jobs), still_growing(lab, jobs)
    if growing:
        watch(lab, jobs, growing, finished)
    draw(lab, jobs)


def still_growing(lab: Lab, jobs: list[Job]) -> list[str]:
    """The labels of the runs that are not at their end."""
    words = states(lab.queue, jobs)
    return [plain(job.label) for job in jobs if words[job.id] in ACTIVE]


main()

"""Home: what pruning does, the latest result, active runs, the presets, the machines."""

from __future__ import annotations

import time

import streamlit as st
from starlette.middleware import Middleware
from streamlit.starlette import App

from pages.components import accessibility, facts, history, live
from pages.components.address import Address
from pages.components.chart import draw_chart
from pages.components.connections import draw_connections
from pages.components.document_script import DocumentScript
from pages.components.goal import PARAMETERS, current_goal, reject_wrong_limits
from pages.components.host_check import HostCheck
from pages.components.lab import Lab
from pages.components.links import link, switch_page
from pages.components.markdown import plain
from pages.components.picture import draw_picture
from pages.components.run_picker import run_names
from pages.components.setting_values import params
from pages.components.shell import draw_link_problems, open_page
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import join_words
from pruning_core.planning.estimate import estimate, estimate_text, probe
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import PRESETS, QUICKSTART, Preset
from pruning_core.planning.stage import Outline, Stage
from pruning_core.reports.charts.benchmark import NOT_SPEEDUPS, benchmark_chart
from pruning_core.reports.charts.small_charts import (
    accuracy_picture,
    pruning_picture,
    schedule_picture,
)
from pruning_core.results.benchmark import ALL_FIGURES, BenchmarkResult, figure_text, last_result
from pruning_core.results.best_model import answers_of
from pruning_core.results.best_model_summary import best_model_summary
from pruning_core.results.models import model_rows
from pruning_core.results.rows import Row, is_pruned
from pruning_core.settings.messages import for_page
from pruning_core.settings.pruning_steps import targets
from pruning_core.storage.job_progress import job_states
from pruning_core.storage.job_record import Job

ADDRESS = Address("Home", *PARAMETERS)
LATEST = 5
SCRIPTS = (history.SCRIPT, accessibility.SCRIPT)
POLL_SECONDS, SLOW_SECONDS = 2.0, 10.0


def has_runs(lab: Lab) -> bool:
    """Whether there is a run that is active or has results."""
    return bool(lab.queue.unfinished(1) or lab.queue.started(1))


def draw_introduction() -> None:
    """What pruning does, in a sentence and a picture of the quick start's schedule."""
    st.write(
        "Pruning removes the least important weights of a neural network. Pruning Lab measures how "
        "small the network gets and how much accuracy it loses."
    )
    draw_picture(pruning_picture(targets(QUICKSTART.iterative)))


def draw_presets(lab: Lab) -> None:
    """A card for each preset."""
    st.header("Start from a preset")
    for column, (name, preset) in zip(st.columns(len(PRESETS)), PRESETS.items(), strict=True):
        with column, st.container(border=True, height="stretch"):
            draw_card(lab, name, preset)


def draw_card(lab: Lab, name: str, preset: Preset) -> None:
    """What a preset is, its schedule, its cost on this machine, and buttons to run or edit it."""
    st.subheader(preset.title)
    st.write(preset.text)
    st.space("stretch")
    draw_picture(schedule_picture(preset.spec))
    st.caption(cost(lab, preset))
    # One below the other: side by side only short titles have room.
    if st.button(
        f"Run {preset.title}",
        key=f"run {name}",
        type="primary",
        help="Starts this run now and opens Runs.",
    ):
        job = lab.queue.submit(preset.spec, preset.title)
        switch_page("Runs", {"job": job})
    if st.button(f"Edit {preset.title}", key=f"edit {name}", help="Opens the settings on Tune."):
        switch_page("Tune", params(preset.spec))


def cost(lab: Lab, preset: Preset) -> str:
    """The time that a preset takes, and whether it has to download."""
    seconds = estimate(preset.spec, plan(preset.spec, lab.store), lab.store, lab.store.cores)
    text = f"Time on {lab.store.place}: {estimate_text(seconds)}."
    download = facts.downloads_needed(preset.spec)
    return f"{text} {'Needs a download first.' if download else 'No download.'}"


def speed_trials(lab: Lab) -> list[Stage]:
    """The inspections that measure the training speed of the presets on this machine."""
    running = lab.queue.running()
    trials = (probe(preset.spec, lab.store, running) for preset in PRESETS.values())
    return [stage for stage in trials if stage]


@st.fragment(run_every=POLL_SECONDS)
def draw_running(lab: Lab) -> None:
    """The active runs; nothing before the first run."""
    if not has_runs(lab):
        return
    st.header("Running")
    if not live.running_now(lab):
        st.caption("Nothing is running. Run a preset below, or choose settings on Tune.")


def draw_benchmarks(lab: Lab) -> None:
    """The last benchmarks of this machine and of its GPU, if there are any."""
    st.header("This machine")
    results = [last_result(path) for path in (lab.cache.benchmark, lab.cache.gpu_benchmark)]
    if not any(results):
        st.caption(
            "Benchmark not run yet. `python -m pruning_core benchmark --quick` compares training "
            "speed with the assignment's script."
        )
    for name, result in zip(("benchmark", "GPU benchmark"), results, strict=True):
        if result:
            draw_benchmark(name, result)


def draw_benchmark(name: str, result: BenchmarkResult) -> None:
    """The figures of a benchmark, and where they were measured."""
    draw_chart(benchmark_chart(result), name, numbers=name)
    measured = [figure for figure in NOT_SPEEDUPS if figure in result.figures]
    ratios = [f"{ALL_FIGURES[f].short} {figure_text(result.figures[f].median)}" for f in measured]
    more = f" Also measured: {join_words(ratios)}." if ratios else ""
    st.caption(
        f"Dots: median of the rounds. Bars: their range.{more} {plain(result.environment())}"
    )
    if result.torch_config:
        with st.expander("Build of PyTorch", key=f"build {name}"):
            st.code(result.torch_config, language=None, wrap_lines=True)


@st.fragment(run_every=SLOW_SECONDS)
def draw_latest(lab: Lab) -> None:
    """The newest run with a pruned model: its accuracy over sparsity, and its best model.

    Nothing before the first run.
    """
    if not has_runs(lab):
        return
    st.header("Latest result")
    for job in lab.queue.pruned(LATEST):
        rows = results_of(lab, job)
        if any(map(is_pruned, rows)):
            link("Compare", plain(job.label), runs=job.id)
            draw_picture(accuracy_picture(rows, height=190, detailed=True))
            summary = best_model_summary(answers_of(rows, current_goal()))
            st.caption(f"Test accuracy. {plain(summary)}")
            return
    st.info("No results yet. They appear here as models finish.")


@st.fragment(run_every=SLOW_SECONDS)
def draw_recent(lab: Lab) -> None:
    """The newest runs with results, a card each."""
    jobs = lab.queue.started(LATEST)
    states = job_states(lab.queue, jobs)
    if not jobs:
        return
    st.header("Recent results")
    names = run_names(lab, jobs)
    for job in jobs:
        if rows := results_of(lab, job):
            draw_result(job, rows, states[job.id], plain(names[job.id]))
    with st.container(horizontal=True):
        link("Runs", "All runs")


def results_of(lab: Lab, job: Job) -> list[Row]:
    """The finished models of a run."""
    return model_rows(Outline.from_json(job.outline), lab.store, job.label, job.id)


def draw_result(job: Job, rows: list[Row], state: str, name: str) -> None:
    """A run: its name, state and date, its accuracy over sparsity, its best model, its links.

    `name` tells it from the other runs of the page.
    """
    planned = len(Outline.from_json(job.outline).models)
    some = f" :gray-badge[{len(rows)} of {planned} models]" if len(rows) < planned else ""
    with st.container(border=True):
        text_column, picture_column = st.columns([3, 1], vertical_alignment="center")
        with text_column:
            st.markdown(f"**{name}** {live.badge(state)}{some}")
            date = time.strftime("%d %b %Y, %H:%M", time.localtime(job.created))
            summary = best_model_summary(answers_of(rows, current_goal()))
            st.caption(f"{date}. {plain(summary)}")
            with st.container(horizontal=True):
                link("Compare", f"Compare {name}", runs=job.id)
                link("Runs", f"Open {name}", job=job.id)
        with picture_column:
            draw_picture(accuracy_picture(rows))


def main() -> None:
    lab = open_page("Home")
    st.title("Pruning Lab")
    ADDRESS.open()
    reject_wrong_limits(ADDRESS)
    draw_link_problems()
    draw_introduction()
    latest_column, running_column = st.columns([3, 2], gap="medium")
    with latest_column:
        draw_latest(lab)
    with running_column:
        draw_running(lab)
    draw_presets(lab)
    try:
        if pending := facts.request(lab, speed_trials(lab)):
            facts.wait_for(pending, lab)
    except SpecError as error:
        reason = plain(for_page(error))
        st.warning(f"The time on this machine could not be measured. {reason}")
    draw_recent(lab)
    draw_benchmarks(lab)
    draw_connections(lab)
    ADDRESS.write()


# Streamlit runs this file as `__main__` for each session. `streamlit run` imports it before, to
# find the application that it serves.
if __name__ == "__main__":
    main()
else:
    app = App(__file__, middleware=[Middleware(HostCheck), Middleware(DocumentScript, SCRIPTS)])

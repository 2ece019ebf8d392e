"""Home: the presets with their cost on this machine, active runs, the latest results."""

from __future__ import annotations

import streamlit as st
from starlette.middleware import Middleware
from streamlit.starlette import App

from pages.components import accessibility, facts, history, live
from pages.components.address import Address
from pages.components.chart import draw_chart
from pages.components.document_script import DocumentScript
from pages.components.goal import PARAMETERS, current_goal
from pages.components.host_check import HostCheck
from pages.components.lab import Lab
from pages.components.links import link, switch_page
from pages.components.markdown import plain
from pages.components.setting_values import params
from pages.components.shell import open_page
from pruning_core.common import machine
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import join_words
from pruning_core.planning.estimate import estimate, estimate_text, probe
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import PRESETS, Preset
from pruning_core.planning.stage import Outline, Stage
from pruning_core.reports.charts.benchmark import NOT_SPEEDUPS, benchmark_chart
from pruning_core.results.benchmark import FIGURES, last_result
from pruning_core.results.best_model import answers_of
from pruning_core.results.models import model_rows
from pruning_core.settings.messages import for_page
from pruning_core.storage.jobs import Job

ADDRESS = Address("Home", *PARAMETERS)
LATEST = 5
SCRIPTS = (history.SCRIPT, accessibility.SCRIPT)
POLL_SECONDS, SLOW_SECONDS = 2.0, 10.0


def draw_presets(lab: Lab) -> None:
    """A card for each preset."""
    st.header("Start from a preset")
    for column, (name, preset) in zip(st.columns(len(PRESETS)), PRESETS.items(), strict=True):
        with column, st.container(border=True, height="stretch"):
            draw_card(lab, name, preset)


def draw_card(lab: Lab, name: str, preset: Preset) -> None:
    """What a preset is, its cost on this machine, and buttons to run or edit it."""
    st.subheader(preset.title)
    st.write(preset.text)
    st.space("stretch")
    st.caption(cost(lab, preset))
    with st.container(horizontal=True):
        if st.button(
            "Run", key=f"run {name}", type="primary", help="Starts this run now and opens Runs."
        ):
            job = lab.queue.submit(preset.spec, preset.title)
            switch_page("Runs", {"job": job})
        if st.button("Edit settings", key=f"edit {name}", help="Opens the settings on Tune."):
            switch_page("Tune", params(preset.spec))


def cost(lab: Lab, preset: Preset) -> str:
    """The time that a preset takes on this machine."""
    cores = machine.usable_cores()
    seconds = estimate(preset.spec, plan(preset.spec, lab.store), lab.store, cores)
    text = f"Time on this machine: {estimate_text(seconds)}."
    return text + (" Needs a download first." if facts.downloads_needed(preset.spec) else "")


def speed_trials(lab: Lab) -> list[Stage]:
    """The inspections that measure the training speed of the presets on this machine."""
    return [stage for p in PRESETS.values() if (stage := probe(p.spec, lab.store))]


@st.fragment(run_every=POLL_SECONDS)
def draw_running(lab: Lab) -> None:
    """The active runs."""
    st.header("Running")
    if not live.running_now(lab):
        st.caption("Nothing is running. Run a preset above, or set up a comparison on Tune.")


def draw_benchmark(lab: Lab) -> None:
    """The last benchmark of this machine, if there is one."""
    result = last_result(lab.cache)
    st.header("This machine")
    if result is None:
        st.caption(
            "Benchmark not run yet. `python -m pruning_core benchmark --quick` compares training "
            "speed with the assignment's script."
        )
        return
    draw_chart(benchmark_chart(result), "benchmark")
    measured = [name for name in NOT_SPEEDUPS if name in result.figures]
    ratios = [f"{FIGURES[name].short} {result.figures[name].median:.2g}" for name in measured]
    more = f" Also measured: {join_words(ratios)}." if ratios else ""
    st.caption(
        f"Dots: median of the rounds; bars: their range.{more} {plain(result.environment())}"
    )


@st.fragment(run_every=SLOW_SECONDS)
def draw_latest(lab: Lab) -> None:
    """The newest results, each with its best model."""
    st.header("Latest results")
    jobs = lab.queue.started(LATEST)
    if not jobs:
        st.info("No results yet. Run a preset; results appear here as models finish.")
    for job in jobs:
        draw_result(lab, job)


def draw_result(lab: Lab, job: Job) -> None:
    """A run: its name, its best model, the link to its charts."""
    outline = Outline.from_json(job.outline)
    rows = model_rows(outline, lab.store, job.label, job.id)
    if not rows:
        return
    with st.container(border=True):
        complete = len(rows) == len(outline.models)
        note = "" if complete else f" :gray-badge[{len(rows)} of {len(outline.models)} models]"
        st.markdown(f"**{plain(job.label)}**{note}")
        for answer in answers_of(rows, current_goal()):
            for sentence in filter(None, (answer.text, *answer.warnings)):
                st.write(plain(sentence))
        link("Compare", runs=job.id)


def main() -> None:
    lab = open_page("Home")
    st.title("Pruning Lab")
    ADDRESS.open()
    st.write(
        "Compare one-shot and iterative pruning: how small can a network get, and how much "
        "accuracy does it lose? Everything is trained and measured on this machine."
    )
    draw_presets(lab)
    try:
        if pending := facts.request(lab, speed_trials(lab)):
            facts.wait_for(pending, lab)
    except SpecError as error:
        reason = plain(for_page(error))
        st.warning(f"The time on this machine could not be measured. {reason}")
    draw_running(lab)
    draw_latest(lab)
    draw_benchmark(lab)
    ADDRESS.write()


# Streamlit runs this file as `__main__` for each session. `streamlit run` imports it before, to
# find the application that it serves.
if __name__ == "__main__":
    main()
else:
    app = App(__file__, middleware=[Middleware(HostCheck), Middleware(DocumentScript, SCRIPTS)])

"""Home: what this is, the presets with what they cost here, what runs, what came out."""

from __future__ import annotations

import streamlit as st

from pages.components import choices, facts, live
from pages.components.shell import PAGES, Lab, link, open_page, plain
from pruning_core.common import machine
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import join_words
from pruning_core.planning.estimate import estimate, estimate_text, probe
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import PRESETS, Preset
from pruning_core.planning.stage import Outline, Stage
from pruning_core.reports.charts.benchmark import APART, bench_figure
from pruning_core.results import models
from pruning_core.results.benchmark import FIGURES, last
from pruning_core.results.best_model import answers_of
from pruning_core.storage.jobs import Job

LATEST = 5
POLL_SECONDS = 2.0


def draw_presets(lab: Lab) -> None:
    """A card for each preset."""
    st.header("Start from a preset")
    for column, (name, preset) in zip(st.columns(len(PRESETS)), PRESETS.items(), strict=True):
        with column, st.container(border=True, height="stretch"):
            draw_card(lab, name, preset)


def draw_card(lab: Lab, name: str, preset: Preset) -> None:
    """What a preset is, its cost on this machine, and two ways on."""
    st.subheader(preset.title)
    st.write(preset.text)
    st.space("stretch")
    st.caption(cost(lab, preset))
    with st.container(horizontal=True):
        if st.button("Run", key=f"run {name}", type="primary", help="Starts it at once."):
            job = lab.queue.submit(preset.spec, preset.title)
            st.switch_page(PAGES["Runs"], query_params={"job": job})
        if st.button("Adjust", key=f"adjust {name}", help="Opens it on Tune, to change it first."):
            choices.load(preset.spec)
            st.switch_page(PAGES["Tune"], query_params=choices.params(preset.spec))


def cost(lab: Lab, preset: Preset) -> str:
    """A preset's time on this machine in words."""
    cores = machine.usable_cores()
    found = estimate(preset.spec, plan(preset.spec, lab.store), lab.store, cores)
    time = f"Time on this machine: {estimate_text(found)}."
    return time + (" Downloads first." if facts.downloads_needed(preset.spec) else "")


def speed_trials(lab: Lab) -> list[Stage]:
    """The inspections that tell what the presets cost here."""
    return [stage for p in PRESETS.values() if (stage := probe(p.spec, lab.store))]


@st.fragment(run_every=POLL_SECONDS)
def draw_running(lab: Lab) -> None:
    """What is running now."""
    st.header("Running")
    if not live.running_now(lab):
        st.caption("Nothing is running.")


def draw_bench(lab: Lab) -> None:
    """This machine's last bench, where there is one."""
    result = last(lab.cache)
    st.header("This machine")
    if result is None:
        st.caption(
            "Not measured yet. `python -m pruning_core bench --quick` times this project against "
            "the assignment's plain script in a few minutes."
        )
        return
    st.plotly_chart(bench_figure(result), key="bench")
    there = [name for name in APART if name in result.figures]
    told = [f"{FIGURES[name].short} {result.figures[name].median:.2g}" for name in there]
    also = f" Also: {join_words(told)}." if told else ""
    st.caption(f"The median of the rounds, and their range.{also} {plain(result.told())}")


def draw_latest(lab: Lab) -> None:
    """The newest results, each with its answer in one line."""
    st.header("Latest results")
    jobs = lab.queue.started(LATEST)
    if not jobs:
        st.info("No results yet. Press Run on a preset: they come in here point by point.")
    for job in jobs:
        draw_result(lab, job)


def draw_result(lab: Lab, job: Job) -> None:
    """A finished run: its label, its answer, the way to its charts."""
    outline = Outline.from_json(job.outline)
    points = models.point_rows(outline, lab.store, job.label, job.id)
    if not points:
        return
    with st.container(border=True):
        whole = len(points) == len(outline.models)
        note = "" if whole else f" :gray-badge[{len(points)} of {len(outline.models)} points]"
        st.markdown(f"**{plain(job.label)}**{note}")
        for answer in answers_of(points):
            for sentence in filter(None, (answer.text, *answer.warnings)):
                st.write(plain(sentence))
        link("Compare", runs=job.id)


def main() -> None:
    lab = open_page("Home")
    st.title("Pruning Lab")
    st.write(
        "Cut the weights of a neural network that it can do without, at once or step by step, "
        "and see what each way costs in accuracy, measured on your machine."
    )
    draw_presets(lab)
    try:
        if waiting := facts.ask(lab, speed_trials(lab)):
            facts.wait_for(waiting, lab)
    except SpecError as error:
        st.warning(f"The time on this machine could not be measured. {plain(error.message)}")
    draw_running(lab)
    draw_latest(lab)
    draw_bench(lab)


main()

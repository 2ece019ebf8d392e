"""Tune: every choice of a comparison, and what it will do and cost before it runs."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import choices, dry_run, facts, schedule, spec_file, tune_sections
from pages.components.shell import PAGES, Lab, open_page
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count, format_epochs
from pruning_core.common.machine import usable_cores
from pruning_core.planning.estimate import estimate, estimate_text
from pruning_core.planning.plan import plan
from pruning_core.planning.pruned import recovery_notes
from pruning_core.planning.stage import Plan, Stage
from pruning_core.reports.charts.training import schedule_figure
from pruning_core.settings.pruning_steps import last_target, steps, targets
from pruning_core.settings.spec import Spec, describe
from pruning_core.worker.start import ensure_worker

Places = tuple[DeltaGenerator, DeltaGenerator, DeltaGenerator]

# On a narrow screen the outlook stands above the controls, and Run with the time stays in sight
# at the bottom while one moves through them.
STYLE = """
<style>
@media (min-width: 641px) {.st-key-runbar > :has(.st-key-runtime) {display: none;}}
@media (max-width: 640px) {
    .block-container {padding-bottom: 7rem;}
    [data-testid="stColumn"]:has(.st-key-outlook) {order: -1;}
    .st-key-runbar {
        position: fixed; left: 0; right: 0; bottom: 0; z-index: 90; width: 100% !important;
        padding: 0.5rem 0.9rem; background: Canvas; color: CanvasText;
        border-top: 1px solid color-mix(in srgb, CanvasText 18%, transparent);
        flex-wrap: nowrap;
    }
}
</style>
"""
LINK = "This link is used, except for this, where the quick start's settings stand:"
NO_IMAGES = (
    "Upload a .zip or give a folder, laid out as train/class/\\* and test/class/\\*, or as "
    "class/\\*. Then the cost appears here, and Run can be pressed."
)


def draw_controls(lab: Lab) -> Places:
    """The settings. Returns the places for what the worker reports on data and model."""
    with st.container(border=True):
        st.subheader("1. Data set")
        tune_sections.data_section(lab)
        data_place = st.container()
    with st.container(border=True):
        st.subheader("2. Model and dense baseline")
        tune_sections.model_section(lab)
        model_place = st.container()
    with st.container(border=True):
        st.subheader("3. Pruning")
        tune_sections.pruning_section()
    with st.container(border=True):
        st.subheader("4. Sparsity schedule")
        tune_sections.schedule_section()
    with st.container(border=True):
        st.subheader("5. Fine-tuning and recovery")
        tune_sections.recovery_section()
    with st.expander("Structured pruning (channel removal)"):
        tune_sections.structured_section()
        channel_place = st.container()
    with st.expander("Advanced settings"):
        tune_sections.advanced_section()
    return data_place, model_place, channel_place


def draw_outlook(lab: Lab, places: Places) -> Spec | None:
    """The right side: what will happen, what it costs, and Run. Returns the spec if there is."""
    reading = choices.collect()
    choices.keep(reading.values)
    draw_problems(LINK, choices.told(), st.warning)
    if reading.problems:
        draw_problems("This cannot run yet.", reading.problems, st.error)
        st.caption("Once this is put right, the schedule, the cost and Run stand here again.")
        return None
    spec = choices.spec_of(reading.values)
    draw_schedule(spec)
    if choices.unfinished(reading.values):
        st.info(NO_IMAGES)
        draw_bar(lab, None, "")
        return None
    draw_prospect(lab, spec, places)
    return spec


def draw_problems(opening: str, problems: tuple[str, ...], box: Callable[[str], object]) -> None:
    """One box with a sentence a problem."""
    told = [facts.inline(problem) for problem in problems]
    if len(told) == 1:
        box(f"{opening} {told[0]}")
    elif told:
        box("\n".join([opening, "", *(f"- {sentence}" for sentence in told)]))


def draw_prospect(lab: Lab, spec: Spec, places: Places) -> None:
    """What the worker found out, the cost, and Run; or why this cannot run."""
    asked: list[Stage] = []
    try:
        draw_facts(lab, spec, places)
        asked = [*facts.inspections(lab, spec), *dry_run.stages(lab, spec)]
        waiting = facts.ask(lab, asked)
        made = plan(spec, lab.store)
    except SpecError as error:
        facts.refuse(lab, error, asked)
        return
    draw_bar(lab, spec, draw_cost(lab, spec, made))
    for remark in recovery_notes(spec):
        st.caption(facts.inline(remark))
    if facts.downloads_needed(spec):
        st.caption("Needs a download unless the files are in the cache.")
    if waiting:
        facts.wait_for(waiting, lab)


def draw_facts(lab: Lab, spec: Spec, places: Places) -> None:
    """What the worker found out, beside the controls that it is about."""
    with places[0]:
        facts.show_data(lab, spec)
    with places[1]:
        facts.show_model(lab, spec)
    with places[2]:
        dry_run.show(lab, spec)


def draw_schedule(spec: Spec) -> None:
    """Target sparsity step by step, as the sliders move."""
    series: dict[str, list[float]] = {"one_shot": list(spec.one_shot.amounts)}
    chain = spec.iterative
    if chain.enabled:
        series["iterative"] = [step.target for step in steps(chain)]
        if chain.equal_budget:
            series["one_shot_equal_budget"] = [last_target(chain)]
    st.plotly_chart(schedule_figure(series), key="schedule")
    if chain.enabled:
        if chain.final_epochs:
            tail = f"{format_epochs(chain.final_epochs)} with the rate falling to 0"
            st.caption(f"Step {chain.iterations + 1} is the tail: no cut, {tail}.")
        if said := schedule.returning(chain):
            st.caption(said)
        with st.expander("Edit the targets", expanded=schedule.listed()):
            schedule.table(targets(chain))


def draw_cost(lab: Lab, spec: Spec, made: Plan) -> str:
    """The time that is left, which is returned too, and what is cached."""
    time = estimate_text(estimate(spec, made, lab.store, usable_cores()))
    done = sum(lab.store.exists(stage.key) for stage in made.stages)
    left, right = st.columns(2)
    left.metric(
        "Time on this machine",
        time,
        help="An estimate from this machine's own speed with this model: of finished stages "
        "where there are some, else of a short trial.",
    )
    right.metric(
        "Already in the cache",
        f"{done} of {len(made.stages)} stages" if made.complete else "not known yet",
        help="A stage is one piece of work: a look at the images or the model, a baseline, one "
        "cut with its fine-tuning. What is there is not computed again.",
    )
    return time


def draw_bar(lab: Lab, spec: Spec | None, time: str) -> None:
    """Run, and on a narrow screen the time beside it; without a spec it cannot be pressed."""
    with st.container(key="runbar", horizontal=True, vertical_alignment="center"):
        if time:
            with st.container(key="runtime"):
                st.markdown(f"{time[0].upper()}{time[1:]}")
        pressed = st.button(
            "Run",
            type="primary",
            width="stretch",
            key="run",
            disabled=spec is None,
            help="Starts it in the background and shows it on Runs.",
        )
    if pressed and spec:
        label = st.session_state.get("run label") or describe(spec)
        job = lab.queue.submit(spec, label)
        ensure_worker(lab.cache)
        st.switch_page(PAGES["Runs"], query_params={"job": job})


def draw_link_line(values: choices.Values, whole: bool) -> None:
    """Where these choices can be found again; not `whole`: the last that could run."""
    changed = len(choices.link_of(values))
    told = f"{format_count(changed, 'choice')} differ" if changed > 1 else "One choice differs"
    start = f"{told} from the quick start" if changed else "These are the quick start's choices"
    if not whole:
        start = "What cannot run yet is in no link"
    held = "them" if whole else "the last choices that could run"
    st.caption(f"{start}. The link in the address bar holds {held}.")


def main() -> None:
    lab = open_page("Tune")
    st.html(STYLE)
    st.title("Tune a comparison")
    choices.begin()
    schedule.take_edited()
    left, right = st.columns([5, 6], gap="large")
    with left:
        places = draw_controls(lab)
    with right, st.container(key="outlook"):
        spec = draw_outlook(lab, places)
        spec_file.draw(spec)
        draw_link_line(st.session_state[choices.KEPT], not choices.collect().problems)


main()

"""Tune: all settings of a comparison, and its schedule and cost before it runs."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components import choices, dry_run, facts, schedule, settings_file, tune_sections
from pages.components.chart import draw_chart
from pages.components.lab import Lab
from pages.components.links import switch_page
from pages.components.markdown import inline
from pages.components.setting_values import Values, lacks_images, link_of, spec_of
from pages.components.shell import open_page
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.common.machine import usable_cores
from pruning_core.methods.strategies import ITERATIVE, ONE_SHOT
from pruning_core.planning.estimate import estimate, estimate_text
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.pruned import recovery_notes
from pruning_core.planning.stage import Plan, Stage
from pruning_core.reports.charts.schedule import schedule_chart
from pruning_core.settings import pruning_steps
from pruning_core.settings.conditions import budget_controls
from pruning_core.settings.messages import title
from pruning_core.settings.spec import Spec, describe
from pruning_core.worker.start import ensure_worker

Places = tuple[DeltaGenerator, DeltaGenerator, DeltaGenerator]

# On a narrow screen the outlook comes before the controls, and Run with the time stays visible at
# the bottom of the screen.
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
BAD_LINK = "Some settings in this link are not valid; defaults are used for:"
BLOCKED = "This cannot run yet."
NO_IMAGES = (
    "Upload a .zip or give a folder with the layout train/class/\\* and test/class/\\*, or "
    "class/\\*. Then the page shows the cost, and you can press Run."
)


def draw_controls(lab: Lab) -> Places:
    """The settings. Returns the places for the inspections of data, model and channels."""
    with st.container(border=True):
        st.subheader("1. Data set")
        tune_sections.data_section(lab)
        data_place = st.container()
    with st.container(border=True):
        st.subheader("2. Model and dense baseline")
        tune_sections.model_section(lab)
        model_place = st.container()
    with st.container(border=True):
        st.subheader("3. Pruning: sparsity, criterion, granularity, allocation")
        tune_sections.pruning_section()
    with st.container(border=True):
        st.subheader("4. Sparsity schedule")
        tune_sections.schedule_section()
    with st.container(border=True):
        st.subheader("5. Fine-tuning and recovery")
        tune_sections.recovery_section()
    with st.expander(title("structured.enabled")):
        tune_sections.structured_section()
        channel_place = st.container()
    with st.expander("Advanced settings"):
        tune_sections.advanced_section()
    return data_place, model_place, channel_place


def draw_outlook(lab: Lab, places: Places) -> Spec | None:
    """The schedule, the cost and the button Run. Returns the spec if it can run."""
    reading = choices.collect()
    choices.remember(reading.values)
    draw_problems(BAD_LINK, choices.link_problems(), st.warning)
    draw_problems(BLOCKED, reading.problems, st.error)
    spec = spec_of(reading.values)
    draw_schedule(spec, editable=not reading.problems)
    if not reading.problems and not lacks_images(reading.values):
        draw_prospect(lab, spec, places)
        return spec
    if not reading.problems:
        st.info(NO_IMAGES)
    draw_bar(lab, None)
    return None


def draw_problems(opening: str, problems: tuple[str, ...], box: Callable[[str], object]) -> None:
    """One box with a sentence for each problem."""
    sentences = [inline(problem) for problem in problems]
    if len(sentences) == 1:
        box(f"{opening} {sentences[0]}")
    elif sentences:
        box("\n".join([opening, "", *(f"- {sentence}" for sentence in sentences)]))


def draw_prospect(lab: Lab, spec: Spec, places: Places) -> None:
    """The inspections, the cost, and Run; or why this cannot run."""
    inspections: list[Stage] = []
    try:
        draw_facts(lab, spec, places)
        inspections = [*facts.inspections(lab, spec), *dry_run.stages(lab, spec)]
        pending = facts.request(lab, inspections)
        time = draw_cost(lab, spec, plan(spec, lab.store))
    except SpecError as error:
        facts.refuse(lab, error, inspections)
        draw_bar(lab, None)
        return
    draw_bar(lab, spec, time)
    for note in recovery_notes(spec):
        st.caption(inline(note))
    if facts.downloads_needed(spec):
        st.caption("Needs a download unless the files are in the cache.")
    if pending:
        facts.wait_for(pending, lab)


def draw_facts(lab: Lab, spec: Spec, places: Places) -> None:
    """The results of the inspections, next to the controls that they concern."""
    with places[0]:
        facts.show_data(lab, spec)
    with places[1]:
        facts.show_model(lab, spec)
    with places[2]:
        dry_run.show(lab, spec)


def draw_schedule(spec: Spec, editable: bool) -> None:
    """The target sparsity of each step, and a table to edit it.

    Beside an error the chart shows the last valid settings. The table would still hold the edit
    that caused the error, and repeat it.
    """
    series: dict[str, list[float]] = {ONE_SHOT: list(spec.one_shot.amounts)}
    chain = spec.iterative
    if chain.enabled:
        series[ITERATIVE] = [step.target for step in pruning_steps.steps(chain)]
        for control in budget_controls(spec):
            series[control] = [pruning_steps.last_target(chain)]
    draw_chart(schedule_chart(series), "schedule")
    if chain.enabled:
        for note in schedule.notes(chain):
            st.caption(note)
        if editable:
            with st.expander("Edit sparsity per step", expanded=schedule.is_custom()):
                schedule.draw_table(pruning_steps.targets(chain))


def draw_cost(lab: Lab, spec: Spec, run_plan: Plan) -> str:
    """The remaining time, which is returned too, and how much is already computed."""
    time = estimate_text(estimate(spec, run_plan, lab.store, usable_cores()))
    done = sum(lab.store.exists(stage.key) for stage in run_plan.stages)
    time_column, cache_column = st.columns(2)
    time_column.metric(
        "Time on this machine",
        time,
        help="An estimate from the speed of this machine with this model: the speed of finished "
        "stages, or of a short trial.",
    )
    cache_column.metric(
        "Already computed",
        f"{done} of {len(run_plan.stages)} stages" if run_plan.complete else "not known yet",
        help="A stage is one unit of work, such as training the baseline, or one pruning step "
        "with its fine-tuning. Finished stages are read from the cache.",
    )
    return time


def draw_bar(lab: Lab, spec: Spec | None, time: str = "") -> None:
    """The button Run, and on a narrow screen the time. Without a spec it is disabled."""
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
            help="Starts the run in the background and opens Runs.",
        )
    if pressed and spec:
        label = st.session_state[choices.RUN_NAME].strip() or describe(spec)
        job = lab.queue.submit(spec, label)
        ensure_worker(lab.cache)
        switch_page("Runs", {"job": job})


def draw_link_line(values: Values, valid: bool) -> None:
    """The number of settings that differ from the quick start, their link, and Reset."""
    changed = len(link_of(values))
    if not valid:
        text = "The link still holds the last valid settings."
    elif changed:
        text = f"{format_count(changed, 'setting')} changed from Quick start."
    else:
        text = "The settings are those of Quick start."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(text, width="content")
        with st.popover("Copy link", type="tertiary"):
            st.caption("This link opens the page with these settings.")
            st.code(link_address(values), language=None, wrap_lines=True)
        if changed or not valid:
            st.button(
                "Reset",
                type="tertiary",
                on_click=choices.load,
                args=(QUICKSTART,),
                help="Sets all settings back to Quick start.",
            )


def link_address(values: Values) -> str:
    """The address of this page with the settings."""
    page = (st.context.url or "").partition("?")[0]
    return f"{page}?{urlencode(choices.parameters(values))}"


def main() -> None:
    lab = open_page("Tune")
    st.html(STYLE)
    st.title("Set up a comparison")
    choices.draw_unconfirmed_paths(lab.queue.named_files)
    schedule.use_edited_table()
    choices.begin()
    controls, outlook = st.columns([5, 6], gap="large")
    with controls:
        places = draw_controls(lab)
    with outlook, st.container(key="outlook"):
        spec = draw_outlook(lab, places)
        settings_file.draw(spec)
        draw_link_line(st.session_state[choices.VALUES], spec is not None)


main()

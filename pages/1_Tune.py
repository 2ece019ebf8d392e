"""Tune: every choice of a comparison, and what it will do and cost before it runs."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.parts import choices, controls, facts
from pages.parts.shell import PAGES, Lab, open_page
from pruning_core.estimate import estimate
from pruning_core.live_charts import schedule_figure
from pruning_core.plan import Plan, describe, plan
from pruning_core.schedules import SCHEDULES
from pruning_core.spec import Spec, SpecError, from_json, to_json
from pruning_core.text import format_count, format_seconds
from pruning_core.worker.supervisor import ensure_worker, usable_cores

Places = tuple[DeltaGenerator, DeltaGenerator]


def draw_controls(lab: Lab) -> Places:
    """The left side. Returns the places for what is found out about data and model."""
    with st.container(border=True):
        st.subheader("1. Images")
        controls.data_controls(lab)
        data_place = st.container()
    with st.container(border=True):
        st.subheader("2. Model and baseline")
        controls.model_controls(lab)
        model_place = st.container()
    with st.container(border=True):
        st.subheader("3. How much")
        controls.amount_controls()
    with st.container(border=True):
        st.subheader("4. When")
        controls.time_controls()
    with st.container(border=True):
        st.subheader("5. How to recover")
        controls.recovery_controls()
    with st.expander("More settings"):
        controls.rare_controls()
    return data_place, model_place


def draw_spec(lab: Lab) -> Spec | None:
    """The spec that the controls describe; where it is wrong, the sentence that says so."""
    try:
        spec = choices.collect()
    except SpecError as error:
        st.error(f"This cannot run yet. {error}")
        return None
    choices.keep(spec)
    return spec


def draw_outlook(lab: Lab, spec: Spec, places: Places) -> None:
    """The right side: what will happen, what it costs, and Run."""
    draw_schedule(spec)
    try:
        draw_facts(lab, spec, places)
        waiting = facts.ask(lab, facts.inspections(lab, spec))
        made = plan(spec, lab.store)
    except SpecError as error:
        st.error(f"This cannot run yet. {error}")
        return
    draw_cost(lab, spec, made)
    draw_run(lab, spec)
    if waiting:
        facts.wait_for(waiting, lab)


def draw_facts(lab: Lab, spec: Spec, places: Places) -> None:
    """What the worker found out, beside the controls that it is about."""
    with places[0]:
        facts.show_data(lab, spec)
    with places[1]:
        facts.show_model(lab, spec)


def draw_schedule(spec: Spec) -> None:
    """Target sparsity step by step, as the sliders move."""
    series: dict[str, list[float]] = {"one_shot": list(spec.one_shot.amounts)}
    chain = spec.iterative
    if chain.enabled:
        series["iterative"] = SCHEDULES[chain.schedule](chain.target, chain.iterations)
        if chain.matched:
            series["one_shot_matched"] = [chain.target]
    st.plotly_chart(schedule_figure(series), key="schedule")


def draw_cost(lab: Lab, spec: Spec, made: Plan) -> None:
    """Minutes, epochs and what is cached."""
    cost = estimate(spec, made, lab.store, usable_cores())
    done = sum(lab.store.exists(stage.key) for stage in made.stages)
    left, right = st.columns(2)
    left.metric(
        "Time on this machine",
        f"about {format_seconds(cost.left)}" if cost else "measuring",
        help="From this machine's own measured speed with this model. An estimate.",
    )
    right.metric(
        "Already in the cache",
        f"{done} of {len(made.stages)} stages" if made.complete else "not known yet",
        help="A stage is a baseline or one cut with its fine-tuning. What is there is not "
        "computed again.",
    )


def draw_run(lab: Lab, spec: Spec) -> None:
    """The button that starts, and the spec as a file."""
    label = st.text_input(
        "Name of the run",
        placeholder=describe(spec),
        key="run label",
        help="For lists and charts; it changes no result.",
    )
    if st.button("Run", type="primary", width="stretch", key="run"):
        job = lab.queue.submit(spec, label or describe(spec))
        ensure_worker(lab.cache)
        st.switch_page(PAGES["Runs"], query_params={"job": job})
    if facts.downloads_needed(spec):
        st.caption("Needs a download unless the files are in the cache.")
    st.download_button(
        "Download the spec",
        to_json(spec),
        "spec.json",
        "application/json",
        on_click="ignore",
        help="The same choices for another day, another person, or the command line.",
    )


def load_file() -> None:
    """A callback: take the choices from an uploaded spec."""
    file = st.session_state.get("spec file")
    if file is None:
        return
    try:
        choices.load(from_json(file.getvalue().decode("utf-8", errors="replace")))
    except SpecError as error:
        st.session_state["spec error"] = f"{file.name} is not used. {error}"


def main() -> None:
    lab = open_page("Tune")
    st.title("Tune a comparison")
    choices.begin()
    left, right = st.columns([5, 6], gap="large")
    with left:
        places = draw_controls(lab)
    with right, st.container(key="outlook"):
        spec = draw_spec(lab)
        if spec:
            draw_outlook(lab, spec, places)
        if error := st.session_state.pop("spec error", None):
            st.error(error)
        st.file_uploader("Load a spec", ["json"], key="spec file", on_change=load_file)
    if spec:
        draw_link_line(spec)


def draw_link_line(spec: Spec) -> None:
    """Where these choices can be found again."""
    changed = len(choices.params(spec))
    told = f"{format_count(changed, 'choice')} differ" if changed > 1 else "One choice differs"
    start = f"{told} from the quick start" if changed else "These are the quick start's choices"
    st.caption(f"{start}. The link in the address bar holds them.")


main()

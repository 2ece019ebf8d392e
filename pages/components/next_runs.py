"""What to run next: proposals that follow from the verdict, each with its size and time."""

from __future__ import annotations

import math

import streamlit as st

from pages.components.lab import Lab
from pages.components.links import switch_page
from pages.components.markdown import plain
from pages.components.setting_values import params
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_bytes
from pruning_core.common.machine import usable_cores
from pruning_core.planning.estimate import estimate, estimate_text
from pruning_core.planning.plan import plan
from pruning_core.results.next_runs import Proposal, proposals
from pruning_core.results.verdict import Verdict
from pruning_core.settings.spec import Spec, describe
from pruning_core.storage.job_record import job_id
from pruning_core.worker.start import ensure_worker

# The key of the session: the stamp of the store, and the times of the proposals at it. A plan and
# its estimate take some 20 ms, and the goal is changed often.
TIMES = "times of proposals"


def draw_next(lab: Lab, verdict: Verdict, specs: dict[str, Spec]) -> None:
    """The section; nothing where nothing follows. `specs` are the settings of the runs, by id."""
    spec = specs.get(verdict.run_id) or next(iter(specs.values()))
    chosen = proposals(verdict, spec, lambda spec: lab.queue.job(job_id(spec)) is not None)
    timed = [(one, time) for one in chosen if (time := _time(lab, one.spec))]
    if not timed:
        return
    st.header("Next")
    for column, (proposal, time) in zip(st.columns(len(timed)), timed, strict=True):
        with column, st.container(border=True, height="stretch"):
            _draw_proposal(lab, proposal, time)


def _draw_proposal(lab: Lab, proposal: Proposal, time: str) -> None:
    name = proposal.name
    st.markdown(f"**{plain(name[0].upper() + name[1:])}**")
    st.write(plain(proposal.reason))
    size = "" if math.isnan(proposal.bytes) else f"File: about {format_bytes(proposal.bytes)}. "
    st.caption(f"{size}Time: {time}.")
    with st.container(horizontal=True):
        if st.button(f"Run {name}", key=f"run {name}", help="Starts this run and opens Runs."):
            job = lab.queue.submit(proposal.spec, describe(proposal.spec))
            ensure_worker(lab.cache)
            switch_page("Runs", {"job": job})
        if st.button(
            f"Edit {name}", key=f"edit {name}", type="tertiary", help="Opens the settings on Tune."
        ):
            switch_page("Tune", params(proposal.spec))


def _time(lab: Lab, spec: Spec) -> str:
    """The expected time of a run; empty where it cannot run.

    It is computed again when a stage was stored or removed, because a run computes what is missing.
    """
    stamp, key = lab.store.stamp(), job_id(spec)
    before, times = st.session_state.get(TIMES, (None, {}))
    if stamp is None or stamp != before:
        times = {}
    st.session_state[TIMES] = stamp, times
    if key not in times:
        try:
            seconds = estimate(spec, plan(spec, lab.store), lab.store, usable_cores())
        except SpecError:
            return ""
        if seconds is None:
            return "not measured yet"
        times[key] = estimate_text(seconds)
    return str(times[key])

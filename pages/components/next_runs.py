"""What to run next: proposals that follow from the verdict, each with its size and time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import streamlit as st

from pages.components import facts
from pages.components.lab import Lab
from pages.components.links import switch_page
from pages.components.markdown import plain
from pages.components.setting_values import params
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_bytes
from pruning_core.planning.estimate import Estimate, estimate, estimate_text, probe
from pruning_core.planning.plan import plan
from pruning_core.results.next_runs import proposals
from pruning_core.results.proposed_changes import Proposal
from pruning_core.results.rows import Row
from pruning_core.results.verdict import Verdict
from pruning_core.settings.messages import for_page
from pruning_core.settings.spec import Spec, describe
from pruning_core.storage.job_record import job_id
from pruning_core.worker.start import ensure_worker

# The key of the session: the stamp of the store, and the times of the proposals at it. A plan and
# its estimate take some 20 ms, and the goal is changed often.
TIMES = "times of proposals"
UNKNOWN = "not measured yet"


def draw_next(
    lab: Lab, verdicts: Sequence[Verdict], rows: Sequence[Row], specs: Mapping[str, Spec]
) -> None:
    """The section; nothing where nothing follows. For the arguments see `proposals`."""
    chosen = proposals(verdicts, rows, specs, lambda spec: lab.queue.job(job_id(spec)) is not None)
    times = {one: time for one in chosen if (time := _time(lab, one.specs))}
    if not times:
        return
    names = Counter(proposal.name for proposal in times)
    st.header("Next")
    for column, (proposal, time) in zip(st.columns(len(times)), times.items(), strict=True):
        name = proposal.name if names[proposal.name] == 1 else proposal.title
        with column, st.container(border=True, height="stretch"):
            _draw_proposal(lab, proposal, name, time)
    _measure(lab, [spec for one, time in times.items() if time == UNKNOWN for spec in one.specs])


def _measure(lab: Lab, specs: list[Spec]) -> None:
    """Measure the training speed of these settings, which is not known yet."""
    running = lab.queue.running() if specs else []
    trials = {stage.key: stage for spec in specs if (stage := probe(spec, lab.store, running))}
    try:
        if pending := facts.request(lab, list(trials.values())):
            facts.wait_for(pending, lab)
    except SpecError as error:
        st.caption(f"The time could not be measured. {plain(for_page(error))}")


def _draw_proposal(lab: Lab, proposal: Proposal, name: str, time: str) -> None:
    """A card. `name` tells the proposal from the others."""
    st.markdown(f"**{plain(proposal.name[0].upper() + proposal.name[1:])}**")
    if proposal.runs:
        text = proposal.runs_text
        st.caption(plain(text[0].upper() + text[1:]))
    st.write(plain(proposal.reason))
    size = "" if math.isnan(proposal.bytes) else f"File: about {format_bytes(proposal.bytes)}. "
    st.caption(f"{size}Time: {time}.")
    with st.container(horizontal=True):
        which = "this run" if len(proposal.specs) == 1 else "these runs"
        if st.button(
            f"Run {plain(name)}", key=f"run {name}", help=f"Starts {which} and opens Runs."
        ):
            jobs = [lab.queue.submit(spec, describe(spec)) for spec in proposal.specs]
            ensure_worker(lab.cache)
            switch_page("Runs", {"job": jobs[0]})
        if len(proposal.specs) == 1 and st.button(
            f"Edit {plain(name)}",
            key=f"edit {name}",
            type="tertiary",
            help="Opens the settings on Tune.",
        ):
            switch_page("Tune", params(proposal.specs[0]))


def _time(lab: Lab, specs: Sequence[Spec]) -> str:
    """The expected time of the runs together; empty where one cannot run.

    It is computed again when a stage was stored or removed, because a run computes what is missing.
    """
    stamp, key = lab.store.stamp(), " ".join(map(job_id, specs))
    before, times = st.session_state.get(TIMES, (None, {}))
    if stamp is None or stamp != before:
        times = {}
    st.session_state[TIMES] = stamp, times
    if key not in times:
        cores = lab.store.cores
        try:
            parts = [estimate(spec, plan(spec, lab.store), lab.store, cores) for spec in specs]
        except SpecError:
            return ""
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return UNKNOWN
        total = Estimate(sum(part.low for part in known), sum(part.high for part in known))
        times[key] = estimate_text(total)
    return str(times[key])

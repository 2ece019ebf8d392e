"""Which runs, and which of their finished models, a page shows."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from pages.components.address import Address
from pages.components.chart import cached
from pages.components.lab import Lab
from pages.components.number_lists import quoted
from pruning_core.common.errors import SpecError
from pruning_core.methods.strategies import CORRECTION
from pruning_core.planning.stage import Outline, PlannedModel
from pruning_core.results.labels import flatten, short_labels
from pruning_core.results.models import titles
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_record import Job

MAX_RUNS = 1000


def run_labels(lab: Lab, linked: list[str]) -> dict[str, str]:
    """The labels of the runs with a finished baseline, by id; newest first, then linked ones."""
    labels = lab.queue.started_labels(MAX_RUNS)
    others = [name for name in linked if name and name not in labels]
    return labels | {name: job.label for name in others if (job := lab.queue.job(name))}


def no_run(lab: Lab, linked: str) -> str:
    """Why a link opens no run: it was deleted, or there is none."""
    if deleted := lab.queue.job(linked, deleted=True):
        return (
            f"The run {quoted(deleted.label)} was deleted. To restore it, choose Show: Deleted "
            "runs in the filters of Runs."
        )
    return f"There is no run {quoted(linked)}."


def run_names(lab: Lab, jobs: list[Job]) -> dict[str, str]:
    """The names of these runs, by id, as the lists show them; a single run keeps its label."""
    if len(jobs) < 2:
        return {job.id: job.label for job in jobs}
    names = distinct_labels(lab, run_labels(lab, [job.id for job in jobs]))
    return {job.id: names[job.id] for job in jobs}


def distinct_labels(lab: Lab, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels of runs by their ids; equal ones with the settings in which these runs differ."""

    def distinct() -> dict[str, str]:
        drawn = {name: " ".join(label.split()) for name, label in labels.items()}
        counts = Counter(drawn.values())
        equal = lab.queue.jobs_by_id([name for name in labels if counts[drawn[name]] > 1])
        settings = {name: _flat_settings(job.spec) for name, job in equal.items()}
        return short_labels(
            {name: {**settings.get(name, {}), "label": drawn[name]} for name in labels}
        )

    # The settings of a run never change: its id is made of them.
    return cached("labels of runs", tuple(labels.items()), distinct)


@functools.lru_cache(maxsize=2 * MAX_RUNS)
def _flat_settings(spec: str) -> dict[str, Any]:
    """The settings of a run by their dotted names, as they are stored where they cannot be read."""
    try:
        return flatten(to_dict(from_json(spec)))
    except SpecError:  # settings of another version
        return flatten(json.loads(spec))


def pick_runs(lab: Lab, address: Address) -> list[Job]:
    """Any number of runs: those of the address, else the newest with a baseline if there is one."""
    linked = address["runs"]
    labels = run_labels(lab, linked or [])
    chosen = [name for name in linked or [] if name in labels]
    instead = ""
    if linked is None or (linked and not chosen):
        chosen = list(labels)[:1]
        instead = quoted(labels[chosen[0]]) if chosen else ""
    for name in linked or []:
        if name not in labels:
            address.reject(no_run(lab, name), instead)
    if not labels:  # later the newest is chosen, and not none
        address["runs"] = None
        return []
    if chosen != linked:
        address["runs"] = chosen
    st.multiselect(
        "Runs",
        list(labels),
        default=chosen,
        key=address.key("runs"),
        format_func=distinct_labels(lab, labels).__getitem__,
        help="Choose one or more runs to overlay.",
    )
    return [job for name in chosen if (job := lab.queue.job(name))]


def pick_run(
    lab: Lab,
    address: Address,
    name: str = "run",
    label: str = "Run",
    help: str = "Runs with a finished baseline.",
    on_change: Callable[[], None] | None = None,
) -> Job | None:
    """One run: that of the address, else the newest with a baseline; None without any.

    `on_change` is called when another one is chosen, before the page is drawn again.
    """
    labels = run_labels(lab, [address[name]])
    if address[name] and address[name] not in labels:
        newest = next(iter(labels.values()), "")
        address.reject(no_run(lab, address[name]), quoted(newest) if newest else "")
        address[name] = ""
    if not labels:
        return None
    chosen = address.limit(name, labels, next(iter(labels)), "run")
    address.select_box(name, label, distinct_labels(lab, labels), help, on_change=on_change)
    return lab.queue.job(chosen)


def pick_model(
    lab: Lab,
    job: Job,
    address: Address,
    name: str = "model",
    label: str = "Model",
    other: str = "",
    on_change: Callable[[], None] | None = None,
) -> PlannedModel | None:
    """One finished model of a run: that of the address, else the last trained one; None without.

    The default is no model with the stage key `other`. `on_change` is called when another one is
    chosen, before the page is drawn again.
    """
    outline = Outline.from_json(job.outline)
    names = titles(outline)
    finished = {model.key: model for model in outline.models if lab.store.exists(model.key)}
    if not finished:
        st.caption("This run has no finished model yet.")
        if address.given(name):
            address.reject(f"The run has no finished model, such as {quoted(address.given(name))}.")
        return None
    trained = [key for key, one in finished.items() if one.strategy != CORRECTION and key != other]
    model_titles = {key: names[key][0] for key in finished}
    chosen = address.limit(name, model_titles, (trained or list(finished))[-1], "model")
    help_text = "The dense baseline or a pruned model."
    address.select_box(name, label, model_titles, help_text, on_change=on_change)
    return finished[chosen]

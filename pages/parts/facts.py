"""What a page asks of data sets and models: small inspect stages that the worker runs."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.parts.shell import Lab
from pruning_core.estimate import probe
from pruning_core.plan import Stage, inspect_data, inspect_model
from pruning_core.spec import Spec, SpecError
from pruning_core.text import format_count

POLL_SECONDS = 1.0
ON_BOARD = ("digits", "images")
ENDED = ("done", "cancelled")


def inspections(lab: Lab, spec: Spec) -> list[Stage]:
    """What a page may look at without a click: nothing that would start a download."""
    found = [stage] if (stage := probe(spec, lab.store)) else []
    data = inspect_data(spec)
    if spec.data.name in ON_BOARD or lab.store.exists(data.key):
        found.append(data)
        if lab.store.exists(data.key) and spec.model.weights != "pretrained":
            classes = len(lab.store.read(data.key)["classes"])
            found.append(inspect_model(spec, classes))
    return found


def ask(lab: Lab, stages: list[Stage]) -> list[Stage]:
    """Queue the inspections that are missing. Returns those that are still to come.

    Raises `SpecError` where one has failed: then the run would fail too.
    """
    missing = [stage for stage in stages if not lab.store.exists(stage.key)]
    rows = {stage.key: lab.queue.stage(stage.key) for stage in missing}
    lab.queue.add([s for s in missing if (row := rows[s.key]) is None or row.status in ENDED])
    failed = [row for row in rows.values() if row and row.status == "failed"]
    if failed:
        raise SpecError(failed[0].field, explain("", failed[0].error))
    return [s for s in missing if (row := rows[s.key]) is None or row.status != "failed"]


def explain(field: str, error: str) -> str:
    """A failed stage's reason: the sentence for wrong input, else the traceback's last line."""
    lines = error.strip().splitlines() or ["It gave no reason."]
    return f"{field}: {error}" if field else lines[-1]


def wait_for(stages: list[Stage], lab: Lab) -> None:
    """Say that the worker is looking, and draw the page again when it has looked."""

    @st.fragment(run_every=POLL_SECONDS)
    def poll() -> None:
        left = [stage for stage in stages if not lab.store.exists(stage.key)]
        failed = [row for s in left if (row := lab.queue.stage(s.key)) and row.status == "failed"]
        if failed or len(left) < len(stages):
            st.rerun()
        rows = [row for s in left if (row := lab.queue.stage(s.key))]
        texts = [row.progress.get("message", "") for row in rows]
        st.caption("Looking at the data and the model. " + " ".join(filter(None, texts)))

    poll()


def show_data(lab: Lab, spec: Spec) -> None:
    """One line on the images, where they have been looked at."""
    stage = inspect_data(spec)
    if not lab.store.exists(stage.key):
        if spec.data.name not in ON_BOARD:
            st.caption("Downloaded into the cache when the run starts, if it is not there yet.")
        return
    facts = lab.store.read(stage.key)
    train, test = sum(facts["train_counts"]), sum(facts["test_counts"])
    classes = format_count(len(facts["classes"]), "class", "classes")
    st.caption(f"{classes}, {train:,} training and {test:,} test images.")
    for note in facts["notes"]:
        st.caption(note)


def show_model(lab: Lab, spec: Spec) -> None:
    """One line on the model, where it has been looked at."""
    facts = model_facts(lab, spec)
    if facts is None:
        if spec.model.weights == "pretrained":
            st.caption("The weights are downloaded when the run starts, if they are not there yet.")
        return
    layers = facts["layers"]
    weights = sum(layer["size"] for layer in layers)
    st.caption(
        f"{facts['parameters']:,} parameters, {weights:,} of them weights of "
        f"{len(layers)} convolution and linear layers. Runs on {facts['device']}."
    )
    for note in facts["notes"]:
        st.info(note)


def model_facts(lab: Lab, spec: Spec) -> dict[str, Any] | None:
    """What the worker found out about the model, or None where it has not looked yet."""
    data = inspect_data(spec)
    if not lab.store.exists(data.key):
        return None
    stage = inspect_model(spec, len(lab.store.read(data.key)["classes"]))
    return lab.store.read(stage.key) if lab.store.exists(stage.key) else None


def downloads_needed(spec: Spec) -> bool:
    """Whether a run may have to download."""
    named = spec.data.name not in ON_BOARD
    return named or spec.model.weights == "pretrained"

"""What a page asks of data sets and models: small inspect stages that the worker runs."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from pages.components.shell import Lab, link
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.methods.layers import Layer, prunable
from pruning_core.planning.estimate import probe
from pruning_core.planning.inspections import (
    inspect_data,
    inspect_model,
    model_facts,
    notes_for_model,
)
from pruning_core.planning.stage import Stage, known
from pruning_core.settings import messages
from pruning_core.settings.spec import Spec

POLL_SECONDS = 1.0
ON_BOARD = ("digits", "images")
OUTSIDE = ("", "data.name", "data.path", "model.weights", "device")
ENDED = ("done", "cancelled")


def inline(text: str) -> str:
    """Words inside a sentence as they stand: only what Markdown would read in a line is escaped."""
    return re.sub(r"[\\`*_\[\]$~<>|]|:(?=\S)", r"\\\g<0>", text)


def inspections(lab: Lab, spec: Spec) -> list[Stage]:
    """What a page may look at without a click: nothing that would start a download."""
    found = [stage] if (stage := probe(spec, lab.store)) else []
    data = inspect_data(spec)
    facts = known(lab.store, data.key)
    if spec.data.name in ON_BOARD or facts:
        found.append(data)
    if facts and spec.model.weights != "pretrained":
        found.append(inspect_model(spec, len(facts["classes"])))
    return found


def ask(lab: Lab, stages: list[Stage]) -> list[Stage]:
    """Queue the inspections that are missing. Returns those that are still to come.

    Raises `SpecError` where one has failed: then the run would fail too.
    """
    missing = [stage for stage in stages if not lab.store.exists(stage.key)]
    rows = {stage.key: lab.queue.stage(stage.key) for stage in missing}
    lab.queue.add([s for s in missing if (row := rows[s.key]) is None or row.status in ENDED])
    failed = [row for row in rows.values() if row and row.status == "failed"]
    if failed and failed[0].field:
        raise SpecError.from_json(failed[0].field, failed[0].error)
    if failed:
        raise SpecError("", "{error}", error=explain("", failed[0].error))
    return [s for s in missing if (row := rows[s.key]) is None or row.status != "failed"]


def explain(field: str, error: str) -> str:
    """A failed stage's reason: the sentence for wrong input, else the traceback's last line."""
    if field:
        return messages.for_page(SpecError.from_json(field, error))
    lines = error.strip().splitlines() or ["It gave no reason."]
    return lines[-1]


def refuse(lab: Lab, error: SpecError, stages: list[Stage]) -> None:
    """Why this cannot run, and what comes next."""
    st.error(f"This cannot run yet. {inline(messages.for_page(error))}")
    control = inline(messages.title(error.field)) if error.field else "the choices"
    st.caption(f"Change {control}, and the cost and Run stand here again. Nothing is lost.")
    rows = [row for stage in stages if (row := lab.queue.stage(stage.key))]
    failed = {row.key for row in rows if row.status == "failed"}
    if failed & lab.queue.wanted_keys():
        st.caption("A run waits for the same. Where the cause is mended, press Retry there.")
        link("Runs")
    elif failed and error.field in OUTSIDE:
        st.button(
            "Look again",
            on_click=look_again,
            args=(lab, failed),
            help="For when the cause was mended outside this page: a file, the disk, the network.",
        )


def look_again(lab: Lab, keys: set[str]) -> None:
    """A callback: failed inspections are forgotten, and so asked for anew."""
    for key in keys:
        lab.queue.forget(key)


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
    facts = known(lab.store, inspect_data(spec).key)
    if facts is None:
        if spec.data.name not in ON_BOARD:
            st.caption("Downloaded into the cache when the run starts, if it is not there yet.")
        return
    train, test = sum(facts["train_counts"]), sum(facts["test_counts"])
    classes = format_count(len(facts["classes"]), "class", "classes")
    st.caption(f"{classes}, {train:,} training and {test:,} test images.")
    for note in facts["notes"]:
        st.caption(inline(note))


def show_model(lab: Lab, spec: Spec) -> None:
    """One line on the model, where it has been looked at."""
    facts = model_facts(spec, lab.store)
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
        st.info(inline(note))
    for sentence in pruned(spec, facts):
        st.caption(inline(sentence))


def pruned(spec: Spec, facts: dict[str, Any]) -> list[str]:
    """How much of the model may be pruned, where that is not all, and what will not be."""
    layers = [Layer(**layer) for layer in facts["layers"]]
    left = prunable(layers, spec.pruning.layers, spec.pruning.exclude)
    sentences = notes_for_model(spec, facts)
    if len(left) < len(layers):
        weights = sum(layer.size for layer in left)
        where = f"{len(left)} of {len(layers)} layers"
        sentences.insert(0, f"Pruned: {where}, {weights:,} weights; the others are spared.")
    return sentences


def downloads_needed(spec: Spec) -> bool:
    """Whether a run may have to download."""
    named = spec.data.name not in ON_BOARD
    return named or spec.model.weights == "pretrained"

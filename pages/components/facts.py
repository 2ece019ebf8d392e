"""Facts on data sets and models, from inspections that the worker runs."""

from __future__ import annotations

import time

import streamlit as st

from pages.components.dataset import draw_dataset
from pages.components.lab import Lab
from pages.components.links import link
from pages.components.markdown import inline
from pruning_core.common.errors import SpecError
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.devices import DEVICES
from pruning_core.methods.layers import Layer, prunable
from pruning_core.planning.estimate import probe
from pruning_core.planning.inspection_types import InspectModelResult
from pruning_core.planning.inspections import (
    BrokenImages,
    data_facts,
    example_images,
    inspect_data,
    inspect_model,
    model_facts,
    notes_for_model,
)
from pruning_core.planning.stage import Stage
from pruning_core.settings.messages import failure_reason, for_page
from pruning_core.settings.spec import Spec

POLL_SECONDS, DEBOUNCE_SECONDS = 1.0, 0.5
REQUESTED = "requested inspections"
# Errors of these settings may have a cause outside the page: a file, the disk, the network.
EXTERNAL = ("", "data.name", "data.path", "model.weights", "device")
ENDED = ("done", "cancelled")


def inspections(lab: Lab, spec: Spec) -> list[Stage]:
    """The inspections of a spec that start no download."""
    stages = [stage] if (stage := probe(spec, lab.store, lab.queue.running())) else []
    data = inspect_data(spec, lab.store)
    facts = data_facts(data, lab.store)
    if not DATASETS[spec.data.name].download or facts:
        stages.append(data)
    if facts and downloaded(lab, spec):
        stages.append(example_images(spec, facts))
    if facts and spec.model.weights != "pretrained":
        stages.append(inspect_model(spec, len(facts.classes), lab.store.machine))
    stages += listings(lab, spec)
    return list({stage.key: stage for stage in stages}.values())


def downloaded(lab: Lab, spec: Spec) -> bool:
    """Whether the data set needs no download, or its files are in the cache."""
    dataset = DATASETS[spec.data.name]
    return not dataset.download or lab.cache.dataset_download(dataset.name).is_dir()


def listings(lab: Lab, spec: Spec) -> list[Stage]:
    """The next listing of the user's images, if it is time for one; past ones are deleted."""
    path = spec.data.path
    if not DATASETS[spec.data.name].user_images:
        return []
    for stage in lab.store.past_listings(path):
        lab.store.remove(stage.key)
        lab.queue.forget(stage.key)
    return lab.store.next_listing(path)


def request(lab: Lab, stages: list[Stage]) -> list[Stage]:
    """Queue the inspections that are not finished. Returns those that are still pending.

    Raises `SpecError` where one has failed: a run would fail, too.
    """
    missing = [stage for stage in stages if not lab.store.exists(stage.key)]
    rows = {stage.key: lab.queue.stage(stage.key) for stage in missing}
    failed = [row for row in rows.values() if row and row.status == "failed"]
    if failed and failed[0].field:
        raise SpecError.from_json(failed[0].field, failed[0].error)
    if failed:
        raise SpecError("", "{error}", error=explain("", failed[0].error))
    if missing:
        ask(lab, missing)
    return missing


def files_listed(lab: Lab, spec: Spec) -> bool:
    """Whether the user's images were listed; before that, ask the worker and wait.

    Raises `SpecError` where they cannot be read.
    """
    if pending := request(lab, listings(lab, spec)):
        wait_for(pending, lab)
    return inspect_data(spec, lab.store).kind != "list_files"


def ask(lab: Lab, missing: list[Stage]) -> bool:
    """Request inspections from the worker; the request ends when it is not renewed.

    A slider that is dragged passes many values. Only the first value is inspected at once, and
    then the one at which the slider rests. False while it moves.
    """
    rows = [lab.queue.stage(stage.key) for stage in missing]
    requested = all(row is not None and row.status not in ENDED for row in rows)
    asked = requested or debounced(lab, [stage.key for stage in missing])
    if asked:
        lab.queue.request(missing)
    return asked


def debounced(lab: Lab, keys: list[str]) -> bool:
    """Whether the page may ask for these keys now.

    They have not changed for `DEBOUNCE_SECONDS`, or those before them are all finished.
    """
    now, state = time.monotonic(), st.session_state
    before, changed = state.get(REQUESTED, ([], now))
    if keys == before:
        return now - changed >= DEBOUNCE_SECONDS
    state[REQUESTED] = (keys, now)
    return all(lab.store.exists(key) for key in before)


def explain(field: str, error: str) -> str:
    """Why a stage or a job failed, as a page says it."""
    return failure_reason(field, error, for_page)


def draw_retry(lab: Lab, error: SpecError, stages: list[Stage]) -> None:
    """What to do where an inspection, one of `stages`, has failed with this error."""
    rows = [row for stage in stages if (row := lab.queue.stage(stage.key))]
    failed = {row.key for row in rows if row.status == "failed"}
    if failed & lab.queue.wanted_keys():
        st.caption("A run failed for this reason. Fix the problem, then press Retry on Runs.")
        link("Runs")
        return
    wrong = failed | ({error.inspection} if isinstance(error, BrokenImages) else set())
    if wrong and error.field in EXTERNAL:
        st.button(
            "Check again",
            on_click=check_again,
            args=(lab, wrong),
            help="Press this after you have fixed a file, the disk or the network.",
        )


def check_again(lab: Lab, keys: set[str]) -> None:
    """A callback: forget inspections with an error, so that the page requests them again."""
    for key in keys:
        lab.store.remove(key)
        lab.queue.forget(key)
    lab.store.list_again()
    st.session_state.pop(REQUESTED, None)


def wait_for(stages: list[Stage], lab: Lab) -> None:
    """Show that inspections are pending, and draw the page again when one has ended."""

    @st.fragment(run_every=POLL_SECONDS)
    def poll() -> None:
        pending = [stage for stage in stages if not lab.store.exists(stage.key)]
        rows = [row for stage in pending if (row := lab.queue.stage(stage.key))]
        if len(pending) < len(stages) or any(row.status == "failed" for row in rows):
            st.rerun()
        ask(lab, pending)
        messages = [row.progress.get("message", "") for row in rows]
        with st.container(key="progress of inspections"):
            st.caption(" ".join(["Checking the data set and model ...", *filter(None, messages)]))

    poll()


def show_data(lab: Lab, spec: Spec) -> None:
    """The classes and images of the data set, once it is inspected."""
    facts = data_facts(inspect_data(spec, lab.store), lab.store)
    if facts:
        draw_dataset(lab, spec, facts)
    elif DATASETS[spec.data.name].download:
        st.caption("If the data set is not in the cache, the run downloads it first.")


def show_model(lab: Lab, spec: Spec) -> None:
    """The numbers of parameters and layers, once the model is inspected."""
    facts = model_facts(spec, lab.store)
    if facts is None:
        if spec.model.weights == "pretrained":
            st.caption("If the weights are not in the cache, the run downloads them first.")
        return
    layers = facts.layers
    weights = sum(layer["size"] for layer in layers)
    device = facts.device
    st.caption(
        f"{facts.parameters:,} parameters, of which {weights:,} are weights of {len(layers)} "
        f"convolution and linear layers. Device: {DEVICES.titles.get(device, device)}."
    )
    for note in facts.notes:
        st.info(inline(note))
    for sentence in pruning_notes(spec, facts):
        st.caption(inline(sentence))


def pruning_notes(spec: Spec, facts: InspectModelResult) -> list[str]:
    """How much of the model is prunable, where that is not all, and notes on its pruning steps."""
    layers = [Layer(**layer) for layer in facts.layers]
    selected = prunable(layers, spec.pruning.layers, spec.pruning.exclude)
    sentences = notes_for_model(spec, facts)
    if len(selected) < len(layers):
        weights = sum(layer.size for layer in selected)
        number = f"{len(selected)} of {len(layers)} layers"
        sentences.insert(
            0, f"Prunable: {number}, {weights:,} weights. The other layers stay dense."
        )
    return sentences


def downloads_needed(spec: Spec) -> bool:
    """Whether a run may have to download."""
    return DATASETS[spec.data.name].download or spec.model.weights == "pretrained"

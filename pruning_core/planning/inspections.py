"""The inspections of data set and model, and the notes on pruning that follow from them."""

from __future__ import annotations

import functools
import platform
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pruning_core.common.errors import Ref, SpecError
from pruning_core.common.files import expand_path, weights_identity
from pruning_core.common.formatting import join_first
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.layers import Layer
from pruning_core.planning.inspection_types import (
    ExampleImagesSettings,
    InspectDatasetResult,
    InspectDatasetSettings,
    InspectGroupsResult,
    InspectModelResult,
    InspectModelSettings,
    ListFilesSettings,
)
from pruning_core.planning.layer_checks import step_notes, uncorrected_notes, zeros_notes
from pruning_core.planning.stage import FilesReader, Reader, Stage, known
from pruning_core.planning.stage_kinds import DATA_INSPECTION
from pruning_core.planning.stage_types import stored
from pruning_core.planning.structured import inspect_groups
from pruning_core.planning.structured_notes import dry_run_notes
from pruning_core.settings.pruning_steps import steps
from pruning_core.settings.relevance import keyed_for
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

installed = functools.cache(version)
# A message names this many images that cannot be read; the page and the log list all.
MOST_NAMES = 20


def pruning_notes(spec: Spec, store: FilesReader) -> list[str]:
    """Notes on the pruning steps of a spec, before they run; empty before the inspections."""
    facts = model_facts(spec, store)
    return [*notes_for_model(spec, facts), *_dry_run(spec, store)] if facts else []


def _dry_run(spec: Spec, store: FilesReader) -> list[str]:
    """The notes of the dry run of structured pruning, where it is enabled and finished."""
    data = data_facts(inspect_data(spec, store), store)
    if not (spec.structured.enabled and data):
        return []
    key = inspect_groups(spec, len(data.classes)).key
    dry_run = known(store, key, InspectGroupsResult)
    return dry_run_notes(dry_run) if dry_run else []


def notes_for_model(spec: Spec, facts: InspectModelResult) -> list[str]:
    """Notes on the pruning steps of a spec, for a model with the `facts` of its inspection."""
    pruning, layers = to_dict(spec.pruning), [Layer(**layer) for layer in facts.layers]
    notes = [
        note
        for target in mask_targets(spec)
        for note in (
            *step_notes(layers, pruning, target),
            *zeros_notes(layers, pruning, target, facts.zeros),
        )
    ]
    if spec.correction.enabled:
        notes += uncorrected_notes(layers)
        notes += filter(None, [facts.unsupported.get("bn_recalibration")])
    return list(dict.fromkeys(notes))


def known_layers(spec: Spec, store: FilesReader) -> list[Layer]:
    """The layers of a spec's model, excluded ones too; none before its inspection."""
    facts = model_facts(spec, store)
    return [Layer(**layer) for layer in facts.layers] if facts else []


def model_facts(spec: Spec, store: FilesReader) -> InspectModelResult | None:
    """The result of the inspection of a spec's model; None before it."""
    data = data_facts(inspect_data(spec, store), store)
    if data is None:
        return None
    stage = inspect_model(spec, len(data.classes), store.machine)
    return known(store, stage.key, InspectModelResult)


def data_facts(stage: Stage, store: Reader) -> InspectDatasetResult | None:
    """The result of a stage of `inspect_data`.

    None before it, and where the stage only lists the user's files.
    """
    if stage.kind != DATA_INSPECTION:
        return None
    return known(store, stage.key, InspectDatasetResult)


def mask_targets(spec: Spec) -> list[float]:
    """The sparsities to which a spec prunes by masks, each once."""
    chain = [step.target for step in steps(spec.iterative)] if spec.iterative.enabled else []
    return list(dict.fromkeys([*spec.one_shot.amounts, *chain]))


def inspect_data(spec: Spec, store: FilesReader) -> Stage:
    """The stage that reads the data set: classes, image counts, the digest of the content.

    Where the store does not know the user's files yet, the stage that lists them.
    """
    files = store.fingerprint(spec.data.path) if DATASETS[spec.data.name].user_images else None
    if isinstance(files, Stage):
        return files
    leave_out = keyed_for(spec, spec.data).get("leave_out_broken")
    settings = InspectDatasetSettings(spec.data.name, spec.data.split_seed, files, leave_out)
    hints = {"path": str(expand_path(spec.data.path))} if spec.data.path else {}
    return Stage(DATA_INSPECTION, "", stored(settings), hints)


def example_images(spec: Spec, facts: InspectDatasetResult) -> Stage:
    """The stage that prepares some training images as the model of a spec sees them."""
    settings = ExampleImagesSettings(
        digest=facts.digest,
        image_size=spec.data.image_size,
        split_seed=spec.data.split_seed,
        resize=keyed_for(spec, spec.data).get("resize"),
        value_range=facts.value_range,
    )
    return Stage("example_images", "", stored(settings), data_hints(spec, facts))


def data_hints(spec: Spec, facts: InspectDatasetResult) -> dict[str, Any]:
    """Where a stage finds the images: `name`, `path`, and the names of files in `left_out`."""
    hints: dict[str, Any] = {"name": spec.data.name, "path": spec.data.path}
    return {**hints, "left_out": list(facts.left_out)} if facts.left_out else hints


class BrokenImages(SpecError):
    """Images cannot be decoded: `count` of them. `inspection` is the stage that has found them."""

    inspection: str = ""
    count: int = 0


def broken_images(
    field: str, location: str, broken: Mapping[str, str], or_set: str = ""
) -> BrokenImages:
    """The error for images that cannot be decoded; `broken` holds the reason by name.

    `or_set` is a setting that helps, too.
    """
    (first, reason), *_ = broken.items()
    several = len(broken) > 1
    listed = "{count} images cannot be read: {names}. The first of them" if several else "{name}"
    remedy = ", or set {setting}." if or_set else "."
    return BrokenImages(
        field,
        "{location}: "
        + listed
        + " is not a readable image ({reason}). Replace or remove {which}"
        + remedy,
        location=location,
        count=f"{len(broken):,}",
        names=join_first(list(broken), "file", MOST_NAMES),
        name=first,
        reason=reason,
        which="them" if several else "it",
        setting=Ref(or_set),
    )


def list_files(path: str, request: int) -> Stage:
    """The stage that lists the files of a user's images, anew for each number of a request."""
    settings = ListFilesSettings(str(expand_path(path)), request)
    return Stage("list_files", "", stored(settings))


def inspect_model(spec: Spec, classes: int, machine: str = "", attempt: int | None = None) -> Stage:
    """The stage that builds the model once: layers, notes, and its training speed.

    `machine` is what trains it, as `FilesReader.machine` says. `attempt` is the number of a further
    measurement of the speed.
    """
    weights = weights_identity(spec.model.weights)
    settings = InspectModelSettings(
        model={**keyed_for(spec, spec.model), "weights": weights},
        classes=classes,
        image_size=spec.data.image_size,
        device=spec.device,
        machine=machine or platform.node(),
        torch=installed("torch"),
        precision="auto" if spec.precision == "auto" else None,
        attempt=attempt,
    )
    return Stage("inspect_model", "", stored(settings), {"weights": spec.model.weights})

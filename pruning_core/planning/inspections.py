"""What is known of a spec's model and of its cuts before they run."""

from __future__ import annotations

import functools
import platform
from importlib.metadata import version
from typing import Any

from pruning_core.common.files import expand_path, fingerprint, weights_identity
from pruning_core.methods.layers import Layer
from pruning_core.planning.layer_checks import step_notes, uncorrected_notes
from pruning_core.planning.stage import Reader, Stage, known
from pruning_core.planning.structured import inspect_groups
from pruning_core.planning.structured_notes import dry_run_notes
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import steps

installed = functools.cache(version)


def pruning_notes(spec: Spec, store: Reader) -> list[str]:
    """What is to be known of the cuts before they run; nothing until the model was looked at."""
    facts = model_facts(spec, store)
    return [*notes_for_model(spec, facts), *_dry_run(spec, store)] if facts else []


def _dry_run(spec: Spec, store: Reader) -> list[str]:
    """What removing channels would do, where it is asked for and was looked at."""
    data = known(store, inspect_data(spec).key)
    if not (spec.structured.enabled and data):
        return []
    found = known(store, inspect_groups(spec, len(data["classes"])).key)
    return dry_run_notes(found) if found else []


def notes_for_model(spec: Spec, facts: dict[str, Any]) -> list[str]:
    """The same for a model of which an inspection found these facts."""
    pruning, layers = to_dict(spec.pruning), [Layer(**layer) for layer in facts["layers"]]
    said = [sentence for amount in asked(spec) for sentence in step_notes(layers, pruning, amount)]
    if spec.correction.enabled:
        said += [
            *uncorrected_notes(layers),
            *filter(None, [facts.get("unsupported", {}).get("bn_recalibration")]),
        ]
    return list(dict.fromkeys(said))


def known_layers(spec: Spec, store: Reader) -> list[Layer]:
    """The layers of a spec's model, the spared ones too; none until it was looked at."""
    facts = model_facts(spec, store)
    return [Layer(**layer) for layer in facts["layers"]] if facts else []


def model_facts(spec: Spec, store: Reader) -> dict[str, Any] | None:
    """What an inspection found of a spec's model; None until it was looked at."""
    data = known(store, inspect_data(spec).key)
    return known(store, inspect_model(spec, len(data["classes"])).key) if data else None


def asked(spec: Spec) -> list[float]:
    """Every amount that a spec cuts to, each once."""
    chain = [step.target for step in steps(spec.iterative)] if spec.iterative.enabled else []
    return list(dict.fromkeys([*spec.one_shot.amounts, *chain]))


def inspect_data(spec: Spec) -> Stage:
    """The stage that reads what there is: classes, counts, the digest of the content."""
    settings = {"name": spec.data.name, "split_seed": spec.data.split_seed}
    if spec.data.name == "images":
        settings["found"] = fingerprint(spec.data.path)
    hints = {"path": str(expand_path(spec.data.path))} if spec.data.path else {}
    return Stage("inspect_dataset", "", settings, hints)


def inspect_model(spec: Spec, classes: int) -> Stage:
    """The stage that builds the model once: layers, notes, this machine's speed with it."""
    settings = {
        "model": {**to_dict(spec.model), "weights": weights_identity(spec.model.weights)},
        "classes": classes,
        "image_size": spec.data.image_size,
        "device": spec.device,
        "machine": platform.node(),
        "torch": installed("torch"),
    }
    if spec.precision == "auto":
        settings["precision"] = "auto"
    return Stage("inspect_model", "", settings, {"weights": spec.model.weights})

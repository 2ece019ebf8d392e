"""From a spec to the graph of stages that answers it.

A stage's key is the SHA-256 of canonical JSON of its kind and version, its parent's key and
all its settings. What the keys need to know of files and machines (digests, classes, the
device) comes from `inspect_*` stages, which run first: `plan` returns those that are still
missing, or the whole graph.
"""

from __future__ import annotations

from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.methods.criteria import MOVEMENT, needs
from pruning_core.methods.layers import Layer, prunable
from pruning_core.planning import sensitivity as sensitivity_
from pruning_core.planning import structured
from pruning_core.planning.correction import correction_stages
from pruning_core.planning.inspections import inspect_data, inspect_model
from pruning_core.planning.layer_checks import check_layers
from pruning_core.planning.pruned import (
    final_training,
    finetune_training,
    kept_epoch,
    pruned_stage,
    schedule_place,
    without_rewinding,
)
from pruning_core.planning.stage import Plan, PlannedModel, Reader, Stage, known, with_urgencies
from pruning_core.planning.structured import all_groups_spec, inspect_groups, prunable_groups
from pruning_core.settings import spec as specs
from pruning_core.settings.checks import check_criterion, check_model
from pruning_core.settings.conditions import GROUP
from pruning_core.settings.serialization import plain, to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import Step, last_target, steps, total_epochs

DECODE_ALL_BYTES = 2**30
Branch = tuple[Stage, PlannedModel]


def plan(spec: Spec, store: Reader) -> Plan:
    """The stages of a spec. Raises `SpecError` for what the facts show to be wrong."""
    spec = specs.from_dict(to_dict(spec))
    check_criterion(spec)
    data = inspect_data(spec)
    facts = known(store, data.key)
    if facts is None:
        return Plan((data,))
    check_sizes(spec, facts)
    model = inspect_model(spec, len(facts["classes"]))
    model_facts = known(store, model.key)
    if model_facts is None:
        return Plan((data, model))
    check_layers(spec, model_facts)
    check_model(spec, model_facts)
    looks = [data, model]
    if spec.structured.enabled:
        looks.append(inspect_groups(spec, len(facts["classes"])))
        if known(store, looks[-1].key) is None:
            return Plan(tuple(looks))
    scanned = [layer.name for layer in _prunable(spec, model_facts)]
    if spec.sensitivity.enabled and spec.sensitivity.unit == GROUP:
        own = all_groups_spec(spec)
        looks.append(inspect_groups(own, len(facts["classes"])))
        if (groups := known(store, looks[-1].key)) is None:
            return Plan(tuple(looks))
        scanned = prunable_groups(groups, model_facts)
    return _graph(spec, looks, facts, model_facts, scanned)


def check_sizes(spec: Spec, facts: dict[str, Any]) -> None:
    """Refuse more images than there are, or too few for the classes. Raises `SpecError`."""
    for part, least in (("train", 2), ("test", 1)):
        there, asked = sum(facts[f"{part}_counts"]), getattr(spec.data, f"{part}_size")
        name = f"data.{part}_size"
        if asked > there:
            message = f"{asked:,} images were asked for, but there are {there:,}."
            raise SpecError(name, message)
        needed = least * len(facts["classes"])
        if 0 < asked < needed:
            why = "one of each class" + " to train on and one to validate with" * (least - 1)
            message = f"{asked} images are too few; {needed} are needed, {why}."
            raise SpecError(name, message)
    _check_classes(spec, facts)


def _check_classes(spec: Spec, facts: dict[str, Any]) -> None:
    """Refuse a class with one training image, which no choice of a size can mend."""
    for name, count in zip(facts["classes"], facts["train_counts"], strict=True):
        if count < 2:
            raise SpecError(
                "data.path" if spec.data.name == "images" else "data.name",
                f"class {name!r} has a single training image; each class needs two, one to train "
                "on and one to validate with. Add images.",
            )


def _prunable(spec: Spec, facts: dict[str, Any]) -> list[Layer]:
    """The layers of an inspected model that a spec may pruning."""
    found = [Layer(**layer) for layer in facts["layers"]]
    return prunable(found, spec.pruning.layers, spec.pruning.exclude)


def _graph(
    spec: Spec,
    looks: list[Stage],
    facts: dict[str, Any],
    model_facts: dict[str, Any],
    scanned: list[str],
) -> Plan:
    decoded = _data_stage(spec, facts)
    stages: dict[str, Stage] = {stage.key: stage for stage in (*looks, decoded)}
    points: list[PlannedModel] = []
    for seed in spec.seeds:
        baseline = _baseline(spec, decoded, facts, model_facts, seed)
        branches = [*_one_shot(spec, baseline), *_iterative(spec, baseline)]
        branches += [*_ladder(spec, baseline), *structured.branches(spec, baseline)]
        scans = sensitivity_.stages(spec, baseline, scanned)
        stages[baseline.key] = baseline
        stages.update({stage.key: stage for stage in (*(s for s, _ in branches), *scans)})
        points.append(PlannedModel("baseline", seed, 0, 0.0, baseline.key))
        points.extend(point for _, point in branches)
    return Plan(with_urgencies(stages.values()), tuple(points), complete=True)


def _data_stage(spec: Spec, facts: dict[str, Any]) -> Stage:
    data = spec.data
    images = sum(facts["train_counts"]) + sum(facts["test_counts"])
    everything = images * data.image_size**2 * 3 <= DECODE_ALL_BYTES
    settings = {
        "digest": facts["digest"],
        "image_size": data.image_size,
        "train_size": 0 if everything else data.train_size,
        "test_size": 0 if everything else data.test_size,
        "split_seed": data.split_seed,
    }
    return Stage("dataset", "", settings, {"name": data.name, "path": data.path}, threads=2)


def _baseline(
    spec: Spec, decoded: Stage, facts: dict[str, Any], model_facts: dict[str, Any], seed: int
) -> Stage:
    data = to_dict(spec.data)
    for label in ("name", "path"):
        del data[label]
    if data["augmentation"] == "auto":
        data["augmentation"] = "crop_flip" if facts["flip"] else "crop"
    settings = {
        "data": data,
        "classes": len(facts["classes"]),
        "model": {**to_dict(spec.model), "weights": model_facts["weights"]},
        "train": to_dict(spec.baseline),
        "epochs": spec.baseline_epochs,
        **kept_epoch(spec),
        **_machine(spec, model_facts, seed, spec.baseline_threads),
    }
    if needs(spec.pruning.criterion, MOVEMENT):
        settings["keep_movement"] = True
    hints = {"weights": spec.model.weights}
    return Stage("baseline", decoded.key, settings, hints, threads=spec.baseline_threads)


def _machine(spec: Spec, model_facts: dict[str, Any], seed: int, threads: int) -> dict[str, Any]:
    return {
        "seed": seed,
        "device": model_facts["device"],
        "threads": threads,
        "precision": model_facts.get("precision", spec.precision),
    }


def _one_shot(spec: Spec, baseline: Stage) -> list[Branch]:
    seed, epochs = baseline.settings["seed"], plain(spec.one_shot.epochs)
    cuts = [("one_shot", amount, epochs) for amount in spec.one_shot.amounts]
    if spec.iterative.enabled and spec.iterative.equal_budget:
        last = last_target(spec.iterative)
        cuts.append(("one_shot_equal_budget", last, total_epochs(spec.iterative)))
    train = finetune_training(spec)
    made = [pruned_stage(spec, baseline, Step(amount, n), (0, n), train) for _, amount, n in cuts]
    return [
        (pruned_stage, PlannedModel(strategy, seed, 0, amount, pruned_stage.key))
        for pruned_stage, (strategy, amount, _) in zip(made, cuts, strict=True)
    ]


def _iterative(spec: Spec, baseline: Stage) -> list[Branch]:
    if not spec.iterative.enabled:
        return []
    branches, parent, seed = list[Branch](), baseline, baseline.settings["seed"]
    every = steps(spec.iterative)
    for i, step in enumerate(every, start=1):
        own, train = spec, finetune_training(spec)
        if step.final:
            own, train = without_rewinding(spec), final_training(spec)
        chain = schedule_place(spec, step, plain((i - 1) * spec.iterative.epochs))
        parent = pruned_stage(own, parent, step, chain, train, i == len(every))
        point = PlannedModel("iterative", seed, i, step.target, parent.key, step.final)
        branches.append((parent, point))
    return branches


def _ladder(spec: Spec, baseline: Stage) -> list[Branch]:
    """For each one-shot amount above 0 the cut alone, and the rungs above it."""
    branches, seed = list[Branch](), baseline.settings["seed"]
    for amount in filter(None, spec.one_shot.amounts if spec.correction.enabled else ()):
        cut = pruned_stage(
            without_rewinding(spec), baseline, Step(amount, 0), (0, 0), spec.finetune
        )
        for number, rung in enumerate(correction_stages(cut, spec.correction.images)):
            branches.append((rung, PlannedModel("correction", seed, number, amount, rung.key)))
    return branches

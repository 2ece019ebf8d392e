"""From a spec to the graph of stages that answers it.

A stage's key is the SHA-256 of canonical JSON of its kind and version, its parent's key and all
its settings. The facts on files and machines that enter the keys (digests, classes, the device)
come from the `inspect_*` stages, which run first: `plan` returns the inspections that are still
missing, or the whole graph.
"""

from __future__ import annotations

from collections.abc import Sequence

from pruning_core.common.errors import Ref, SpecError
from pruning_core.common.files import expand_path
from pruning_core.common.formatting import format_count
from pruning_core.methods import strategies
from pruning_core.methods.criteria import MOVEMENT, needs
from pruning_core.methods.datasets import CENTER_CROP, DATASETS, RESIZE_METHODS
from pruning_core.methods.layers import Layer, prunable
from pruning_core.planning import sensitivity as sensitivity_
from pruning_core.planning.correction import correction_branches
from pruning_core.planning.inspection_types import (
    DatasetSettings,
    InspectDatasetResult,
    InspectGroupsResult,
    InspectModelResult,
)
from pruning_core.planning.inspections import (
    broken_images,
    data_facts,
    data_hints,
    inspect_data,
    inspect_model,
)
from pruning_core.planning.layer_checks import check_layers
from pruning_core.planning.model_types import BaselineSettings
from pruning_core.planning.pruned import (
    final_training,
    finetune_training,
    kept_epoch,
    lr_segments,
    pruned_stage,
    schedule_place,
    without_rewinding,
)
from pruning_core.planning.stage import (
    FilesReader,
    Plan,
    PlannedModel,
    Stage,
    known,
    with_urgencies,
)
from pruning_core.planning.stage_types import restored, stored
from pruning_core.planning.structured import (
    all_groups_spec,
    inspect_groups,
    prunable_groups,
    structured_branches,
)
from pruning_core.settings.checks import check_criterion, check_model
from pruning_core.settings.conditions import (
    allocates_by_losses,
    analyzes_layers,
    analyzes_sensitivity,
    budget_controls,
)
from pruning_core.settings.pruning_steps import (
    Step,
    epochs_before,
    last_target,
    steps,
    total_epochs,
)
from pruning_core.settings.relevance import keyed_for
from pruning_core.settings.serialization import build, plain, to_dict
from pruning_core.settings.spec import Spec

# Up to this size in bytes all images are decoded, so that subsets of any size share one stage.
DECODE_ALL_BYTES = 2**30
# Planning so many stages takes about a second, and they are written into the queue at once.
MAX_STAGES = 3_000
Branch = tuple[Stage, PlannedModel]


def plan(spec: Spec, store: FilesReader) -> Plan:
    """The stages of a spec. Raises `SpecError` where the inspections show that it cannot run."""
    spec = build(type(spec), to_dict(spec))
    _check_number(spec, 1 + len(spec.one_shot.amounts))
    check_criterion(spec)
    data = inspect_data(spec, store)
    facts = data_facts(data, store)
    if facts is None:
        return Plan((data,))
    if facts.broken:
        location = str(expand_path(spec.data.path))
        error = broken_images("data.path", location, facts.broken, "data.leave_out_broken")
        error.inspection, error.count = data.key, len(facts.broken)
        raise error
    _check_long_images(spec, facts)
    check_sizes(spec, facts)
    classes = len(facts.classes)
    model = inspect_model(spec, classes, store.machine)
    model_facts = known(store, model.key, InspectModelResult)
    if model_facts is None:
        return Plan((data, model))
    layers = [Layer(**layer) for layer in model_facts.layers]
    check_layers(spec, layers)
    check_model(spec, model_facts.unsupported)
    inspections = [data, model]
    if spec.structured.enabled:
        inspections.append(inspect_groups(spec, classes))
        if known(store, inspections[-1].key, InspectGroupsResult) is None:
            return Plan(tuple(inspections))
    analyzed = [layer.name for layer in prunable(layers, spec.pruning.layers, spec.pruning.exclude)]
    if analyzes_sensitivity(spec) and not analyzes_layers(spec):
        inspections.append(inspect_groups(all_groups_spec(spec), classes))
        dry_run = known(store, inspections[-1].key, InspectGroupsResult)
        if dry_run is None:
            return Plan(tuple(inspections))
        analyzed = prunable_groups(dry_run, layers)
    return _graph(spec, inspections, facts, model_facts, analyzed)


def _check_long_images(spec: Spec, facts: InspectDatasetResult) -> None:
    """Refuse a center crop that would enlarge a very long image too much. Raises `SpecError`."""
    size = spec.data.image_size
    if spec.data.resize != CENTER_CROP:
        return
    for name, largest in (facts.largest_crops or {}).items():
        if size > largest:
            raise SpecError(
                "data.resize",
                "{name} is too long for a center crop to {size} pixels. Choose {others}, an image "
                "size up to {largest}, or remove the image.",
                name=name,
                size=size,
                others=" or ".join(m.title.lower() for m in RESIZE_METHODS.values() if m.whole),
                largest=largest,
            )


def _check_number(spec: Spec, stages: int) -> None:
    """Refuse a run with too many stages; `stages` are those of one seed. Raises `SpecError`."""
    seeds = len(spec.seeds)
    if seeds * stages > MAX_STAGES:
        raise SpecError(
            "seeds" if seeds > stages else "one_shot.amounts",
            "{seeds} with {stages} each are too many for one run: at most {most} stages in all. "
            "Give fewer seeds or fewer sparsities, or several runs.",
            seeds=format_count(seeds, "seed"),
            stages=format_count(stages, "stage"),
            most=f"{MAX_STAGES:,}",
        )


def check_sizes(spec: Spec, facts: InspectDatasetResult) -> None:
    """Refuse more images than there are, or too few for the classes. Raises `SpecError`."""
    sizes = (
        ("data.train_size", spec.data.train_size, facts.train_counts, "training", 2),
        ("data.test_size", spec.data.test_size, facts.test_counts, "test", 1),
    )
    for name, size, counts, noun, least in sizes:
        available = sum(counts)
        if size > available:
            raise SpecError(
                name,
                "{size} is too high: there are {available} {noun} images.",
                size=f"{size:,}",
                available=f"{available:,}",
                noun=noun,
            )
        needed = least * len(facts.classes)
        if 0 < size < needed:
            reason = "one of each class" + " for training and one for validation" * (least - 1)
            raise SpecError(
                name,
                "{size} is too low: at least {needed} {noun} images are needed, {reason}.",
                size=size,
                needed=needed,
                noun=noun,
                reason=reason,
            )
    _check_classes(spec, facts)


def _check_classes(spec: Spec, facts: InspectDatasetResult) -> None:
    """Refuse a class with one training image, which no choice of a size can correct."""
    for name, count in zip(facts.classes, facts.train_counts, strict=True):
        if count < 2:
            raise SpecError(
                "data.path" if DATASETS[spec.data.name].user_images else "data.name",
                "class {name} has a single training image{after}; each class needs one for "
                "training and one for validation. Add images, or choose another {setting}.",
                name=repr(name),
                after=" without the images that cannot be read" if facts.left_out else "",
                setting=Ref("data.name"),
            )


def _graph(
    spec: Spec,
    inspections: list[Stage],
    facts: InspectDatasetResult,
    model_facts: InspectModelResult,
    analyzed: list[str],
) -> Plan:
    """The whole graph; `analyzed` are the layers or groups of the sensitivity analysis."""
    decoded = _data_stage(spec, facts, inspections[0])
    stages: dict[str, Stage] = {stage.key: stage for stage in (*inspections, decoded)}
    models: list[PlannedModel] = []
    for seed in spec.seeds:
        baseline = _baseline(spec, decoded, facts, model_facts, seed)
        analyses = sensitivity_.stages(spec, baseline, analyzed)
        sensitivity = [stage.key for stage in analyses] if allocates_by_losses(spec) else []
        branches = [
            *_one_shot(spec, baseline, sensitivity),
            *_iterative(spec, baseline, sensitivity),
            *correction_branches(spec, baseline, sensitivity),
            *structured_branches(spec, baseline),
        ]
        _check_number(spec, 1 + len(branches) + len(analyses))
        computed = [stage for stage, _ in branches]
        parts = (analyses, computed) if sensitivity else (computed, analyses)
        stages[baseline.key] = baseline
        stages.update({stage.key: stage for part in parts for stage in part})
        models.append(PlannedModel(strategies.BASELINE, seed, 0, 0.0, baseline.key))
        models.extend(model for _, model in branches)
    return Plan(with_urgencies(stages.values()), tuple(models), complete=True)


def _data_stage(spec: Spec, facts: InspectDatasetResult, inspection: Stage) -> Stage:
    data = spec.data
    images = sum(facts.train_counts) + sum(facts.test_counts)
    everything = images * data.image_size**2 * 3 <= DECODE_ALL_BYTES
    settings = DatasetSettings(
        digest=facts.digest,
        image_size=data.image_size,
        train_size=0 if everything else data.train_size,
        test_size=0 if everything else data.test_size,
        split_seed=data.split_seed,
        resize=keyed_for(spec, data).get("resize"),
        value_range=facts.value_range,
    )
    hints = {**data_hints(spec, facts), "inspection": inspection.key}
    return Stage("dataset", "", stored(settings), hints, threads=2)


def _baseline(
    spec: Spec,
    decoded: Stage,
    facts: InspectDatasetResult,
    model_facts: InspectModelResult,
    seed: int,
) -> Stage:
    """The stage of a seed's dense baseline. Images enter its key by content, not by name."""
    data = keyed_for(spec, spec.data)
    for location in ("name", "path", "leave_out_broken"):
        data.pop(location, None)
    if data["augmentation"] == "auto":
        data["augmentation"] = "crop_flip" if facts.flip else "crop"
    replicas = spec.replicas_of_baseline(model_facts.device)
    settings = BaselineSettings(
        data=data,
        classes=len(facts.classes),
        model={**keyed_for(spec, spec.model), "weights": model_facts.weights},
        train=keyed_for(spec, spec.baseline),
        epochs=spec.baseline_epochs,
        seed=seed,
        device=model_facts.device,
        replicas=replicas,
        precision=model_facts.precision or spec.precision,
        keep_epoch=kept_epoch(spec),
        keep_movement=needs(spec.pruning.criterion, MOVEMENT) or None,
        keep_zeros=bool(model_facts.zeros) or None,
    )
    hints = {"weights": spec.model.weights}
    return Stage("baseline", decoded.key, stored(settings), hints, threads=replicas)


def _one_shot(spec: Spec, baseline: Stage, sensitivity: Sequence[str]) -> list[Branch]:
    seed = restored(BaselineSettings, baseline.settings).seed
    epochs = plain(spec.one_shot.epochs)
    models = [(strategies.ONE_SHOT, target, epochs) for target in spec.one_shot.amounts]
    models += [
        (control, last_target(spec.iterative), total_epochs(spec.iterative))
        for control in budget_controls(spec)
    ]
    train = finetune_training(spec)
    branches = list[Branch]()
    for strategy, target, n in models:
        segments = lr_segments(spec) if strategy == strategies.EQUAL_SCHEDULE else None
        step = Step(target, n)
        stage = pruned_stage(
            spec, baseline, step, (0, n), train, segments=segments, sensitivity=sensitivity
        )
        branches.append((stage, PlannedModel(strategy, seed, 0, target, stage.key)))
    return branches


def _iterative(spec: Spec, baseline: Stage, sensitivity: Sequence[str]) -> list[Branch]:
    """The steps of the iterative run; each one is the parent of the next."""
    if not spec.iterative.enabled:
        return []
    seed = restored(BaselineSettings, baseline.settings).seed
    branches, parent = list[Branch](), baseline
    chain = steps(spec.iterative)
    for i, step in enumerate(chain, start=1):
        step_spec, train = spec, finetune_training(spec)
        if step.final:
            step_spec, train = without_rewinding(spec), final_training(spec)
        before = epochs_before(spec.iterative.epochs, i - 1)
        schedule = schedule_place(spec, step, before)
        last = i == len(chain)
        parent = pruned_stage(
            step_spec, parent, step, schedule, train, last, before, sensitivity=sensitivity
        )
        model = PlannedModel(
            strategies.ITERATIVE, seed, i, step.target, parent.key, final=step.final
        )
        branches.append((parent, model))
    return branches

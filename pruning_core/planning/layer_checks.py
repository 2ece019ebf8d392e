"""Problems that a model's layers show before a pruning step runs, and notes on the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.common.formatting import format_count, format_percent, join_first, join_words
from pruning_core.methods.allocation import (
    ALLOCATIONS,
    MIN_DENSITY_ALLOCATIONS,
    LayerUnits,
    suggestion,
    table_scale,
)
from pruning_core.methods.corrections import MAX_INPUTS
from pruning_core.methods.granularity import (
    FILTER_DIMENSIONS,
    block_of,
    block_sizes,
    fits,
    is_depthwise,
    pattern_of,
    unit_noun,
    units,
)
from pruning_core.methods.layers import KINDS, ROLES, Layer, matches, prunable, units_to_keep
from pruning_core.methods.sensitivity_units import GROUP
from pruning_core.settings.conditions import allocates_by_losses
from pruning_core.settings.relevance import has_effect
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

SHOWN = 3
SLACK = 1e-4  # a target that people copy from the total of their table is rounded
EXCLUDE = Ref("pruning.exclude")


def check_layers(spec: Spec, layers: Sequence[Layer]) -> None:
    """Refuse a step that prunes nothing, a whole layer, or below the minimum density.

    `layers` are all layers of the model. Raises `SpecError`.
    """
    check_exclude(spec, layers)
    chosen = prunable(layers, spec.pruning.layers, spec.pruning.exclude)
    if not chosen:
        excluded = _quoted(spec.pruning.exclude)
        raise SpecError(
            "pruning.exclude" if spec.pruning.exclude else "pruning.layers",
            "{model} has no prunable layer: {setting} is {choice}"
            + (", and {exclude} contains {excluded}." if spec.pruning.exclude else "."),
            model=spec.model.name,
            setting=Ref("pruning.layers"),
            choice=Choice("pruning.layers", spec.pruning.layers),
            exclude=EXCLUDE,
            excluded=excluded,
        )
    if has_effect("pruning.granularity", spec):
        check_units(spec, chosen)
    if allocates_by_losses(spec):
        _check_sensitivity(spec)
    if not pattern_of(spec.pruning.granularity):
        _check_min_density(spec, chosen)
        _check_layer_collapse(spec, chosen)


def check_exclude(spec: Spec, layers: Sequence[Layer]) -> None:
    """Refuse an entry that excludes nothing. Raises `SpecError`."""
    for entry in spec.pruning.exclude:
        if any(matches(layer, entry) for layer in layers):
            continue
        if entry in (*KINDS, *ROLES):
            present = {name for layer in layers for name in (layer.kind, layer.role) if name}
            raise SpecError(
                "pruning.exclude",
                "{model} has no layer of the kind '{entry}', only {present}.",
                model=spec.model.name,
                entry=entry,
                present=", ".join(sorted(present)),
            )
        close = suggestion(entry, [*KINDS, *ROLES, *(layer.name for layer in layers)])
        raise SpecError(
            "pruning.exclude",
            "'{entry}' matches no layer of {model} and is not a kind of layer. {close}",
            entry=entry,
            model=spec.model.name,
            close=close,
        )


def check_units(spec: Spec, layers: Sequence[Layer]) -> None:
    """Refuse a granularity that some or all layers do not have. Raises `SpecError`."""
    granularity = spec.pruning.granularity
    pattern = pattern_of(granularity)
    if pattern and not any(fits(layer.shape, granularity) for layer in layers):
        raise SpecError(
            "pruning.granularity",
            "no prunable layer fits {granularity}: its inputs must be a multiple of {multiple}.",
            granularity=Choice("pruning.granularity", granularity),
            multiple=pattern[1],
        )
    if granularity == "filter":
        _check_filters(spec.pruning.filter_dim, layers)


def _check_filters(dim: int, layers: Sequence[Layer]) -> None:
    noun = FILTER_DIMENSIONS[dim]
    if dim == 0 and (last := [layer.name for layer in layers if layer.role == "classifier"]):
        raise SpecError(
            "pruning.exclude",
            "each output channel of {layers} is a class, and a class cannot be pruned. Add "
            "classifier to {exclude}.",
            layers=_quoted(last),
            exclude=EXCLUDE,
        )
    if flat := [layer for layer in layers if len(layer.shape) <= dim]:
        raise SpecError(
            "pruning.exclude",
            "there are no {noun} in {layers}, which have no kernels. Add these layers ({kinds}) to "
            "{exclude}.",
            layers=_quoted([layer.name for layer in flat]),
            noun=noun,
            kinds=join_words(sorted({layer.kind for layer in flat})),
            exclude=EXCLUDE,
        )
    if single := [layer for layer in layers if layer.shape[dim] < 2]:
        kinds = {layer.kind for layer in single}
        what = "depthwise" if kinds == {"depthwise"} else "their names or a pattern"
        other = ", or choose output or input channels as {dim}" if dim > 1 else ""
        raise SpecError(
            "pruning.exclude",
            "there is a single filter ({noun}) in {layers}, so nothing would remain. Add {what} to "
            "{exclude}" + other + ".",
            layers=_quoted([layer.name for layer in single]),
            noun=noun,
            what=what,
            exclude=EXCLUDE,
            dim=Ref("pruning.filter_dim"),
        )


def _highest(spec: Spec) -> tuple[str, float]:
    """The highest target sparsity, and the setting that asks for it."""
    targets = {"one_shot.amounts": max(spec.one_shot.amounts, default=0.0)}
    targets["iterative.target"] = spec.iterative.target * spec.iterative.enabled
    name = max(targets, key=lambda field: targets[field])
    return name, targets[name]


def _check_min_density(spec: Spec, layers: Sequence[Layer]) -> None:
    """Refuse a target that the minimum density of the layers does not allow."""
    if not ALLOCATIONS[spec.pruning.allocation].min_density:
        return
    pruning, density = to_dict(spec.pruning), spec.pruning.min_density
    sizes = [units(layer.shape, pruning, layer.groups) for layer in layers]
    kept = sum(units_to_keep(size, density) for size in sizes)
    name, sparsity = _highest(spec)
    if round(sparsity * sum(sizes)) > sum(sizes) - kept:
        possible = Share.at_most(1 - kept / sum(sizes))
        offer = "at most {possible}" if possible.value else "nothing"
        raise SpecError(
            name,
            f"{{sparsity}} is too high: every layer keeps {{density}} of its {{units}}, so {offer} "
            "can be pruned. Lower {setting}" + (" or the sparsity." if possible.value else "."),
            sparsity=Share(sparsity),
            density=Share(density),
            units=unit_noun(pruning),
            possible=possible,
            setting=Ref("pruning.min_density"),
        )


def _check_sensitivity(spec: Spec) -> None:
    """Refuse a sensitivity analysis from which the sparsities of the layers cannot follow."""
    if spec.sensitivity.unit == GROUP:
        raise SpecError(
            "sensitivity.unit",
            "{allocation} needs the sensitivity of layers. Choose the unit layer, or another "
            "{setting}.",
            allocation=Choice("pruning.allocation", spec.pruning.allocation),
            setting=Ref("pruning.allocation"),
        )
    name, sparsity = _highest(spec)
    if sparsity > spec.sensitivity.sparsities[-1]:
        raise SpecError(
            name,
            "{sparsity} is above the highest sparsity that the sensitivity analysis measures, "
            "{highest}. Lower it, or add higher values to {sparsities}.",
            sparsity=Share(sparsity),
            highest=Share(spec.sensitivity.sparsities[-1]),
            sparsities=Ref("sensitivity.sparsities"),
        )


def _check_layer_collapse(spec: Spec, layers: Sequence[Layer]) -> None:
    """Refuse a step that empties a layer, where the sizes of the layers alone show it."""
    counts = ALLOCATIONS[spec.pruning.allocation].counts
    if counts is None:
        return
    pruning = to_dict(spec.pruning)
    field, sparsity = _highest(spec)
    sized = _layer_units(layers, pruning)
    pruned = counts(sized, sparsity, pruning)
    empty = [layer.name for layer, count in zip(sized, pruned, strict=True) if count == layer.units]
    if empty:
        raise layer_collapse(field, empty, sparsity, pruning)


def _layer_units(layers: Sequence[Layer], pruning: Mapping[str, Any]) -> list[LayerUnits]:
    return [LayerUnits(x.name, tuple(x.shape), units(x.shape, pruning, x.groups)) for x in layers]


def layer_collapse(
    field: str, names: Sequence[str], sparsity: float, pruning: Mapping[str, Any]
) -> SpecError:
    """The error for layers that would lose all their weights, with a remedy."""
    others = ", ".join(f"{{{name}}}" for name in MIN_DENSITY_ALLOCATIONS)
    if ALLOCATIONS[pruning["allocation"]].min_density:
        remedy = "raise {min_density}"
    elif ALLOCATIONS[pruning["allocation"]].layer_sparsities:
        remedy = "give them lower sparsities"
    else:
        remedy = f"choose an allocation with a minimum density ({others})"
    return SpecError(
        field,
        f"at {{sparsity}} nothing would remain of {{layers}}. Lower the sparsity, {remedy}, or add "
        "these layers to {exclude}.",
        sparsity=Share(sparsity),
        layers=_quoted(names),
        min_density=Ref("pruning.min_density"),
        exclude=EXCLUDE,
        **{name: Choice("pruning.allocation", name) for name in MIN_DENSITY_ALLOCATIONS},
    )


def step_notes(layers: Sequence[Layer], pruning: Mapping[str, Any], sparsity: float) -> list[str]:
    """Notes on a pruning step of these layers; `pruning` holds the settings of a `PruningSpec`."""
    if not sparsity:
        return []
    chosen = prunable(layers, pruning["layers"], pruning["exclude"])
    if pattern_of(pruning["granularity"]):
        return _pattern_notes(chosen, pruning["granularity"])
    notes = _kernel_notes(chosen) if pruning["granularity"] == "kernel" else []
    if block := block_of(pruning["granularity"]):
        notes = _block_notes(chosen, pruning["granularity"], block)
    if ALLOCATIONS[pruning["allocation"]].layer_sparsities:
        scale = table_scale(_layer_units(chosen, pruning), sparsity, pruning)
        if abs(scale - 1) > SLACK:
            notes.append(
                f"The custom sparsities are multiplied by {scale:.4g} to reach "
                f"{format_percent(sparsity, 2)}."
            )
    return notes


def initial_zeros_note(layers: Sequence[Layer], zeros: Mapping[str, int]) -> list[str]:
    """A note on the zeros of an earlier pruning, counted by layer; empty where there are none."""
    if not zeros:
        return []
    total = sum(layer.size for layer in layers)
    return [
        f"The initial weights are pruned already: {format_percent(sum(zeros.values()) / total)} of "
        f"the weights are zero, in {format_count(len(zeros), 'layer')}. These weights stay zero in "
        "training and count towards the sparsity."
    ]


def zero_layers_note(names: Sequence[str]) -> list[str]:
    """A note on layers of zeros only, beside layers with zeros of an earlier pruning."""
    if not names:
        return []
    return [
        f"All weights of {_quoted(names)} are zero. Such a layer counts as initialized with zeros "
        "and not as a result of pruning, so its weights change in training."
    ]


def zeros_notes(
    layers: Sequence[Layer],
    pruning: Mapping[str, Any],
    sparsity: float,
    zeros: Mapping[str, int],
) -> list[str]:
    """A note where more weights are zero in the initial weights than a pruning step asks for.

    `pruning` holds the settings of a `PruningSpec`, `zeros` the zeros by name of the layer.
    """
    chosen = prunable(layers, pruning["layers"], pruning["exclude"])
    present = sum(zeros.get(layer.name, 0) for layer in chosen)
    total = sum(layer.size for layer in chosen)
    if not sparsity or not present:
        return []
    target, share = format_percent(sparsity), format_percent(present / total)
    if present > round(sparsity * total):
        return [
            f"The target of {target} is below the sparsity of the initial weights, {share}. Their "
            "zeros stay."
        ]
    equal = ALLOCATIONS[pruning.get("allocation", "uniform")].equal_sparsities
    sparser = [x.name for x in chosen if zeros.get(x.name, 0) > round(sparsity * x.size)]
    if not (equal and sparser):
        return []
    return [
        f"In {_quoted(sparser)} the initial weights have more zeros than the target of {target}. "
        "These zeros stay, so the sparsity is higher than the target."
    ]


def _kernel_notes(layers: Sequence[Layer]) -> list[str]:
    """A note on layers whose kernels are single weights."""
    flat = [layer.name for layer in layers if len(layer.shape) == 2]
    return [f"In {_quoted(flat)} a kernel is a single weight."] if flat else []


def _block_notes(layers: Sequence[Layer], granularity: str, block: int) -> list[str]:
    """Notes on layers with smaller blocks, and on layers whose outputs have different inputs."""
    notes = []
    sizes = {x.name: block_sizes(x.shape, granularity, x.groups) for x in layers}
    smaller = [name for name, outputs in sizes.items() if min(outputs, default=block) < block]
    if smaller:
        notes.append(
            "The last block is smaller in layers whose output channels (per group) do not divide "
            f"by {block}: {join_first(smaller, 'layer')}. It is scored as a whole block with the "
            "same mean."
        )
    if depthwise := sum(is_depthwise(layer.shape, layer.groups) for layer in layers):
        notes.append(
            f"In {format_count(depthwise, 'depthwise layer')} a block is one kernel position of "
            f"{block} consecutive channels."
        )
    grouped = [x for x in layers if x.groups > 1 and not is_depthwise(x.shape, x.groups)]
    if grouped:
        names = join_first([layer.name for layer in grouped], "layer")
        notes.append(f"In grouped convolutions no block extends over two groups: {names}.")
    return notes


def _pattern_notes(layers: Sequence[Layer], granularity: str) -> list[str]:
    """A note on layers that do not fit an N:M pattern; depthwise layers never do."""
    pattern = pattern_of(granularity)
    assert pattern is not None
    dense = [layer for layer in layers if not fits(layer.shape, granularity)]
    depthwise = sum(layer.kind == "depthwise" for layer in dense)
    names = [layer.name for layer in dense if layer.kind != "depthwise"]
    if depthwise:
        names.append(format_count(depthwise, "depthwise layer"))
    if not names:
        return []
    return [
        f"Layers stay dense if their number of inputs is not a multiple of {pattern[1]}: "
        f"{', '.join(names)}."
    ]


def uncorrected_notes(layers: Sequence[Layer]) -> list[str]:
    """Which layers bias correction and weight reconstruction do not change."""
    attention = [layer.name for layer in layers if layer.kind == "attention"]
    large = [x.name for x in layers if x.name not in attention and _inputs(x) > MAX_INPUTS]
    notes = []
    if attention:
        notes.append(
            "Bias correction and weight reconstruction do not change attention layers: "
            f"{join_first(attention, 'layer')}."
        )
    if large:
        notes.append(
            f"Weight reconstruction does not change layers with more than {MAX_INPUTS:,} inputs: "
            f"{join_first(large, 'layer')}."
        )
    return notes


def _inputs(layer: Layer) -> int:
    return math.prod(layer.shape[1:])


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{shown} and others" if len(names) > SHOWN else shown

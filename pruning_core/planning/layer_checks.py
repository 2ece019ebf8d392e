"""Problems that a model's layers show before a pruning step runs, and notes on the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.common.formatting import format_count, join_words
from pruning_core.methods.allocation import (
    ALLOCATIONS,
    MIN_DENSITY_ALLOCATIONS,
    LayerUnits,
    suggestion,
    table_scale,
)
from pruning_core.methods.corrections import MAX_INPUTS
from pruning_core.methods.granularity import FILTER_DIMENSIONS, fits, pattern_of, unit_noun, units
from pruning_core.methods.layers import KINDS, ROLES, Layer, matches, prunable, units_to_keep
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

SHOWN = 3
SLACK = 1e-4  # the total of a table is rounded where it is asked for
EXCLUDE = Ref("pruning.exclude")


def check_layers(spec: Spec, facts: dict[str, Any]) -> None:
    """Refuse a step that prunes nothing, a whole layer, or below the minimum density.

    Raises `SpecError`.
    """
    layers = [Layer(**layer) for layer in facts["layers"]]
    check_exclude(spec, layers)
    remaining = prunable(layers, spec.pruning.layers, spec.pruning.exclude)
    if not remaining:
        excluded = _quoted(spec.pruning.exclude)
        raise SpecError(
            "pruning.exclude" if spec.pruning.exclude else "pruning.layers",
            "{model} has no layer left to prune: {choice} selects the prunable layers"
            + (", and {excluded} excludes the rest." if spec.pruning.exclude else "."),
            model=spec.model.name,
            choice=Choice("pruning.layers", spec.pruning.layers),
            excluded=excluded,
        )
    check_units(spec, remaining)
    if not pattern_of(spec.pruning.granularity):
        _check_min_density(spec, remaining)
        _check_layer_collapse(spec, remaining)


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
            "'{entry}' matches no layer of {model} and is no kind. {close}",
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
            "an output channel of {layers} is a class, and no class can be pruned. Add classifier "
            "to {exclude}.",
            layers=_quoted(last),
            exclude=EXCLUDE,
        )
    if flat := [layer for layer in layers if len(layer.shape) <= dim]:
        raise SpecError(
            "pruning.exclude",
            "{layers} have no {noun}, because they have no kernels. Add these layers ({kinds}) to "
            "{exclude}.",
            layers=_quoted([layer.name for layer in flat]),
            noun=noun,
            kinds=join_words(sorted({layer.kind for layer in flat})),
            exclude=EXCLUDE,
        )
    if single := [layer for layer in layers if layer.shape[dim] < 2]:
        kinds = {layer.kind for layer in single}
        what = "the kind depthwise" if kinds == {"depthwise"} else "them, by name or pattern,"
        other = ", or choose output or input channels as {dim}" if dim > 1 else ""
        raise SpecError(
            "pruning.exclude",
            "{layers} have one of the {noun} only, so nothing would remain of the layer. Add {what} "
            "to {exclude}" + other + ".",
            layers=_quoted([layer.name for layer in single]),
            noun=noun,
            what=what,
            exclude=EXCLUDE,
            dim=Ref("pruning.filter_dim"),
        )


def _highest(spec: Spec) -> tuple[str, float]:
    """The highest target sparsity, and the setting that asks for it."""
    asked = {"one_shot.amounts": max(spec.one_shot.amounts, default=0.0)}
    asked["iterative.target"] = spec.iterative.target * spec.iterative.enabled
    name = max(asked, key=lambda field: asked[field])
    return name, asked[name]


def _check_min_density(spec: Spec, layers: Sequence[Layer]) -> None:
    if not ALLOCATIONS[spec.pruning.allocation].min_density:
        return
    pruning, density = to_dict(spec.pruning), spec.pruning.min_density
    sizes = [units(layer.shape, pruning) for layer in layers]
    kept = sum(units_to_keep(size, density) for size in sizes)
    name, sparsity = _highest(spec)
    if round(sparsity * sum(sizes)) > sum(sizes) - kept:
        possible = math.floor(1e4 * (1 - kept / sum(sizes))) / 1e4
        raise SpecError(
            name,
            "{asked} is too high: where every layer keeps {density} of its {units}, at most "
            "{possible} can be pruned. Lower the sparsity or {setting}.",
            asked=Share(sparsity),
            density=Share(density),
            units=unit_noun(pruning),
            possible=Share(possible),
            setting=Ref("pruning.min_density"),
        )


def _check_layer_collapse(spec: Spec, layers: Sequence[Layer]) -> None:
    """Refuse a step that leaves nothing of a layer, where the sizes alone show it."""
    counts = ALLOCATIONS[spec.pruning.allocation].counts
    if counts is None:
        return
    pruning = to_dict(spec.pruning)
    field, sparsity = _highest(spec)
    parts = _layer_units(layers, pruning)
    pruned = counts(parts, sparsity, pruning)
    empty = [part.name for part, count in zip(parts, pruned, strict=True) if count == part.units]
    if empty:
        raise layer_collapse(field, empty, sparsity, pruning)


def _layer_units(layers: Sequence[Layer], pruning: Mapping[str, Any]) -> list[LayerUnits]:
    return [LayerUnits(x.name, tuple(x.shape), units(x.shape, pruning)) for x in layers]


def layer_collapse(
    field: str, names: Sequence[str], sparsity: float, pruning: Mapping[str, Any]
) -> SpecError:
    """The error for layers that would lose all their weights, with the way out."""
    others = ", ".join(f"{{{name}}}" for name in MIN_DENSITY_ALLOCATIONS)
    if ALLOCATIONS[pruning["allocation"]].min_density:
        way = "raise {min_density}"
    elif pruning["allocation"] == "custom":
        way = "give them lower sparsities"
    else:
        way = f"choose an allocation with a minimum density ({others})"
    return SpecError(
        field,
        f"at {{asked}} nothing would remain of {{layers}}. Lower the sparsity, {way}, or add these "
        "layers to {exclude}.",
        asked=Share(sparsity),
        layers=_quoted(names),
        min_density=Ref("pruning.min_density"),
        exclude=EXCLUDE,
        **{name: Choice("pruning.allocation", name) for name in MIN_DENSITY_ALLOCATIONS},
    )


def step_notes(layers: Sequence[Layer], pruning: Mapping[str, Any], sparsity: float) -> list[str]:
    """Notes on a pruning step of these layers; `pruning` holds the settings of a `PruningSpec`."""
    remaining = prunable(layers, pruning["layers"], pruning["exclude"])
    if not sparsity:
        return []
    if pattern_of(pruning["granularity"]):
        return _unfitting(remaining, pruning["granularity"])
    notes = _single_weights(remaining) if pruning["granularity"] == "kernel" else []
    if pruning["allocation"] == "custom":
        scale = table_scale(_layer_units(remaining, pruning), sparsity, pruning)
        if abs(scale - 1) > SLACK:
            notes.append(
                f"The custom sparsities are multiplied by {scale:.4g} to reach {sparsity:.2%}."
            )
    return notes


def _single_weights(layers: Sequence[Layer]) -> list[str]:
    """The layers whose kernels are single weights."""
    flat = [layer.name for layer in layers if len(layer.shape) == 2]
    return [f"In {_quoted(flat)} a kernel is a single weight."] if flat else []


def _unfitting(layers: Sequence[Layer], granularity: str) -> list[str]:
    """The layers that do not fit a pattern; depthwise layers, which never do, by their number."""
    pattern = pattern_of(granularity)
    assert pattern is not None
    others = [layer for layer in layers if not fits(layer.shape, granularity)]
    depthwise = sum(layer.kind == "depthwise" for layer in others)
    names = [layer.name for layer in others if layer.kind != "depthwise"]
    if depthwise:
        names.append(f"all {depthwise} depthwise layers")
    if not names:
        return []
    return [
        f"These layers stay dense, because their inputs are no multiple of {pattern[1]}: "
        f"{', '.join(names)}."
    ]


def uncorrected_notes(layers: Sequence[Layer]) -> list[str]:
    """Which layers bias correction and weight reconstruction do not change."""
    attention = [layer.name for layer in layers if layer.kind == "attention"]
    large = [x.name for x in layers if x.name not in attention and _inputs(x) > MAX_INPUTS]
    notes = []
    if attention:
        notes.append(
            f"Bias correction and weight reconstruction do not change attention: {_some(attention)}."
        )
    if large:
        notes.append(
            f"Weight reconstruction does not change layers with more than {MAX_INPUTS:,} inputs: "
            f"{_some(large)}."
        )
    return notes


def _inputs(layer: Layer) -> int:
    return math.prod(layer.shape[1:])


def _some(names: Sequence[str]) -> str:
    more = f" and {format_count(len(names) - SHOWN, 'more layer')}" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{shown} and others" if len(names) > SHOWN else shown

"""What a model's layers show to be wrong with a cut before it runs, and what is to be known."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count, join_words
from pruning_core.methods.allocation import COUNTS, FLOORED, Part, hand_scale, suggestion
from pruning_core.methods.corrections import MOST_INPUTS
from pruning_core.methods.granularity import FILTERS_OF, PATTERNS, fits, noun, units
from pruning_core.methods.layers import KINDS, ROLES, Layer, chosen, floor_size, matches
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

SHOWN = 3
SLACK = 1e-4  # a table's total is rounded where it is asked for
NAMED = 3


def check_layers(spec: Spec, facts: dict[str, Any]) -> None:
    """Refuse a cut of nothing, of a whole layer, or below the keep-floor. Raises `SpecError`."""
    found = [Layer(**layer) for layer in facts["layers"]]
    check_spare(spec, found)
    left = chosen(found, spec.prune.layers, spec.prune.spare)
    if not left:
        message = f"{spec.model.name} has no weight of the choice {spec.prune.layers} to prune."
        more = f" {_quoted(spec.prune.spare)} spare the rest." if spec.prune.spare else ""
        raise SpecError("prune.spare" if more else "prune.layers", message + more)
    check_pieces(spec, left)
    if spec.prune.granularity not in PATTERNS:
        _check_floor(spec, left)
        _check_alive(spec, left)


def check_spare(spec: Spec, found: Sequence[Layer]) -> None:
    """Refuse an entry that spares nothing. Raises `SpecError`."""
    for entry in spec.prune.spare:
        if any(matches(layer, entry) for layer in found):
            continue
        if entry in (*KINDS, *ROLES):
            there = {name for layer in found for name in (layer.kind, layer.role) if name}
            message = f"{spec.model.name} has no layer of the kind '{entry}', only "
            raise SpecError("prune.spare", f"{message}{', '.join(sorted(there))}.")
        close = suggestion(entry, [*KINDS, *ROLES, *(layer.name for layer in found)])
        message = f"'{entry}' matches no layer of {spec.model.name} and is no kind. {close}"
        raise SpecError("prune.spare", message)


def check_pieces(spec: Spec, left: Sequence[Layer]) -> None:
    """Refuse a granularity that some or all layers do not have. Raises `SpecError`."""
    prune = spec.prune
    if prune.granularity in PATTERNS and not any(fits(x.shape, prune.granularity) for x in left):
        message = (
            f"no layer that is pruned fits `{prune.granularity}`: its inputs would have to be a "
            f"multiple of {PATTERNS[prune.granularity][1]}."
        )
        raise SpecError("prune.granularity", message)
    if prune.granularity == "filter":
        _check_filters(prune.dim, left)


def _check_filters(dim: int, left: Sequence[Layer]) -> None:
    if dim == 0 and (last := [layer.name for layer in left if layer.role == "classifier"]):
        message = (
            f"a filter of outputs is a class in {_quoted(last)}, and no class can be removed. "
            "Spare the kind classifier."
        )
        raise SpecError("prune.spare", message)
    if flat := [layer.name for layer in left if len(layer.shape) <= dim]:
        without = join_words(sorted({x.kind for x in left if len(x.shape) <= dim}))
        message = (
            f"there are no {FILTERS_OF[dim]} (dim {dim}) in {_quoted(flat)}, which have no "
            f"kernels. Spare such layers ({without})."
        )
        raise SpecError("prune.spare", message)
    if single := [layer for layer in left if layer.shape[dim] < 2]:
        kinds = {layer.kind for layer in single}
        what = "the kind depthwise" if kinds == {"depthwise"} else "them by names or a pattern"
        other = ", or take filters of outputs or inputs (dim 0 or 1)" if dim > 1 else ""
        message = (
            f"of {FILTERS_OF[dim]} (dim {dim}) there is one in "
            f"{_quoted([x.name for x in single])}, so nothing would be left of the layer. "
            f"Spare {what}{other}."
        )
        raise SpecError("prune.spare", message)


def _largest(spec: Spec) -> tuple[str, float]:
    """The largest share that is asked for, and by which setting."""
    asked = {"one_shot.amounts": max(spec.one_shot.amounts, default=0.0)}
    asked["iterative.target"] = spec.iterative.target * spec.iterative.enabled
    name = max(asked, key=lambda field: asked[field])
    return name, asked[name]


def _check_floor(spec: Spec, left: Sequence[Layer]) -> None:
    if spec.prune.scope not in FLOORED:
        return
    prune, floor = to_dict(spec.prune), spec.prune.keep_floor
    sizes = [units(layer.shape, prune) for layer in left]
    kept = sum(floor_size(size, floor) for size in sizes)
    name, amount = _largest(spec)
    most = math.floor(1e4 * (1 - kept / sum(sizes))) / 1e4
    if round(amount * sum(sizes)) > sum(sizes) - kept:
        raise SpecError(
            name,
            f"{amount:.2%} is asked for, but where every layer keeps {floor:.1%} of its "
            f"{noun(prune)} at most {most:.2%} can go. Ask for less or lower the keep-floor.",
        )


def _check_alive(spec: Spec, left: Sequence[Layer]) -> None:
    """Refuse a cut that leaves nothing of a layer, where the sizes alone tell it."""
    if spec.prune.scope not in COUNTS:
        return
    prune = to_dict(spec.prune)
    field, amount = _largest(spec)
    parts = _parts(left, prune)
    counts = COUNTS[spec.prune.scope](parts, amount, prune)
    dead = [part.name for part, gone in zip(parts, counts, strict=True) if gone == part.units]
    if dead:
        raise SpecError(field, died(dead, amount, prune))


def _parts(left: Sequence[Layer], prune: Mapping[str, Any]) -> list[Part]:
    return [Part(x.name, tuple(x.shape), units(x.shape, prune)) for x in left]


def died(names: Sequence[str], amount: float, prune: Mapping[str, Any]) -> str:
    """Which layers would lose all their weights, and what to do."""
    floored = prune["scope"] in FLOORED
    floor = "raise the keep-floor" if floored else f"take a scope with a keep-floor ({_floored()})"
    ways = "give them smaller shares" if prune["scope"] == "hand" else floor
    return (
        f"at {amount:.2%} nothing would be left of {_quoted(names)}. Ask for less, {ways}, or "
        "spare such layers."
    )


def _floored() -> str:
    return ", ".join(FLOORED)


def told(found: Sequence[Layer], prune: Mapping[str, Any], amount: float) -> list[str]:
    """What is to be known of a cut of these layers, in sentences.

    `prune` holds a `PruneSpec`'s settings.
    """
    left = chosen(found, prune["layers"], prune["spare"])
    if not amount:
        return []
    if prune["granularity"] in PATTERNS:
        return _dense(left, prune["granularity"])
    said = _single(left) if prune["granularity"] == "kernel" else []
    if prune["scope"] == "hand":
        scale = hand_scale(_parts(left, prune), amount, prune)
        if abs(scale - 1) > SLACK:
            said.append(f"The shares of the table are multiplied by {scale:.4g} for {amount:.2%}.")
    return said


def _single(left: Sequence[Layer]) -> list[str]:
    """The layers whose kernels are single weights, since they have no places to slide over."""
    flat = [layer.name for layer in left if len(layer.shape) == 2]
    return [f"A kernel is a single weight in {_quoted(flat)}."] if flat else []


def _dense(left: Sequence[Layer], granularity: str) -> list[str]:
    """The layers that do not fit a pattern; depthwise ones, which never do, by their number."""
    misfits = [layer for layer in left if not fits(layer.shape, granularity)]
    depthwise = sum(layer.kind == "depthwise" for layer in misfits)
    names = [layer.name for layer in misfits if layer.kind != "depthwise"]
    if depthwise:
        names.append(f"all {depthwise} depthwise layers")
    if not names:
        return []
    _, of = PATTERNS[granularity]
    return [f"Not cut to {granularity}, as inputs are no multiple of {of}: {', '.join(names)}."]


def _quoted(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return f"{shown} and others" if len(names) > SHOWN else shown


def left_alone(layers: Sequence[Layer]) -> list[str]:
    """Which layers rungs above batch norm leave as they are, as far as kinds and shapes tell."""
    attention = [layer.name for layer in layers if layer.kind == "attention"]
    large = [x.name for x in layers if x.name not in attention and _inputs(x) > MOST_INPUTS]
    said = []
    if attention:
        said.append(f"The ladder's upper rungs leave attention's weights: {_some(attention)}.")
    if large:
        said.append(f"Least squares leaves more than {MOST_INPUTS:,} inputs: {_some(large)}.")
    return said


def _inputs(layer: Layer) -> int:
    return math.prod(layer.shape[1:])


def _some(names: Sequence[str]) -> str:
    more = f" and {format_count(len(names) - NAMED, 'more layer')}" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

"""Sparsity allocation: how the target sparsity is distributed over the layers.

Where the number of pruned units of each layer follows from the sizes of the layers alone, it is
computed here; where it depends on the scores, the engine ranks them. Of all n units
`round(amount * n)` are pruned (`uniform`: of each layer).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pruning_core.common.errors import Share, SpecError
from pruning_core.methods.granularity import unit_noun
from pruning_core.methods.layers import units_to_keep
from pruning_core.methods.registry import Method, Registry

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class LayerUnits:
    """A layer: the shape of its weight, the number of its pruning units, and of pruned ones."""

    name: str
    shape: tuple[int, ...]
    units: int
    removed: int = 0


Counts = Callable[[Sequence[LayerUnits], float, Settings], list[int]]


def uniform(layers: Sequence[LayerUnits], amount: float, pruning: Settings) -> list[int]:
    """The same sparsity in every layer. Zhu and Gupta 2017, https://arxiv.org/abs/1710.01878"""
    return [
        grown(layer.removed, round(amount * layer.units), layer.units, f"of {layer.name}", pruning)
        for layer in layers
    ]


def erk(layers: Sequence[LayerUnits], amount: float, pruning: Settings) -> list[int]:
    """Erdős-Rényi-Kernel. Evci et al. 2020, https://arxiv.org/abs/1911.11134

    The density of a layer is proportional to the sum of its dimensions over their product, at
    most 1 and at least the minimum density.
    """
    total = sum(layer.units for layer in layers)
    pruned = check_total(layers, amount, pruning)
    most = [layer.units - layer.removed for layer in layers]
    kept = [units_to_keep(layer.units, pruning["min_density"]) for layer in layers]
    least = [min(pair) for pair in zip(kept, most, strict=True)]
    check_min_density(pruned, total - sum(least), total, pruning)
    weights = [sum(layer.shape) / math.prod(layer.shape) * layer.units for layer in layers]
    remaining = apportion(weights, total - pruned, least, most)
    return [layer.units - count for layer, count in zip(layers, remaining, strict=True)]


def custom(layers: Sequence[LayerUnits], amount: float, pruning: Settings) -> list[int]:
    """The custom sparsities, scaled so that the model reaches `amount`.

    Han et al. 2015, https://arxiv.org/abs/1506.02626, and Li et al. 2017,
    https://arxiv.org/abs/1608.08710, set sparsities per layer from a sensitivity analysis.

    Raises `SpecError` where a scaled sparsity would exceed 1.
    """
    sparsities = table_sparsities(pruning["layer_sparsities"], [layer.name for layer in layers])
    weights = [share * layer.units for share, layer in zip(sparsities, layers, strict=True)]
    pruned = check_total(layers, amount, pruning)
    if not pruned or not amount:
        return [layer.removed for layer in layers]
    scale = table_scale(layers, amount, pruning)
    if max(sparsities) * scale > 1 + 1e-9:
        raise SpecError(
            "pruning.layer_sparsities",
            "{target} is {scale} times the overall sparsity of the entries: '{layer}' would need a "
            "sparsity above {whole}. Lower the target to {possible}, or add entries for other "
            "layers.",
            target=Share(amount),
            scale=f"{scale:.4g}",
            layer=layers[sparsities.index(max(sparsities))].name,
            whole=Share(1.0),
            possible=Share.at_most(amount / (max(sparsities) * scale)),
        )
    return apportion(weights, pruned, [x.removed for x in layers], [x.units for x in layers])


def table_scale(layers: Sequence[LayerUnits], amount: float, pruning: Settings) -> float:
    """The factor of the custom sparsities at which the model reaches `amount`.

    Raises `SpecError` where they prune nothing.
    """
    sparsities = table_sparsities(pruning["layer_sparsities"], [layer.name for layer in layers])
    table = sum(share * layer.units for share, layer in zip(sparsities, layers, strict=True))
    if not table:
        raise SpecError(
            "pruning.layer_sparsities",
            "the entries prune nothing. Give a layer a sparsity above 0.",
        )
    return amount * sum(layer.units for layer in layers) / table


@dataclass(frozen=True)
class Allocation(Method):
    """A sparsity allocation.

    `counts` gives the pruned units of each layer from the sizes of the layers. Where it is None
    the implementation ranks the scores of all layers globally. `min_density` is true where
    the minimum density per layer is respected, `equal_sparsities` where all layers have the target
    sparsity, `layer_sparsities` where the custom sparsities are read, `squares_scores` where
    scores must not be negative, and `reads_sensitivity` where the sparsities of the layers follow
    from a sensitivity analysis of the baseline.
    """

    counts: Counts | None = None
    min_density: bool = False
    equal_sparsities: bool = False
    layer_sparsities: bool = False
    squares_scores: bool = False
    reads_sensitivity: bool = False


ALLOCATIONS = Registry(
    "sparsity allocation",
    (
        Allocation(
            "uniform",
            "Uniform",
            "Every layer gets the target sparsity.",
            "Zhu and Gupta 2017",
            "https://arxiv.org/abs/1710.01878",
            counts=uniform,
            equal_sparsities=True,
        ),
        Allocation(
            "global",
            "Global",
            "One threshold for the scores of all layers.",
            "LeCun et al. 1990",
            "https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html",
            "pruning_core.engine.masks.selection:global_threshold",
            min_density=True,
        ),
        Allocation(
            "erk",
            "ERK",
            "Erdős-Rényi-Kernel: the density of a layer is proportional to the sum of its "
            "dimensions divided by their product, so small layers stay denser.",
            "Evci et al. 2020",
            "https://arxiv.org/abs/1911.11134",
            counts=erk,
            min_density=True,
        ),
        Allocation(
            "lamp",
            "LAMP",
            "One threshold for layer-adaptive magnitude scores: each squared score divided by "
            "the sum of itself and all larger squared scores of its layer.",
            "Lee et al. 2021",
            "https://arxiv.org/abs/2010.07611",
            "pruning_core.engine.masks.selection:lamp",
            min_density=True,
            squares_scores=True,
        ),
        Allocation(
            "custom",
            "Custom per layer",
            "A sparsity for each layer, scaled so that the model reaches the target.",
            "Han et al. 2015",
            "https://arxiv.org/abs/1506.02626",
            counts=custom,
            layer_sparsities=True,
        ),
        Allocation(
            "budget",
            "Budget (least loss)",
            "The sparsities whose losses in a sensitivity analysis of the baseline have the least "
            "sum, at the target sparsity.",
            "Frantar and Alistarh 2022",
            "https://arxiv.org/abs/2201.13096",
            reads_sensitivity=True,
        ),
    ),
)
MIN_DENSITY_ALLOCATIONS = tuple(n for n, method in ALLOCATIONS.items() if method.min_density)


def table_sparsities(entries: Sequence[str], names: Sequence[str]) -> list[float]:
    """The sparsity of each layer from entries `pattern=sparsity`; the last matching entry counts.

    Raises `SpecError` for an entry that cannot be read or matches no name.
    """
    sparsities = dict.fromkeys(names, 0.0)
    for entry in entries:
        pattern, sparsity = table_entry(entry)
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            raise SpecError(
                "pruning.layer_sparsities",
                "'{pattern}' matches no prunable layer. {close}",
                pattern=pattern,
                close=suggestion(pattern, names),
            )
        sparsities.update(dict.fromkeys(matching, sparsity))
    return list(sparsities.values())


def table_entry(entry: str) -> tuple[str, float]:
    """`pattern=sparsity` as its two parts; a sparsity is a fraction, or percent with the sign."""
    pattern, _, text = (part.strip() for part in entry.rpartition("="))
    try:
        sparsity = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        sparsity = math.nan
    if not pattern or not 0 <= sparsity < 1:
        raise SpecError(
            "pruning.layer_sparsities",
            "{entry} is not an entry such as 'features.*=0.9' or 'features.*=90%': a name or a "
            "pattern, an equals sign, and a sparsity from 0 to less than 1.",
            entry=repr(entry),
        )
    return pattern, sparsity


def suggestion(pattern: str, names: Sequence[str]) -> str:
    """A sentence with names similar to a pattern that matches nothing, or with two examples."""
    if close := difflib.get_close_matches(pattern, names, n=3):
        return f"Did you mean {' or '.join(close)}?"
    return f"Examples: {' and '.join(names[:2])}." if names else ""


def apportion(
    weights: Sequence[float], total: int, least: Sequence[int], most: Sequence[int]
) -> list[int]:
    """Whole numbers that add up to `total`, proportional to the weights within their bounds.

    Each is rounded down; the units that are then missing go to the largest remainders
    (Hamilton's method).
    """
    scale = _scale(weights, total, least, most)
    exact = _scaled(weights, scale, least, most)
    counts = [math.floor(value) for value in exact]
    for i in sorted(range(len(counts)), key=lambda i: counts[i] - exact[i]):
        counts[i] += sum(counts) < total and counts[i] < most[i]
    return counts


def _scale(
    weights: Sequence[float], total: int, least: Sequence[int], most: Sequence[int]
) -> float:
    """The factor at which the bounded weights add up to `total`, by bisection.

    The bounded sum grows with the factor, so 100 halvings reach the precision of a float.
    """
    ends = zip(weights, most, strict=True)
    low, high = 0.0, max((end / weight for weight, end in ends if weight), default=0.0)
    for _ in range(100):
        middle = (low + high) / 2
        if sum(_scaled(weights, middle, least, most)) < total:
            low = middle
        else:
            high = middle
    return high


def _scaled(
    weights: Sequence[float], scale: float, least: Sequence[int], most: Sequence[int]
) -> list[float]:
    bounds = zip(weights, least, most, strict=True)
    return [min(max(scale * weight, low), high) for weight, low, high in bounds]


def check_total(layers: Sequence[LayerUnits], amount: float, pruning: Settings) -> int:
    """The number of units to prune in all, as `grown` returns it."""
    total = sum(layer.units for layer in layers)
    removed = sum(layer.removed for layer in layers)
    return grown(removed, round(amount * total), total, "of all layers", pruning)


def grown(removed: int, count: int, total: int, where: str, pruning: Settings) -> int:
    """The number of units to prune, where `removed` are pruned already: never fewer than these.

    Raises `SpecError` where `count` is less, unless `pruning` says to `keep_zeros`.
    """
    noun = unit_noun(pruning)
    if removed > count and not pruning.get("keep_zeros"):
        raise SpecError(
            "amount",
            "{removed} of the {total} {noun} {where} are already pruned, but this sparsity prunes "
            "only {count}. Pruned {noun} are not restored; give a higher sparsity.",
            removed=f"{removed:,}",
            total=f"{total:,}",
            count=f"{count:,}",
            noun=noun,
            where=where,
        )
    return max(removed, count)


def check_min_density(count: int, most: int, total: int, pruning: Settings) -> None:
    """Refuse to prune more than the minimum density allows. Raises `SpecError`."""
    if count > most:
        raise SpecError(
            "pruning.min_density",
            "every layer keeps {density} of its {units}, so at most {possible} can be pruned, but "
            "the target is {target}. Lower the minimum density or the sparsity.",
            density=Share(pruning["min_density"]),
            units=unit_noun(pruning),
            possible=Share.at_most(most / total),
            target=Share(round(count / total, 4)),
        )

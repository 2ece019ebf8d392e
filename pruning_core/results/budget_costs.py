"""What each layer takes of a budget at a sparsity: zeros, bytes, multiply-accumulates, time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from pruning_core.common.errors import SpecError
from pruning_core.methods.granularity import block_of
from pruning_core.methods.layers import Layer
from pruning_core.methods.runtimes import SPARSE_KERNELS
from pruning_core.planning.inspections import model_facts
from pruning_core.planning.size_estimate import expected_size, layer_bytes
from pruning_core.planning.stage import FilesReader
from pruning_core.results.labels import short
from pruning_core.results.sensitivity import sparsity_texts
from pruning_core.results.sparse_speedup import ALL_LAYERS
from pruning_core.settings.spec import Spec

Cost = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class BudgetFacts:
    """What the costs follow from.

    `analysis` is a `sensitivity_frame`. `layers` are all layers of the model, `parameters` is the
    number of its parameters. `kernels` is a `sparse_speedup_frame` of the model, empty where
    nothing was timed.
    """

    analysis: pd.DataFrame
    spec: Spec = field(default_factory=Spec)
    layers: tuple[Layer, ...] = ()
    parameters: int = 0
    kernels: pd.DataFrame = field(default_factory=pd.DataFrame)


def budget_facts(
    analysis: pd.DataFrame, spec: Spec, store: FilesReader, kernels: pd.DataFrame
) -> BudgetFacts:
    """The facts on the model of a spec; `analysis` and `kernels` are as in `BudgetFacts`."""
    facts = model_facts(spec, store)
    layers = tuple(Layer(**layer) for layer in facts.layers) if facts else ()
    return BudgetFacts(analysis, spec, layers, facts.parameters if facts else 0, kernels)


@dataclass(frozen=True)
class Costs:
    """What each layer, by name, takes of a budget at sparsities (N,), and all else together.

    `total` gives the cost of sparsities by layer, where it is not the sum.
    """

    layers: dict[str, Cost]
    rest: float = 0.0
    total: Callable[[Mapping[str, float]], float] | None = None

    def of(self, sparsities: Mapping[str, float]) -> float:
        """The cost of a model with these sparsities by layer."""
        if self.total is not None:
            return self.total(sparsities)
        costs = (self.layers[n](np.array([share]))[0] for n, share in sparsities.items())
        return float(sum(costs)) + self.rest


def _of_layers(analysis: pd.DataFrame, column: str) -> dict[str, float]:
    values = analysis.groupby("layer", sort=False)[column].first()
    return {str(name): float(value) for name, value in values.items()}


def _remaining(size: float) -> Cost:
    return lambda sparsities: size * (1 - sparsities)


def zeros(facts: BudgetFacts) -> Costs:
    """The share of all pruning units that remains."""
    units = _of_layers(facts.analysis, "units")
    total = sum(units.values())
    return Costs({name: _remaining(count / total) for name, count in units.items()})


def macs(facts: BudgetFacts) -> Costs:
    """Multiply-accumulates for one image with weights that are not zero."""
    by_layer = _of_layers(facts.analysis, "macs")
    everything = float(facts.analysis["model_macs"].iloc[0])
    costs = {name: _remaining(count) for name, count in by_layer.items()}
    return Costs(costs, everything - sum(by_layer.values()))


def file_bytes(facts: BudgetFacts) -> Costs:
    """The expected bytes of the sparse file (see `size_estimate`)."""
    layers = {layer.name: layer for layer in facts.layers}
    names = [str(name) for name in facts.analysis["layer"].unique()]

    def of_layer(layer: Layer) -> Cost:
        return lambda sparsities: np.array(
            [layer_bytes(facts.spec, layer, float(sparsity)) for sparsity in sparsities]
        )

    def of_model(sparsities: Mapping[str, float]) -> float:
        sizes = {name: layers[name].size for name in names}
        pruned = sum(sparsities.get(name, 0.0) * size for name, size in sizes.items())
        table = sparsity_texts({name: share for name, share in sparsities.items() if share})
        pruning = replace(
            facts.spec.pruning,
            allocation="custom" if table else "uniform",
            layer_sparsities=table,
        )
        spec = replace(facts.spec, pruning=pruning)
        overall = pruned / sum(sizes.values())
        return expected_size(spec, facts.layers, facts.parameters, overall).bytes

    costs = {name: of_layer(layers[name]) for name in names}
    dense_layers = sum(float(cost(np.zeros(1))[0]) for cost in costs.values())
    return Costs(costs, of_model({}) - dense_layers, of_model)


def milliseconds(facts: BudgetFacts) -> Costs:
    """The time of the layers whose kernels were timed, each by its fastest kernel.

    Kernels for blocks of output channels count where the granularity prunes such blocks.
    A layer that is not timed costs nothing at any sparsity. Raises `SpecError` where no layer was
    timed.
    """
    kernels = facts.kernels
    # The kernels are timed by module, and an analysis has the names of the weights.
    names = {short(str(name)): str(name) for name in facts.analysis["layer"].unique()}
    if kernels.empty or not names.keys() & set(kernels["layer"]):
        raise SpecError(
            "budget",
            "the kernels of this model are not timed on this machine yet. Measure the break-even "
            "sparsity of its baseline first.",
        )
    costs, rest = dict.fromkeys(names.values(), _remaining(0.0)), 0.0
    block = block_of(facts.spec.pruning.granularity) or 1
    usable = kernels["kernel"].map(lambda name: SPARSE_KERNELS[name].block in (1, block))
    timed = kernels[usable & (kernels["layer"] != ALL_LAYERS)]
    for layer, rows in timed.groupby("layer", sort=False):
        dense = float(rows["dense_us"].iloc[0]) / 1e3
        if layer not in names:
            rest += dense
            continue
        fastest = rows.groupby("sparsity")["sparse_us"].min() / 1e3
        # Below the lowest timed sparsity, and where no sparse kernel is faster, it runs dense.
        shares = np.array([0.0, *fastest.index])
        times = np.minimum(dense, np.array([dense, *fastest]))
        costs[names[str(layer)]] = _stairs(shares, times)
    return Costs(costs, rest)


def _stairs(shares: np.ndarray, times: np.ndarray) -> Cost:
    """The time at the highest timed sparsity that a sparsity reaches: nothing is extrapolated."""

    def cost(sparsities: np.ndarray) -> np.ndarray:
        places = np.searchsorted(shares, sparsities + 1e-9, side="right") - 1
        return times[places]

    return cost

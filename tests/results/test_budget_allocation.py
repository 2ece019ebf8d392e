"""Allocation by a budget of zeros, bytes, multiply-accumulates or time, from one analysis."""

from __future__ import annotations

import pandas as pd
import pytest

from pruning_core.common.errors import SpecError
from pruning_core.methods.budgets import BUDGETS
from pruning_core.methods.layers import Layer
from pruning_core.results.budget_allocation import allocate_within, least_loss_sparsities
from pruning_core.results.budget_costs import BudgetFacts
from pruning_core.results.sparse_speedup import ALL_LAYERS
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec

LAYERS = (
    Layer("large.weight", "conv", "", (100, 80, 1, 1), 8_000),
    Layer("small.weight", "conv", "", (20, 100, 1, 1), 2_000),
)
PARAMETERS = 12_000
SPARSITIES = (0.0, 0.5, 0.9)
# The small layer is computed at many positions and loses little; the large one loses much.
LOSSES = {"large.weight": (1.0, 1.1, 1.9), "small.weight": (1.0, 1.01, 1.2)}
MACS = {"large.weight": 8_000, "small.weight": 200_000}


def analysis(**columns: dict[str, tuple[float, ...]]) -> pd.DataFrame:
    """A sensitivity analysis of two layers; further columns by layer and sparsity."""
    rows = []
    for layer in LAYERS:
        for i, sparsity in enumerate(SPARSITIES):
            row = {"layer": layer.name, "units": layer.size, "sparsity": sparsity}
            row |= {"loss": LOSSES[layer.name][i], "macs": MACS[layer.name], "model_macs": 210_000}
            rows.append(row | {name: values[layer.name][i] for name, values in columns.items()})
    return pd.DataFrame(rows)


def facts(frame: pd.DataFrame | None = None, kernels: pd.DataFrame | None = None) -> BudgetFacts:
    return BudgetFacts(
        analysis() if frame is None else frame,
        Spec(pruning=PruningSpec(layers="all")),
        LAYERS,
        PARAMETERS,
        pd.DataFrame() if kernels is None else kernels,
    )


@pytest.mark.parametrize(
    ("budget", "limit"), [("zeros", 0.7), ("bytes", 20_000.0), ("macs", 60_000.0)]
)
def test_a_budget_is_kept_and_nearly_used(budget: str, limit: float) -> None:
    chosen = allocate_within(facts(), budget, limit)
    if BUDGETS[budget].most:
        assert 0.9 * limit <= chosen.cost <= limit * (1 + 1e-6)
    else:
        assert 1 - 1.02 * limit <= chosen.cost <= 1 - limit + 1e-6
    assert set(chosen.sparsities) == {layer.name for layer in LAYERS}


def test_each_budget_prunes_where_it_costs_most_for_the_loss() -> None:
    by_macs = allocate_within(facts(), "macs", 60_000).sparsities
    assert by_macs["small.weight"] > 0.7
    assert by_macs["large.weight"] < by_macs["small.weight"]
    by_zeros = least_loss_sparsities(analysis(), 0.5)
    overall = (8_000 * by_zeros["large.weight"] + 2_000 * by_zeros["small.weight"]) / 10_000
    assert overall == pytest.approx(0.5, abs=0.005)
    assert overall >= 0.5


def test_losses_after_least_squares_count_where_they_are_measured() -> None:
    corrected: dict[str, tuple[float, ...]] = {
        "large.weight": (1.0, 1.0, 1.01),
        "small.weight": (1.0, 1.5, float("nan")),
    }
    frame = analysis(corrected_loss=corrected)
    chosen = allocate_within(facts(frame), "zeros", 0.7)
    assert chosen.corrected
    assert chosen.sparsities["large.weight"] > chosen.sparsities["small.weight"]


def test_the_time_of_a_layer_is_that_of_its_fastest_kernel_for_the_granularity() -> None:
    """The large layer takes 1.0 ms dense; at 90 % 0.3 ms, in blocks of 4 only 0.1 ms."""
    single = allocate_within(facts(kernels=timed()), "ms", 1.3)
    assert single.sparsities["large.weight"] == 0.9
    with pytest.raises(SpecError, match=r"at least 1\.3 ms"):
        allocate_within(facts(kernels=timed()), "ms", 1.2)
    blocks = Spec(pruning=PruningSpec(layers="all", granularity="block:4"))
    in_blocks = BudgetFacts(analysis(), blocks, LAYERS, PARAMETERS, timed())
    assert allocate_within(in_blocks, "ms", 1.2).cost == pytest.approx(1.1)


def timed() -> pd.DataFrame:
    """The times of kernels as the engine writes them: by the name of the module."""
    rows = [("large", "mnn_weights", 0.5, 1000.0, 1200.0)]
    rows += [("large", "mnn_weights", 0.9, 1000.0, 300.0)]
    rows += [("large", "mnn_blocks", 0.9, 1000.0, 100.0)]
    rows += [("stem", "mnn_weights", 0.9, 1000.0, 200.0)]
    rows += [(ALL_LAYERS, "mnn_weights", 0.9, 2000.0, 500.0)]
    return pd.DataFrame(rows, columns=["layer", "kernel", "sparsity", "dense_us", "sparse_us"])


@pytest.mark.parametrize(
    ("budget", "limit", "possible"),
    [("zeros", 0.95, "at most 90"), ("bytes", 1.0, "at least "), ("macs", 1.0, "at least 22.8 k")],
)
def test_an_impossible_budget_says_what_is_possible(
    budget: str, limit: float, possible: str
) -> None:
    with pytest.raises(SpecError, match=possible):
        allocate_within(facts(), budget, limit)


def test_time_needs_kernels_that_were_timed() -> None:
    with pytest.raises(SpecError, match="not timed"):
        allocate_within(facts(), "ms", 1.0)

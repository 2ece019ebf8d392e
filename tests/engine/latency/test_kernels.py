"""Dense and sparse kernels on the layers of a model: their products, not their times."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.export.mnn_files import BLOCK
from pruning_core.engine.latency.kernels import ProductShape, product_shapes, randomly_pruned
from pruning_core.engine.latency.sparse_speedup import fastest_dense, total_rows
from pruning_core.engine.models.build import make
from pruning_core.methods.registry import Registry
from pruning_core.methods.runtimes import (
    DENSE_KERNELS,
    SPARSE_KERNELS,
    Kernel,
    dense_kernels,
    installed_kernels,
)
from pruning_core.planning.inspections import model_facts
from pruning_core.planning.plan import plan
from pruning_core.planning.timing import sparse_speedup_stage
from pruning_core.results.budget_costs import budget_facts, milliseconds
from pruning_core.results.labels import short
from pruning_core.results.sparse_speedup import ALL_LAYERS, break_even, sparse_speedup_frame
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.workers import TINY, serve

UNTRAINED = replace(
    TINY,
    baseline_epochs=0,
    one_shot=OneShotSpec((0.9,), 0),
    iterative=IterativeSpec(enabled=False),
)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


KERNELS = [(kernels, name) for kernels in (DENSE_KERNELS, SPARSE_KERNELS) for name in kernels]


@pytest.mark.parametrize(("kernels", "name"), KERNELS)
@pytest.mark.parametrize("pixels", [1, 6])
def test_all_kernels_give_the_same_product(
    kernels: Registry[Kernel], name: str, pixels: int
) -> None:
    weight, right = (
        randomly_pruned(random(5, 8), 0.5, torch.Generator().manual_seed(0)),
        random(8, pixels),
    )
    if package := kernels[name].package:
        pytest.importorskip(package)
    for values in (weight, 2 * weight):
        (call,) = kernels.load(name)([values], right)
        torch.testing.assert_close(torch.as_tensor(call()).reshape(5, pixels), values @ right)


@pytest.mark.parametrize("block", [1, 4])
def test_the_sparsity_is_exact(block: int) -> None:
    weight = random(10, 10)
    pruned = randomly_pruned(weight, 0.9, torch.Generator().manual_seed(0), block)
    assert torch.equal(pruned[pruned != 0], weight[pruned != 0])
    assert torch.count_nonzero(weight) == 100
    kept = torch.stack([rows.any(dim=0) for rows in (pruned != 0).split(block)])
    assert kept.sum() == round(0.1 * kept.numel())
    for rows, any_kept in zip((pruned != 0).split(block), kept, strict=True):
        assert torch.equal(rows.all(dim=0), any_kept)


def test_the_dense_kernels_are_those_of_the_same_packages() -> None:
    assert dense_kernels(["torch_csr", "scipy_csr"]) == ("torch_mm", "torch_conv")
    assert dense_kernels(["mnn_blocks"]) == ("torch_mm", "torch_conv", "mnn_conv")
    assert SPARSE_KERNELS["mnn_blocks"].block == BLOCK


def test_the_shapes_are_those_of_the_layers_at_that_size() -> None:
    shapes = product_shapes(make("mobilenet_v2", 10), torch.zeros(1, 3, 64, 64))
    assert shapes["features.1.conv.1"] == ProductShape(16, 32, 32 * 32)
    assert shapes["features.18.0"] == ProductShape(1280, 320, 4)
    assert shapes["classifier.1"] == ProductShape(10, 1280, 1)
    assert not any(".conv.0.0" in name for name in shapes if name.startswith("features.1."))
    assert not product_shapes(torch.nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8))


def test_the_total_uses_the_fastest_dense_kernel_of_each_shape() -> None:
    def times(value: float, rounds: int) -> np.ndarray:
        return np.full((rounds, 2), value)

    first, second = ProductShape(1, 2, 3), ProductShape(4, 5, 6)
    measured = {
        first: {("a", 0.0): times(3, 9), ("b", 0.0): times(2, 9), ("k", 0.5): times(5, 9)},
        second: {("a", 0.0): times(10, 7), ("b", 0.0): times(20, 7), ("k", 0.5): times(1, 7)},
    }
    assert [fastest_dense(values) for values in measured.values()] == ["b", "a"]
    (row,) = total_rows(measured, Counter({first: 3, second: 1}))
    assert (row["layer"], row["kernel"], row["sparsity"]) == (ALL_LAYERS, "k", 0.5)
    assert (row["dense_us"], row["sparse_us"]) == (0.016, 0.016)
    assert (row["ratio"], row["ratio_low"], row["ratio_high"], row["rounds"]) == (1, 1, 1, 7)


def test_the_layers_of_a_model_are_measured(tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = Cache(tmp_path_factory.mktemp("sparse_speedup"))
    cache.prepare()
    queue, store = Queue(cache.queue), Store(cache)
    queue.submit(UNTRAINED, "sparse_speedup")
    serve(cache)
    model = plan(UNTRAINED, store).models[-1].key
    stage = sparse_speedup_stage(model, sparsities=(0.5, 0.99), rounds=6, seconds=0.01)
    assert sparse_speedup_frame(stage, store).empty
    queue.add([stage])
    serve(cache)
    row = queue.stage(stage.key)
    assert row is not None
    assert row.status == "done", row.error
    frame = sparse_speedup_frame(stage, store)
    layers = set(product_shapes(make("mobilenet_v2", 10, 0.35), torch.zeros(1, 3, 32, 32)))
    assert set(frame["layer"]) == {ALL_LAYERS, *layers}
    # A budget of time finds them by the names of the weights.
    facts = model_facts(UNTRAINED, store)
    assert facts is not None
    analysis = pd.DataFrame({"layer": [layer["name"] for layer in facts.layers]})
    costs = milliseconds(budget_facts(analysis, UNTRAINED, store, frame)).layers
    zeros = np.zeros(1)
    timed = {short(name) for name, cost in costs.items() if float(cost(zeros)[0]) > 0}
    assert timed == set(layers)
    assert len(frame) == (len(layers) + 1) * 2 * len(installed_kernels())
    assert (frame["speedup_low"] <= frame["speedup"]).all()
    assert (frame["speedup"] <= frame["speedup_high"]).all()
    same_shape = frame[frame["layer"] != ALL_LAYERS].groupby(
        ["output_channels", "input_channels", "positions", "kernel", "sparsity"]
    )
    assert (same_shape["sparse_us"].nunique() == 1).all()
    assert break_even(frame, "scipy_csr").highest == 0.99

"""Dense and sparse kernels on the layers of a model: their products, not their times."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.latency.kernels import ProductShape, product_shapes, randomly_pruned
from pruning_core.engine.latency.sparse_speedup import fastest_dense, total_rows
from pruning_core.engine.models.build import make
from pruning_core.methods.registry import Method, Registry
from pruning_core.methods.runtimes import DENSE_KERNELS, SPARSE_KERNELS
from pruning_core.planning.plan import plan
from pruning_core.planning.timing import sparse_speedup_stage
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
    kernels: Registry[Method], name: str, pixels: int
) -> None:
    weight, right = (
        randomly_pruned(random(5, 8), 0.5, torch.Generator().manual_seed(0)),
        random(8, pixels),
    )
    product = torch.as_tensor(kernels.load(name)(weight, right)()).reshape(5, pixels)
    torch.testing.assert_close(product, weight @ right)


def test_the_sparsity_is_exact() -> None:
    weight = random(10, 10)
    pruned = randomly_pruned(weight, 0.9, torch.Generator().manual_seed(0))
    assert torch.count_nonzero(pruned) == 10
    assert torch.equal(pruned[pruned != 0], weight[pruned != 0])
    assert torch.count_nonzero(weight) == 100


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
    assert len(frame) == (len(layers) + 1) * 2 * len(SPARSE_KERNELS)
    assert (frame["speedup_low"] <= frame["speedup"]).all()
    assert (frame["speedup"] <= frame["speedup_high"]).all()
    same_shape = frame[frame["layer"] != ALL_LAYERS].groupby(
        ["output_channels", "input_channels", "positions", "kernel", "sparsity"]
    )
    assert (same_shape["sparse_us"].nunique() == 1).all()
    assert break_even(frame, "scipy_csr").highest == 0.99

"""The stage that times sparse kernels against dense ones, for the break-even sparsity.

The shapes are those of the model's own layers. Gale et al. 2020 draw such curves for GPUs ("Sparse
GPU Kernels for Deep Learning", https://arxiv.org/abs/2006.10901).
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import torch

from pruning_core.common.formatting import format_count
from pruning_core.common.paired_timing import Ratio, Times, paired_ratio, summed_ratio
from pruning_core.engine.latency.interleaved import (
    Budget,
    Call,
    interleaved_times,
    no_garbage_collection,
)
from pruning_core.engine.latency.kernels import ProductShape, product_shapes, randomly_pruned
from pruning_core.engine.latency.stage import machine_facts
from pruning_core.engine.latency.timed_models import load_timed_model
from pruning_core.engine.models import devices
from pruning_core.methods.runtimes import DENSE_KERNELS, SPARSE_KERNELS, dense_kernels
from pruning_core.planning.measurement_types import SparseSpeedupResult, SparseSpeedupSettings
from pruning_core.planning.timing import check_machine
from pruning_core.results.sparse_speedup import ALL_LAYERS
from pruning_core.storage.stage_context import Context, StageError

THREADS = 1
TOLERANCE = 1e-3  # relative to the largest value of a product
KernelTimes = dict[tuple[str, float], Times]  # by kernel and sparsity, which is 0 for dense ones


def sparse_speedup(context: Context[SparseSpeedupSettings]) -> SparseSpeedupResult:
    """Time each layer shape of the model once. Layers of the same shape share their times."""
    settings = context.settings
    started = time.perf_counter()
    check_machine(settings.machine)
    devices.prepare(THREADS)
    model = load_timed_model(context.store, context.row.parent, settings.image_size)
    packages = [SPARSE_KERNELS[name].package for name in settings.kernels]
    layers = product_shapes(model.source.model, model.source.example[:1])
    if not layers:
        raise StageError("The network has no 1x1 convolution and no linear layer to time.")
    counts = Counter(layers.values())
    measured: dict[ProductShape, KernelTimes] = {}
    with no_garbage_collection():
        for i, shape in enumerate(counts):
            pixels = format_count(shape.pixels, "pixel")
            context.progress.say(i / len(counts), f"Weight {shape.rows}x{shape.columns}, {pixels}")
            measured[shape] = _measure(shape, settings)
    rows = [
        row for name, shape in layers.items() for row in layer_rows(name, shape, measured[shape])
    ]
    return SparseSpeedupResult(
        rows=[*total_rows(measured, counts), *rows],
        image_size=model.size,
        circumstances=machine_facts(*filter(None, packages)),
        seconds=time.perf_counter() - started,
    )


@torch.inference_mode()
def _measure(shape: ProductShape, settings: SparseSpeedupSettings) -> KernelTimes:
    """Nanoseconds of each kernel at each sparsity, on a random weight of this shape."""
    generator = torch.Generator().manual_seed(settings.seed)
    weight = torch.randn(shape.rows, shape.columns, generator=generator)
    pixels = torch.randn(shape.columns, shape.pixels, generator=generator)
    calls: dict[tuple[str, float], Call] = {}
    for name in dense_kernels(settings.kernels):
        (calls[name, 0.0],) = DENSE_KERNELS.load(name)([weight], pixels)
    # Kernels with blocks of one size get the same masks.
    masks: dict[int, list[torch.Tensor]] = {}
    for name in settings.kernels:
        block = SPARSE_KERNELS[name].block
        if block not in masks:
            masks[block] = [
                randomly_pruned(weight, sparsity, generator, block)
                for sparsity in settings.sparsities
            ]
        products = SPARSE_KERNELS.load(name)(masks[block], pixels)
        for sparsity, pruned, call in zip(settings.sparsities, masks[block], products, strict=True):
            calls[name, sparsity] = call
            _check_product(call(), pruned @ pixels, name)
    return interleaved_times(calls, Budget(settings.rounds, settings.seconds))


def _check_product(product: Any, expected: torch.Tensor, kernel: str) -> None:
    """Raise `StageError` for a kernel that computes a wrong product."""
    error = float((torch.as_tensor(product).reshape(expected.shape) - expected).abs().max())
    if not error <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise StageError(
            f"{SPARSE_KERNELS[kernel].title} computes wrong products on this machine: the error is "
            f"{error:.3g}."
        )


def fastest_dense(times: KernelTimes) -> str:
    """The dense kernel with the smallest median time."""
    dense = {name: values for (name, sparsity), values in times.items() if sparsity == 0}
    return min(dense, key=lambda name: float(np.median(dense[name])))


def total_rows(
    measured: dict[ProductShape, KernelTimes], counts: Counter[ProductShape]
) -> list[dict[str, Any]]:
    """A row for each kernel and sparsity with the sum over all layers.

    The dense time of each shape is that of its fastest dense kernel.
    """
    dense = {shape: times[fastest_dense(times), 0.0] for shape, times in measured.items()}
    dense_us = sum(counts[shape] * _microseconds(times) for shape, times in dense.items())
    sparse_runs = [run for run in next(iter(measured.values())) if run[1] > 0]
    rows = []
    for kernel, sparsity in sparse_runs:
        sparse = {shape: times[kernel, sparsity] for shape, times in measured.items()}
        ratio = summed_ratio([(counts[s], dense[s], sparse[s]) for s in measured])
        sparse_us = sum(counts[s] * _microseconds(times) for s, times in sparse.items())
        columns = {"layer": ALL_LAYERS, "kernel": kernel, "sparsity": sparsity, "dense_kernel": ""}
        rows.append({**columns, **_times_and_ratio(dense_us, sparse_us, ratio)})
    return rows


def layer_rows(name: str, shape: ProductShape, times: KernelTimes) -> list[dict[str, Any]]:
    """A row for each kernel and sparsity of a layer."""
    dense_kernel = fastest_dense(times)
    dense = times[dense_kernel, 0.0]
    rows = []
    for (kernel, sparsity), sparse in times.items():
        if sparsity > 0:
            columns = {"layer": name, **vars(shape), "kernel": kernel, "sparsity": sparsity}
            ratio = paired_ratio(dense, sparse)
            values = _times_and_ratio(_microseconds(dense), _microseconds(sparse), ratio)
            rows.append({**columns, "dense_kernel": dense_kernel, **values})
    return rows


def _times_and_ratio(dense_us: float, sparse_us: float, ratio: Ratio) -> dict[str, Any]:
    return {
        "dense_us": dense_us,
        "sparse_us": sparse_us,
        "ratio": ratio.median,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "rounds": ratio.rounds,
    }


def _microseconds(times_ns: Times) -> float:
    return float(np.median(times_ns)) / 1e3

"""The stage that finds out where zeros begin to pay, in the shapes of a model's own layers.

Gale et al. 2020 ("Sparse GPU Kernels for Deep Learning") draw the same curve for GPUs.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import torch

from pruning_core.common.formatting import format_count
from pruning_core.common.paired_timing import Ratio, Times, paired_ratio, summed_ratio
from pruning_core.engine.latency.interleaved import Budget, Call, interleaved_times
from pruning_core.engine.latency.kernels import ProductShape, product_shapes, randomly_pruned
from pruning_core.engine.latency.stage import machine_facts
from pruning_core.engine.latency.timed_models import load_timed_model
from pruning_core.engine.models import devices
from pruning_core.methods.runtimes import DENSE_KERNELS, SPARSE_KERNELS
from pruning_core.planning.timing import check_machine
from pruning_core.results.sparse_speedup import ALL_LAYERS
from pruning_core.storage.stage_context import Context, StageError

THREADS = 1
TOLERANCE = 1e-3
Key = tuple[str, float]  # a kernel and its sparsity; the dense product has sparsity 0
Measured = dict[Key, Times]


def sparse_speedup(context: Context) -> dict[str, Any]:
    """Time each shape of layer once, and give every layer of that shape its times."""
    settings, begun = context.settings, time.perf_counter()
    check_machine(settings)
    devices.prepare(THREADS)
    found = load_timed_model(context.store, context.row.parent, {**settings, "images": 1})
    layers = product_shapes(found.source.model, found.source.example[:1])
    if not layers:
        raise StageError("The network has no 1x1 convolution and no linear layer to time.")
    counts = Counter(layers.values())
    measured: dict[ProductShape, Measured] = {}
    for i, shape in enumerate(counts):
        title = f"{shape.rows}x{shape.columns} times {format_count(shape.pixels, 'pixel')}"
        context.progress.say(i / len(counts), title)
        measured[shape] = _measure(shape, settings)
    rows = [
        row for name, shape in layers.items() for row in layer_rows(name, shape, measured[shape])
    ]
    return {
        "rows": [*total_rows(measured, counts), *rows],
        "image_size": found.size,
        "notes": [],
        "circumstances": machine_facts("scipy"),
        "seconds": time.perf_counter() - begun,
    }


@torch.inference_mode()
def _measure(shape: ProductShape, settings: dict[str, Any]) -> Measured:
    """Nanoseconds of every product of a shape; the dense one is the quickest of its kind."""
    generator = torch.Generator().manual_seed(settings["seed"])
    weight = torch.randn(shape.rows, shape.columns, generator=generator)
    pixels = torch.randn(shape.columns, shape.pixels, generator=generator)
    jobs: dict[Key, Call] = {
        (name, 0.0): DENSE_KERNELS.load(name)(weight, pixels) for name in DENSE_KERNELS
    }
    for sparsity in settings["sparsities"]:
        thin = randomly_pruned(weight, sparsity, generator)
        for kernel in settings["kernels"]:
            jobs[kernel, sparsity] = SPARSE_KERNELS.load(kernel)(thin, pixels)
            _check(jobs[kernel, sparsity](), thin @ pixels, kernel)
    return interleaved_times(jobs, Budget(settings["rounds"], settings["seconds"]))


def _check(found: Any, wanted: torch.Tensor, kernel: str) -> None:
    """A product that is wrong is not timed."""
    off = float((torch.as_tensor(found) - wanted).abs().max())
    if not off <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise StageError(f"The product {kernel} is off by {off:.3g} on this machine.")


def fastest_dense(measured: Measured) -> str:
    """The dense product with the smallest median."""
    dense = {name: times for (name, sparsity), times in measured.items() if sparsity == 0}
    return min(dense, key=lambda name: float(np.median(dense[name])))


def total_rows(
    measured: dict[ProductShape, Measured], counts: Counter[ProductShape]
) -> list[dict[str, Any]]:
    """Rows of all layers together, each with its own quickest dense product."""
    dense = {shape: found[fastest_dense(found), 0.0] for shape, found in measured.items()}
    keys = [key for key in next(iter(measured.values())) if key[1] > 0]
    dense_us = sum(counts[shape] * _microseconds(times) for shape, times in dense.items())
    rows = []
    for kernel, sparsity in keys:
        sparse = {shape: found[kernel, sparsity] for shape, found in measured.items()}
        ratio = summed_ratio([(counts[s], dense[s], sparse[s]) for s in measured])
        sparse_us = sum(counts[s] * _microseconds(times) for s, times in sparse.items())
        about = {"layer": ALL_LAYERS, "kernel": kernel, "sparsity": sparsity, "dense_kernel": ""}
        rows.append({**about, **_row(dense_us, sparse_us, ratio)})
    return rows


def layer_rows(name: str, shape: ProductShape, measured: Measured) -> list[dict[str, Any]]:
    """A row for each kernel and sparsity of a layer."""
    dense = fastest_dense(measured)
    reference = measured[dense, 0.0]
    rows = []
    for (kernel, sparsity), times in measured.items():
        if sparsity > 0:
            about = {"layer": name, **vars(shape), "kernel": kernel, "sparsity": sparsity}
            ratio = paired_ratio(reference, times)
            found = _row(_microseconds(reference), _microseconds(times), ratio)
            rows.append({**about, "dense_kernel": dense, **found})
    return rows


def _row(dense_us: float, sparse_us: float, ratio: Ratio) -> dict[str, Any]:
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

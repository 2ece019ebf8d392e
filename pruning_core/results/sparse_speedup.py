"""Sparse against dense kernels on this machine: a table, and the break-even sparsity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pruning_core.common.formatting import format_percent
from pruning_core.methods.runtimes import SPARSE_KERNELS
from pruning_core.planning.measurement_types import SparseSpeedupResult
from pruning_core.planning.stage import Reader, Stage, known

ALL_LAYERS = "all layers"
# What a stage stores, and the column that holds it.
COLUMNS = {
    "layer": "layer",
    "rows": "output_channels",
    "columns": "input_channels",
    "pixels": "positions",
    "kernel": "kernel",
    "sparsity": "sparsity",
    "dense_kernel": "dense_kernel",
    "dense_us": "dense_us",
    "sparse_us": "sparse_us",
    "ratio": "speedup",
    "ratio_low": "speedup_low",
    "ratio_high": "speedup_high",
    "rounds": "rounds",
}


def sparse_speedup_frame(stage: Stage, store: Reader) -> pd.DataFrame:
    """The measured products: a row for each layer, kernel and sparsity; empty until finished.

    The layer `ALL_LAYERS` sums the medians of the layers. A weight (`output_channels`,
    `input_channels`) is multiplied with activations (`input_channels`, `positions`). `speedup`
    is the time of the fastest dense product over that of the sparse one, with its 95 %
    interval: above 1 the sparse kernel is faster. Times are microseconds.
    """
    result = known(store, stage.key, SparseSpeedupResult)
    rows = result.rows if result else []
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).rename(columns=COLUMNS)
    frame.insert(5, "kernel_title", frame["kernel"].map(SPARSE_KERNELS.titles))
    return frame


@dataclass(frozen=True)
class BreakEven:
    """The sparsity from which a sparse kernel is faster; None where it never is.

    `earliest` and `latest` are the same by the ends of the 95 % intervals. `lowest` and
    `highest` are the measured sparsities.
    """

    sparsity: float | None
    earliest: float | None
    latest: float | None
    lowest: float
    highest: float


def break_even(frame: pd.DataFrame, kernel: str, layer: str = ALL_LAYERS) -> BreakEven:
    """The break-even of a kernel in a layer. Raises `KeyError` where it was not measured."""
    rows = frame[(frame["kernel"] == kernel) & (frame["layer"] == layer)].sort_values("sparsity")
    if rows.empty:
        raise KeyError(f"{layer} was not measured with {kernel}.")
    sparsities = rows["sparsity"].to_numpy(dtype=float)
    crossings = {
        bound: break_even_sparsity(sparsities, rows[f"speedup{bound}"].to_numpy(dtype=float))
        for bound in ("", "_high", "_low")
    }
    return BreakEven(
        sparsity=crossings[""],
        earliest=crossings["_high"],
        latest=crossings["_low"],
        lowest=float(sparsities[0]),
        highest=float(sparsities[-1]),
    )


def break_even_sparsity(sparsities: np.ndarray, speedups: np.ndarray) -> float | None:
    """The sparsity from which all speed-ups are 1 or more; None where the last is below 1.

    Both arrays (N,) are ordered by sparsity. Between two measurements the logarithm of the
    speed-up is interpolated linearly.
    """
    below = np.flatnonzero(~(speedups >= 1))
    if len(below) == 0:
        return float(sparsities[0])
    last = int(below[-1])
    if last + 1 == len(speedups):
        return None
    low, high = math.log(speedups[last]), math.log(speedups[last + 1])
    share = -low / (high - low)
    return float(sparsities[last] + share * (sparsities[last + 1] - sparsities[last]))


def break_even_text(result: BreakEven, kernel: str) -> str:
    """The break-even sparsity as a sentence, with the range that the intervals allow."""
    title, interval = SPARSE_KERNELS[kernel].title, _range(result)
    if result.sparsity is None:
        highest = format_percent(result.highest)
        return f"{title}: no break-even up to {highest} sparsity{interval}."
    at = format_percent(result.sparsity)
    if result.sparsity <= result.lowest:
        return f"{title}: break-even sparsity {at} or less{interval}."
    return f"{title}: break-even sparsity about {at}{interval}."


def _range(result: BreakEven) -> str:
    """The range by the ends of the 95 % intervals; empty where both agree with the median."""
    if result.sparsity == result.earliest == result.latest:
        return ""
    earliest = format_percent(result.lowest if result.earliest is None else result.earliest)
    or_less = " or less" * (result.earliest == result.lowest)
    none = f"none up to {format_percent(result.highest)}"
    latest = f" to {format_percent(result.latest)}" if result.latest is not None else f", or {none}"
    return f" (by the 95 % CIs: {earliest}{or_less}{latest})"

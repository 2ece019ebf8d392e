"""Where zeros begin to pay on this machine: the stage that finds out, its table, its answer."""

from __future__ import annotations

import math
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.common.errors import at_least, check
from pruning_core.common.formatting import format_percent
from pruning_core.common.machine import usable_cores
from pruning_core.planning.stage import Reader, Stage
from pruning_core.results.latency import AS_TRAINED, MOST_PIXELS
from pruning_core.storage.store import known

KIND = "crossover"
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)
ALL = "all layers"
# A new product is one entry here, and one in `engine.speed.products.SPARSE` or `DENSE`.
SPARSE_KERNELS = {"torch_csr": "torch, CSR", "scipy_csr": "SciPy, CSR"}
DENSE_KERNELS = {
    "torch_mm": "torch, matrix product",
    "torch_conv": "torch, 1x1 convolution",
}
COLUMNS = {
    "layer": "layer",
    "rows": "rows",
    "columns": "columns",
    "pixels": "pixels",
    "kernel": "kernel",
    "sparsity": "sparsity",
    "dense_kernel": "dense_kernel",
    "dense_us": "dense_us",
    "sparse_us": "sparse_us",
    "ratio": "times_as_fast",
    "ratio_low": "times_as_fast_low",
    "ratio_high": "times_as_fast_high",
    "rounds": "rounds_timed",
}


def crossover_stage(
    point: str,
    image_size: int = AS_TRAINED,
    sparsities: Iterable[float] = SPARSITIES,
    kernels: Iterable[str] = tuple(SPARSE_KERNELS),
    rounds: int = 40,
    seconds: float = 3.0,
    machine: str = "",
) -> Stage:
    """The stage that times dense against sparse products of a point's 1x1 and linear layers.

    One image, one thread, random masks. `image_size` 0 is the trained one; `rounds` and
    `seconds` are spent at most on each shape of layer. Raises `SpecError`.
    """
    sparsities, kernels = sorted(map(float, sparsities)), list(kernels)
    check(bool(sparsities), "sparsities", "give at least one.")
    check(all(0 < s < 1 for s in sparsities), "sparsities", "each lies between 0 and 1.")
    known = f"choose of {', '.join(SPARSE_KERNELS)}."
    check(bool(kernels) and set(kernels) <= set(SPARSE_KERNELS), "kernels", known)
    check(0 <= image_size <= MOST_PIXELS, "image_size", f"give 0 to {MOST_PIXELS}.")
    at_least("rounds", rounds, 6)
    settings: dict[str, Any] = {
        "image_size": image_size,
        "sparsities": sparsities,
        "kernels": kernels,
        "rounds": rounds,
        "seconds": float(seconds),
        "seed": 0,
        "machine": machine or platform.node(),
    }
    return Stage(KIND, point, settings, threads=usable_cores())


def crossover_frame(stage: Stage, store: Reader) -> pd.DataFrame:
    """What a finished stage found: a row a layer, kernel and sparsity; none where it is not done.

    The layer `ALL` is the sum of the layers' medians. `rows` x `columns` is the weight, `pixels`
    the columns of what it is multiplied with. `times_as_fast` is the time of the quickest dense
    product over that of the sparse one, with its 95 % interval: above 1, zeros pay.
    """
    rows = (known(store, stage.key) or {}).get("rows", [])
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).rename(columns=COLUMNS)
    frame.insert(5, "kernel_title", frame["kernel"].map(SPARSE_KERNELS))
    return frame


@dataclass(frozen=True)
class BreakEven:
    """From which sparsity on a sparse product is quicker; None where it never is.

    `earliest` and `latest` are where the ends of the 95 % intervals say so. `lowest` and
    `highest` are the sparsities that were measured.
    """

    sparsity: float | None
    earliest: float | None
    latest: float | None
    lowest: float
    highest: float


def break_even(frame: pd.DataFrame, kernel: str, layer: str = ALL) -> BreakEven:
    """Where zeros begin to pay in a layer. Raises `KeyError` where it was not measured."""
    rows = frame[(frame["kernel"] == kernel) & (frame["layer"] == layer)].sort_values("sparsity")
    if rows.empty:
        raise KeyError(f"{layer} was not measured with {kernel}.")
    at = rows["sparsity"].to_numpy(dtype=float)
    places = {
        name: crossing(at, rows[f"times_as_fast{name}"].to_numpy(dtype=float))
        for name in ("", "_high", "_low")
    }
    return BreakEven(places[""], places["_high"], places["_low"], float(at[0]), float(at[-1]))


def crossing(sparsities: np.ndarray, ratios: np.ndarray) -> float | None:
    """The sparsity from which all ratios are 1 or more; None where the last is not.

    Between two that were measured, the logarithm of the ratio goes in a straight line.
    """
    below = np.flatnonzero(~(ratios >= 1))
    if len(below) == 0:
        return float(sparsities[0])
    last = int(below[-1])
    if last + 1 == len(ratios):
        return None
    low, high = math.log(ratios[last]), math.log(ratios[last + 1])
    share = -low / (high - low)
    return float(sparsities[last] + share * (sparsities[last + 1] - sparsities[last]))


def told(found: BreakEven, kernel: str) -> str:
    """Where zeros begin to pay, as a sentence, with what the spread of the times allows."""
    lowest, highest = format_percent(found.lowest), format_percent(found.highest)
    product, span = f"the sparse product ({SPARSE_KERNELS[kernel]})", _span(found)
    if found.sparsity is None:
        return f"Up to {highest} zeros {product} is never the quicker one{span}."
    if found.sparsity <= found.lowest:
        return f"At {lowest} zeros already {product} is the quicker one{span}."
    at = format_percent(found.sparsity)
    return f"Zeros begin to pay at about {at}: from there on {product} is the quicker one{span}."


def _span(found: BreakEven) -> str:
    """What the intervals leave open; nothing where all three agree."""
    if found.sparsity == found.earliest == found.latest:
        return ""
    first = format_percent(found.lowest if found.earliest is None else found.earliest)
    less = " or less" * (found.earliest == found.lowest)
    last = f"none up to {format_percent(found.highest)}"
    if found.latest is not None:
        return f" (the spread allows {first}{less} to {format_percent(found.latest)})"
    return f" (the spread allows {first}{less}, or {last})"

"""Where zeros begin to pay on this machine: the stage that finds out, its table, its answer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pruning_core.common.formatting import format_percent
from pruning_core.methods.runtimes import SPARSE_KERNELS
from pruning_core.planning.stage import Reader, Stage, known

ALL_LAYERS = "all layers"
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


def break_even(frame: pd.DataFrame, kernel: str, layer: str = ALL_LAYERS) -> BreakEven:
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

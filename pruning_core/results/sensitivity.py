"""Sensitivity analysis: the accuracy of each layer pruned alone, and an allocation from it.

Each stage prunes one layer, or one dependency group of channels, of the baseline to several
sparsities and measures validation accuracy without training (see
`engine.analysis.sensitivity`). Its parent is the baseline, so all runs on a baseline share it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.common.errors import Ref, Share, SpecError
from pruning_core.common.formatting import (
    format_count,
    format_percent,
    format_points,
    join_first,
)
from pruning_core.planning.measurement_types import SensitivityResult, SensitivitySettings
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Reader, Stage, known
from pruning_core.planning.stage_types import restored
from pruning_core.settings.spec import Spec
from pruning_core.storage.store import Store

BISECTIONS = 60
# The allocation empties no layer, even where its highest measured sparsity is 1.
MAX_SPARSITY = 0.999
STEP = 0.005  # people read and type whole and half percent
ROUNDING = 1e-9
CORRECTED = "corrected_accuracy"
LOSSES = ("loss", CORRECTED, "corrected_loss")
Curve = tuple[np.ndarray, np.ndarray]


def sensitivity_frame(stages: Iterable[Stage], store: Reader) -> pd.DataFrame:
    """The results of finished stages: a row for each layer and sparsity, in layer order.

    Columns: `layer`; `size`, how many `size_unit` (weights, or channels of a dependency group)
    it has; `units`, how many pruning units; `sparsity` of the units; `removed`, the removed
    weights or channels; `accuracy` with its 95 % interval `accuracy_low` and `accuracy_high`, on
    `validation_images` images; `accuracy_drop`, the dense accuracy minus this one; `loss`, the
    mean cross-entropy; `macs`, the multiply-accumulates of the layer, and `model_macs`, those of
    all convolution and linear layers; and, where least squares was measured, `corrected_accuracy`,
    `corrected_loss` and `corrected_drop`. Shares are fractions from 0 to 1.
    """
    rows = []
    for stage in stages:
        if (result := known(store, stage.key, SensitivityResult)) is None:
            continue
        dense_accuracy = result.rows[0]["accuracy"]
        layer = {
            "layer": restored(SensitivitySettings, stage.settings).layer,
            "size": result.size,
            "units": result.units,
            "size_unit": result.of or "weights",
        }
        rows += [
            {
                **layer,
                "sparsity": row["sparsity"],
                "removed": row["removed"],
                "accuracy": row["accuracy"],
                "accuracy_low": row["low"],
                "accuracy_high": row["high"],
                "validation_images": row["images"],
                "accuracy_drop": dense_accuracy - row["accuracy"],
                "macs": result.macs,
                "model_macs": result.model_macs,
                **{name: row[name] for name in LOSSES if name in row},
                **_corrected_drop(dense_accuracy, row),
            }
            for row in result.rows
        ]
    return pd.DataFrame(rows)


def allocate(frame: pd.DataFrame, total: float) -> dict[str, float]:
    """Sparsities by layer that drop equal accuracy in every layer and add up to `total`.

    `frame` is that of `sensitivity_frame`, `total` a fraction of all pruning units. The drop of a
    layer is interpolated linearly between measurements, after a running maximum makes it
    monotonic in sparsity. Beyond the highest measured sparsity nothing is known, so nothing more
    is allocated. Raises `SpecError` where the measured sparsities do not reach `total`.
    """
    curves = {name: _curve(rows) for name, rows in frame.groupby("layer", sort=False)}
    units = frame.groupby("layer", sort=False)["units"].first().to_dict()
    highest = {name: float(sparsities[-1]) for name, (_, sparsities) in curves.items()}
    check_reachable(highest, units, total)
    without_drop = _at_drop(curves, 0.0)
    if _overall(without_drop, units) >= total:
        return _interpolated(dict.fromkeys(curves, 0.0), without_drop, units, total)
    # Bisection over the drop: the overall sparsity never falls as the tolerated drop grows.
    low, high = 0.0, max(float(drops[-1]) for drops, _ in curves.values())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        reached = _overall(_at_drop(curves, middle), units) >= total
        low, high = (low, middle) if reached else (middle, high)
    return _interpolated(_at_drop(curves, low), _at_drop(curves, high), units, total)


def check_reachable(highest: Mapping[str, float], units: Mapping[str, int], total: float) -> None:
    """Refuse an overall sparsity that the measured sparsities do not reach. Raises `SpecError`.

    `highest` are the highest measured sparsities, `units` the pruning units, by layer.
    """
    reached = _overall(highest, units)
    # 0.9 of every layer may add up to a little less than 0.9.
    if not 0 <= total <= reached + ROUNDING:
        raise SpecError(
            "one_shot.amounts",
            "the overall sparsity {total} is too high: the measured sparsities of all layers "
            "allow at most {highest}. Lower it, or add higher values to {sparsities}. A layer is "
            "measured until its accuracy is at chance.",
            total=Share(total),
            highest=Share.at_most(reached + ROUNDING),
            sparsities=Ref("sensitivity.sparsities"),
        )


def rounded(frame: pd.DataFrame, allocation: Mapping[str, float], total: float) -> dict[str, float]:
    """An allocation in steps of `STEP`, whose overall sparsity stays near to `total`.

    `frame` is that of `allocate`. Each sparsity is rounded to the nearest step. While it brings
    the overall sparsity nearer, a layer then gets the step on the other side of its exact sparsity,
    the most rounded layer first. No layer gets more than its highest measured sparsity.
    """
    layers = frame.groupby("layer", sort=False)
    units = layers["units"].first().to_dict()
    highest = layers["sparsity"].max().clip(upper=MAX_SPARSITY).to_dict()
    exact = {name: share / STEP for name, share in allocation.items()}
    steps = {
        name: min(round(share), math.floor(highest[name] / STEP + ROUNDING))
        for name, share in exact.items()
    }
    for name in sorted(steps, key=lambda name: -abs(exact[name] - steps[name])):
        change = 1 if exact[name] > steps[name] else -1
        other = {**steps, name: steps[name] + change}
        allowed = 0 <= other[name] * STEP <= highest[name] + ROUNDING
        if allowed and abs(_overall(_shares(other), units) - total) < abs(
            _overall(_shares(steps), units) - total
        ):
            steps = other
    return _shares(steps)


def _shares(steps: Mapping[str, int]) -> dict[str, float]:
    return {name: round(STEP * number, 3) for name, number in steps.items()}


def _curve(rows: pd.DataFrame) -> Curve:
    """The accuracy drops of a layer, made monotonic, and the sparsities; shapes (N,)."""
    ordered = rows.sort_values("sparsity")
    drops = np.maximum.accumulate(ordered["accuracy_drop"].to_numpy(dtype=float).clip(min=0.0))
    return drops, ordered["sparsity"].to_numpy(dtype=float).clip(max=MAX_SPARSITY)


def _at_drop(curves: Mapping[str, Curve], drop: float) -> dict[str, float]:
    """The highest sparsity of each layer whose accuracy drop is at most `drop`."""
    return {name: _highest(*curve, drop) for name, curve in curves.items()}


def _highest(drops: np.ndarray, sparsities: np.ndarray, drop: float) -> float:
    last = int(np.searchsorted(drops, drop, side="right")) - 1
    if last + 1 >= len(drops):
        return float(sparsities[-1])
    share = (drop - drops[last]) / (drops[last + 1] - drops[last])
    return float(sparsities[last] + share * (sparsities[last + 1] - sparsities[last]))


def _overall(allocation: Mapping[str, float], units: Mapping[str, int]) -> float:
    """The overall sparsity of an allocation over all pruning units."""
    return sum(allocation[name] * units[name] for name in allocation) / sum(units.values())


def _interpolated(
    low: dict[str, float], high: dict[str, float], units: Mapping[str, int], total: float
) -> dict[str, float]:
    """The allocation between two others whose overall sparsity is exactly `total`.

    A flat part of a curve makes the overall sparsity jump at one drop, which bisection alone
    cannot split.
    """
    below, above = _overall(low, units), _overall(high, units)
    part = (total - below) / (above - below) if above > below else 0.0
    return {name: low[name] + part * (high[name] - low[name]) for name in low}


def overall(sparsities: Mapping[str, float], frame: pd.DataFrame) -> float:
    """The overall sparsity of an allocation over the pruning units of a `sensitivity_frame`."""
    return _overall(sparsities, frame.groupby("layer", sort=False)["units"].first().to_dict())


def sparsity_texts(allocation: Mapping[str, float]) -> tuple[str, ...]:
    """An allocation in the form of the setting `pruning.layer_sparsities`."""
    return tuple(f"{name}={sparsity:.6g}" for name, sparsity in allocation.items())


def _corrected_drop(dense_accuracy: float, row: Mapping[str, Any]) -> dict[str, float]:
    if CORRECTED not in row:
        return {}
    return {"corrected_drop": dense_accuracy - row[CORRECTED]}


def drop_column(frame: pd.DataFrame) -> str:
    """The column of the accuracy drops that charts show: after least squares, where measured."""
    return "corrected_drop" if "corrected_drop" in frame else "accuracy_drop"


def drop_text(frame: pd.DataFrame) -> str:
    """What the drops of `drop_column` are."""
    return "accuracy drop" + " after least squares" * ("corrected_drop" in frame)


def uncorrected_text(frame: pd.DataFrame) -> str:
    """Which layers have no loss after least squares, where others have one; else empty."""
    if CORRECTED not in frame:
        return ""
    layers = list(dict.fromkeys(frame.loc[frame[CORRECTED].isna(), "layer"]))
    if not layers:
        return ""
    reason = "Without least squares (computed inside a larger module, or too many inputs)"
    return f"{reason}: {join_first(layers, 'layer')}."


def heatmap_text(frame: pd.DataFrame) -> str:
    """The largest drop of a sensitivity analysis in words, for people who do not see the chart."""
    column = drop_column(frame)
    worst = frame.loc[frame[column].idxmax()]
    rows = format_count(frame["layer"].nunique(), "row")
    return (
        f"{drop_text(frame).capitalize()} of {rows}, each pruned alone to several sparsities. The "
        f"largest drop is {format_points(worst[column])}: {worst['layer']} at "
        f"{format_percent(worst['sparsity'])} sparsity."
    )


def images_text(frame: pd.DataFrame, requested: int) -> str:
    """How many validation images were used, and how many were requested if these are more."""
    images = int(frame["validation_images"].iloc[0])
    fewer = f" (all available; {requested:,} requested)" if images < requested else ""
    return f"{images:,} validation images{fewer}"


def measured_sparsities(frame: pd.DataFrame) -> Sequence[float]:
    """The measured sparsities, in order."""
    return sorted(frame["sparsity"].unique()) if not frame.empty else []


def read_sensitivity(spec: Spec, store: Store) -> pd.DataFrame:
    """The finished part of a spec's sensitivity analysis (see `sensitivity_frame`)."""
    return sensitivity_frame(_stages(spec, store), store)


def _stages(spec: Spec, store: Store) -> list[Stage]:
    return [stage for stage in plan(spec, store).stages if stage.kind == "sensitivity"]

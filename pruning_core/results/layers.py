"""Statistics of a model's layers, from the files of finished stages, for tables and charts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pruning_core.common.formatting import format_count, format_percent
from pruning_core.planning.model_types import LAYERS_FILE
from pruning_core.planning.stage import Missing

COLUMNS = ["layer", "kind", "weights", "sparsity", "channels", "zero channels"]


class Files(Protocol):
    """The part of a store that gives the files of a stage."""

    def file(self, key: str, name: str) -> Path: ...


def layer_statistics(store: Files, key: str) -> list[dict[str, Any]]:
    """One dict for each layer of a finished model; empty where none were recorded.

    For the keys see `engine.analysis.layer_statistics`.
    """
    try:
        statistics: list[dict[str, Any]] = json.loads(store.file(key, LAYERS_FILE).read_text())
    except (Missing, OSError):
        return []
    return statistics


def layers_frame(
    statistics: list[dict[str, Any]], dense: Sequence[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """A row for each layer: name, kind, weights, sparsity, channels, zero channels.

    With the statistics of a `dense` model, removed channels and their weights count as zero.
    """
    names = {"name": "layer", "size": "weights", "zero_channels": "zero channels"}
    dense_layers = {layer["name"]: layer for layer in dense}
    rows = [_with_removed(layer, dense_layers) for layer in statistics]
    frame = pd.DataFrame(rows).rename(columns=names)
    frame["sparsity"] = frame["zeros"] / frame["weights"]
    return frame[COLUMNS]


def _with_removed(
    layer: dict[str, Any], dense_layers: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """A layer's statistics at its dense size, in which the removed weights are zeros."""
    dense = dense_layers.get(layer["name"], layer)
    weights, channels = dense["size"] - layer["size"], dense["channels"] - layer["channels"]
    return {
        **layer,
        "size": dense["size"],
        "channels": dense["channels"],
        "zeros": layer["zeros"] + weights,
        "zero_channels": layer["zero_channels"] + channels,
    }


def threshold(layer: dict[str, Any], sparsity: float) -> float:
    """The magnitude below which this share of a layer's weights lies, by its histogram."""
    counts = np.array([layer["zeros"], *layer["counts"]], dtype=float)
    edges = np.linspace(0.0, layer["largest"], len(layer["counts"]) + 1)
    return float(np.interp(sparsity * layer["size"], np.cumsum(counts), edges))


def sparsities_text(frame: pd.DataFrame) -> str:
    """The sparsest and the densest layer in words; `frame` is that of `layers_frame`."""
    low, high = (frame.loc[i] for i in (frame["sparsity"].idxmin(), frame["sparsity"].idxmax()))
    return (
        f"Sparsity of each of the {len(frame)} layers, from {format_percent(low['sparsity'])} "
        f"({low['layer']}) to {format_percent(high['sparsity'])} ({high['layer']})."
    )


def threshold_text(layer: dict[str, Any], sparsity: float) -> str:
    """What a layer's histogram shows, and what pruning to this sparsity (a fraction) would do."""
    weights, zeros = int(layer["size"]), int(layer["zeros"])
    drawn = f"{layer['name']} has {format_count(weights, 'weight')}"
    if zeros:
        drawn += f", of which {zeros:,} ({format_percent(zeros / weights)}) are zero and not drawn"
    more = round(sparsity * weights) - zeros
    if more <= 0:
        return f"{drawn}. {format_percent(sparsity)} sparsity removes no other weight."
    limit = f"{threshold(layer, sparsity):.3g}"
    return f"{drawn}. {format_percent(sparsity)} sparsity removes {more:,} weights below {limit}."


def jaccard(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A row for each layer: the Jaccard index of the masks of two models (Jaccard 1912).

    `both` and `either` count the weights that both models and that at least one model keeps;
    the index is `both / either`, and 1 where neither keeps any.
    """
    frame = pd.DataFrame(rows, columns=["name", "both", "either", "size"])
    frame["overlap"] = np.where(
        frame["either"] > 0, frame["both"] / frame["either"].clip(lower=1), 1.0
    )
    return frame.rename(columns={"name": "layer", "size": "weights"})

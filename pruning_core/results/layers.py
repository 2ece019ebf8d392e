"""What is known of a model's layers, for tables and charts: from the files of finished stages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from pruning_core.planning.stage import Missing

FILE = "layers.json"


class Files(Protocol):
    """The part of a store that gives a stage's files."""

    def file(self, key: str, name: str) -> Path: ...


def portraits(store: Files, key: str) -> list[dict[str, Any]]:
    """The layers of a finished baseline or level (see `engine.portraits`); none where unknown."""
    try:
        found: list[dict[str, Any]] = json.loads(store.file(key, FILE).read_text())
    except (Missing, OSError):
        return []
    return found


def table(found: list[dict[str, Any]], dense: Sequence[Mapping[str, Any]] = ()) -> pd.DataFrame:
    """A row a layer: name, kind, weights, sparsity, channels, dead channels.

    Beside a `dense` model's portraits what was removed with its channels counts as zero and dead.
    """
    names = {"name": "layer", "size": "weights", "zero_channels": "dead channels"}
    whole = {layer["name"]: layer for layer in dense}
    frame = pd.DataFrame([_against(layer, whole) for layer in found]).rename(columns=names)
    frame["sparsity"] = frame["zeros"] / frame["weights"]
    return frame[["layer", "kind", "weights", "sparsity", "channels", "dead channels"]]


def _against(layer: dict[str, Any], whole: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A portrait with what a larger one of the same layer has besides as zeros."""
    first = whole.get(layer["name"], layer)
    weights, channels = first["size"] - layer["size"], first["channels"] - layer["channels"]
    gone = {"zeros": layer["zeros"] + weights, "zero_channels": layer["zero_channels"] + channels}
    return {**layer, "size": first["size"], "channels": first["channels"], **gone}


def threshold(portrait: dict[str, Any], sparsity: float) -> float:
    """The magnitude below which so large a share of a layer lies, as its histogram tells."""
    counts = np.array([portrait["zeros"], *portrait["counts"]], dtype=float)
    edges = np.linspace(0.0, portrait["largest"], len(portrait["counts"]) + 1)
    below = np.cumsum(counts)
    return float(np.interp(sparsity * portrait["size"], below, edges))


def jaccard(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A row a layer: the Jaccard index of what two models keep."""
    frame = pd.DataFrame(rows, columns=["name", "both", "either", "size"])
    frame["overlap"] = np.where(
        frame["either"] > 0, frame["both"] / frame["either"].clip(lower=1), 1.0
    )
    return frame.rename(columns={"name": "layer", "size": "weights"})

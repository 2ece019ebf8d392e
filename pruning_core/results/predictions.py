"""Predictions as tables: of a model for one image, and those that two models differ in by class."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_percent, signed
from pruning_core.planning.measurement_types import PredictionChangesResult

TOP_CLASSES = 5
CHANGED_CLASSES = 5


def predictions_table(prediction: dict[str, Any]) -> pd.DataFrame:
    """The most likely classes of one model's `prediction`, and their probabilities as text."""
    top_classes = prediction["probabilities"][:TOP_CLASSES]
    return pd.DataFrame(
        {
            "Class": [name for name, _ in top_classes],
            "Probability": [format_percent(probability) for _, probability in top_classes],
        }
    )


def changed_classes(result: PredictionChangesResult) -> pd.DataFrame:
    """The classes that lost most accuracy, as text; empty where none lost any.

    Of equal losses the class with fewer images comes first, then the order of the classes.
    """
    lost = [row for row in result.classes if row["model"] < row["dense"]]
    lost.sort(key=lambda row: ((row["model"] - row["dense"]) / row["images"], row["images"]))
    return pd.DataFrame(
        {
            "Class": row["name"],
            "Test images": row["images"],
            "Dense model": format_percent(row["dense"] / row["images"]),
            "This model": format_percent(row["model"] / row["images"]),
            "Difference (points)": signed((row["model"] - row["dense"]) / row["images"]),
        }
        for row in lost[:CHANGED_CLASSES]
    )

"""The prediction of a model for one image, as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_percent

TOP_CLASSES = 5


def predictions_table(prediction: dict[str, Any]) -> pd.DataFrame:
    """The most likely classes of one model's `prediction`, and their probabilities as text."""
    top_classes = prediction["probabilities"][:TOP_CLASSES]
    return pd.DataFrame(
        {
            "Class": [name for name, _ in top_classes],
            "Probability": [format_percent(probability) for _, probability in top_classes],
        }
    )

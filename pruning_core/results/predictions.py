"""The prediction of a model for one image, as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_percent

TOP_CLASSES = 5


def predictions_table(answer: dict[str, Any]) -> pd.DataFrame:
    """The most likely classes and their probabilities as text; `answer` is that of one model."""
    likeliest = answer["likeliest"][:TOP_CLASSES]
    return pd.DataFrame(
        {
            "Class": [name for name, _ in likeliest],
            "Probability": [format_percent(share) for _, share in likeliest],
        }
    )

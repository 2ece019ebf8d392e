"""The prediction of a model for one image, as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_percent

SHOWN = 5


def told(answer: dict[str, Any]) -> pd.DataFrame:
    """The likeliest classes and their probabilities as text."""
    likely = answer["probabilities"][:SHOWN]
    return pd.DataFrame(
        {
            "Class": [name for name, _ in likely],
            "Probability": [format_percent(share) for _, share in likely],
        }
    )

"""One image, two models: the stage that asks both, and its answer as tables."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_percent
from pruning_core.planning.stage import Stage

KIND = "inspect_answers"
SHOWN = 5


def ask_test_image(dense: str, point: str, number: int) -> Stage:
    """What two finished points, by their keys, say to a test image, numbered from 0."""
    return Stage(KIND, point, {"dense": dense, "point": point, "test": number})


def ask_image(dense: str, point: str, digest: str, path: str) -> Stage:
    """The same for an image file with this SHA-256, kept at `path`."""
    return Stage(KIND, point, {"dense": dense, "point": point, "image": digest}, {"path": path})


def told(answer: dict[str, Any]) -> pd.DataFrame:
    """The likeliest classes and their probabilities as text."""
    likely = answer["likeliest"][:SHOWN]
    return pd.DataFrame(
        {
            "Class": [name for name, _ in likely],
            "Probability": [format_percent(share) for _, share in likely],
        }
    )

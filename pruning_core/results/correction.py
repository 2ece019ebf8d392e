"""Training-free corrections of a comparison, as a table."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pruning_core.common.formatting import format_percent, format_seconds
from pruning_core.methods.corrections import correction_at
from pruning_core.methods.strategies import CORRECTION
from pruning_core.results.rows import rows_of


def without_training(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a rung, amounts in order, as text for people; no rows where there is no ladder.

    Run and Seed stand there where there are several. The seconds are those since the cut.
    """
    own = [row for row in rows_of(frame) if row["strategy"] == CORRECTION]
    runs = list(dict.fromkeys(row["run_id"] for row in own))
    own.sort(
        key=lambda r: (runs.index(r["run_id"]), r["seed"], r["sparsity_asked"], r["iteration"])
    )
    table = pd.DataFrame([_readable(row) for row in own])
    alone = {"Run": "run_id", "Seed": "seed"}
    return table.drop(columns=[n for n, key in alone.items() if own and frame[key].nunique() == 1])


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return {
        "Run": row["run"],
        "Seed": row["seed"],
        "Asked": format_percent(row["sparsity_asked"]),
        "Rung": f"{row['iteration']}: {correction_at(row['iteration'])}",
        "Accuracy": format_percent(row["accuracy"]),
        "95 % interval": f"{low} to {high}",
        "Time": format_seconds(row["seconds"]),
    }

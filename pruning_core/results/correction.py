"""Training-free corrections of a comparison, as a table."""

from __future__ import annotations

import pandas as pd

from pruning_core.common.formatting import format_percent, format_seconds
from pruning_core.methods.corrections import correction_at
from pruning_core.methods.strategies import CORRECTION
from pruning_core.results.rows import Row, rows_of

# Columns that are shown only where their values differ, and the column they depend on.
OPTIONAL = {"Run": "run_id", "Seed": "seed"}


def correction_table(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each corrected model as text, by run, seed, sparsity and correction.

    Empty where no run has training-free correction. The columns Run and Seed appear only where
    there are several. `Time` is that of all corrections up to this one.
    """
    rows = [row for row in rows_of(frame) if row["strategy"] == CORRECTION]
    runs = list(dict.fromkeys(row["run_id"] for row in rows))
    rows.sort(
        key=lambda r: (runs.index(r["run_id"]), r["seed"], r["sparsity_asked"], r["iteration"])
    )
    table = pd.DataFrame([_cells(row) for row in rows])
    return table.drop(
        columns=[n for n, key in OPTIONAL.items() if rows and frame[key].nunique() == 1]
    )


def _cells(row: Row) -> dict[str, object]:
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    return {
        "Run": row["run"],
        "Seed": row["seed"],
        "Target sparsity": format_percent(row["sparsity_asked"]),
        "Correction": correction_at(row["iteration"]).title,
        "Accuracy": format_percent(row["accuracy"]),
        "95 % CI": f"{low} to {high}",
        "Time": format_seconds(row["seconds"]),
    }

"""What the models of a comparison cost in accuracy and buy in time, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.results.difference_matrix import Matrix
from pruning_core.results.latency import OVER_FASTEST, speedup_text

MOST_MODELS = 12  # that are timed together


@dataclass(frozen=True)
class TimedModel:
    """A model of a matrix that is timed: the one of the first seed of its cell.

    `accuracy` and `difference` are the texts of the cell, over all seeds.
    """

    key: str
    run_id: str
    name: str
    accuracy: str
    difference: str


def models_to_time(table: Matrix) -> list[TimedModel]:
    """The models of the tested rows of a matrix, one a cell, each once."""
    models: dict[str, TimedModel] = {}
    several = len(table.runs) > 1
    for row in table.rows:
        for run, cell in zip(table.runs, row.cells, strict=True):
            if cell is None or not row.tested:
                continue
            first = min(cell.rows, key=lambda one: one["seed"])
            name = f"{run}, {row.name}" if several else row.name
            model = TimedModel(
                first["key"], first["run_id"], name, cell.accuracy_text, cell.difference_text
            )
            models.setdefault(model.key, model)
    return list(models.values())


def latency_table(models: Iterable[TimedModel], frame: pd.DataFrame) -> list[dict[str, str]]:
    """A row for each timed model, in the runtime in which it is fastest.

    `frame` is that of `latency_frame` with references: the speed-up is over the dense model in the
    fastest dense runtime, measured in the same rounds.
    """
    rows = []
    for model in models:
        timed = frame[(frame["key"] == model.key) & frame["role"].isin(("dense", "candidate"))]
        if timed.empty:
            continue
        best = timed.loc[timed[f"speedup{OVER_FASTEST}"].fillna(1.0).idxmax()].to_dict()
        rows.append(
            {
                "Model": model.name,
                "Accuracy": model.accuracy,
                "Difference (points)": model.difference,
                "Fastest runtime": RUNTIMES[best["runtime"]].title,
                "Latency (ms)": f"{best['p50_ms']:.3g}",
                "Speed-up vs fastest dense (95 % CI)": speedup_text(best, OVER_FASTEST),
                "Fastest dense runtime": RUNTIMES[best["fastest_runtime"]].title,
            }
        )
    return rows

"""The accuracy and the latency of the models of a comparison, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from pruning_core.common.formatting import join_words
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.results.difference_matrix import Matrix
from pruning_core.results.latency import OVER_FASTEST, speedup_text
from pruning_core.results.rows import is_pruned


@dataclass(frozen=True)
class ComparedModel:
    """A pruned model of a matrix: that of the first seed of its cell.

    `runs` are the runs that share it. `accuracy` and `difference` are the texts of the cell, over
    all seeds.
    """

    key: str
    run_id: str
    runs: tuple[str, ...]
    title: str
    accuracy: str
    difference: str

    @property
    def name(self) -> str:
        """The model with its runs, where the comparison has several."""
        return f"{join_words(self.runs)}, {self.title}" if self.runs else self.title


def compared_models(table: Matrix) -> list[ComparedModel]:
    """The pruned models of the tested rows of a matrix, one a cell, each once."""
    models: dict[str, ComparedModel] = {}
    for row in table.rows:
        for run, cell in zip(table.runs, row.cells, strict=True):
            if cell is None or not row.tested or not is_pruned(cell.rows[0]):
                continue
            first = min(cell.rows, key=lambda one: one["seed"])
            runs = (run,) if len(table.runs) > 1 else ()
            if known := models.get(first["key"]):
                models[known.key] = replace(known, runs=(*known.runs, *runs))
                continue
            models[first["key"]] = ComparedModel(
                first["key"],
                first["run_id"],
                runs,
                row.name,
                cell.accuracy_text,
                cell.difference_text,
            )
    return list(models.values())


def latency_table(
    models: Iterable[ComparedModel], frame: pd.DataFrame, reference: str
) -> list[dict[str, str]]:
    """A row for each model, in the runtime in which its latency is lowest.

    `frame` is that of `latency_frame` with references: the speed-up is over the dense model in the
    fastest dense runtime, measured in the same rounds. `reference` is that of the differences.
    """
    rows = []
    for model in models:
        timed = frame[(frame["key"] == model.key) & (frame["role"] == "candidate")]
        timed = timed[timed[f"speedup{OVER_FASTEST}"].notna()]
        if timed.empty:
            continue
        best = timed.loc[timed["p50_ms"].idxmin()].to_dict()
        rows.append(
            {
                "Model": model.name,
                "Accuracy": model.accuracy,
                f"Difference from {reference} (points)": model.difference,
                "Fastest runtime": RUNTIMES[best["runtime"]].title,
                "Latency (ms)": f"{best['p50_ms']:.3g}",
                "Speed-up vs fastest dense (95 % CI)": speedup_text(best, OVER_FASTEST),
                "Fastest dense": RUNTIMES[best["fastest_runtime"]].title,
            }
        )
    return rows

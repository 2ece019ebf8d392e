"""The CSV of a comparison, and all its files in a folder: CSV, HTML report and image."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_core.common.formatting import missing
from pruning_core.reports.html_report import html_report
from pruning_core.reports.image_export import panel_image
from pruning_core.results.csv_text import csv_text
from pruning_core.results.rows import with_seed_statistics
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import Spec

CSV_COLUMNS = (
    "strategy",
    "seed",
    "iteration",
    "sparsity_asked",
    "sparsity_prunable",
    "sparsity_weights",
    "sparsity_model",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_drop",
    "dense_bytes",
    "sparse_bytes",
    "compression_ratio",
    "parameters",
    "nonzero",
    "epochs",
    "seconds",
    "notes",
    "seeds",
    "accuracy_mean",
    "accuracy_sd",
    "regrown",
    "macs",
    "quantized_from",
    "processor",
    "torch",
    "validation_accuracy",
    "validation_images",
)
NAME = "pruning_comparison"


def to_csv(frame: pd.DataFrame, excel: bool = False) -> str:
    """The CSV: one row for each model and seed.

    Sparsities and accuracies are fractions from 0 to 1, sizes are bytes. `notes` are joined by
    "; ". `seeds`, `accuracy_mean` and `accuracy_sd` (n - 1; empty for one seed) are over all
    seeds. `regrown` counts the weights that the pruning step regrew. `macs` are
    multiply-accumulates per image, empty where they were not counted. `quantized_from` is the
    strategy of the model that an int8 file holds. `processor` and `torch` say where a model was
    computed. The `validation_accuracy` on `validation_images` selects the best model. With several
    runs, the column `run` precedes `notes`. For `excel` see `csv_text`.
    """
    columns = list(CSV_COLUMNS)
    if frame.empty:
        return csv_text(pd.DataFrame(columns=columns), excel=excel)
    if frame["run_id"].nunique() > 1:
        columns.insert(columns.index("notes"), "run")
    table = with_seed_statistics(frame).assign(
        notes=["; ".join(notes) for notes in frame["notes"]],
        epochs=pd.Series([*map(_epochs, frame["epochs"])], frame.index, dtype=object),
    )
    return csv_text(table, columns, excel)


def _epochs(value: float) -> float | None:
    """Epochs as the CSV has them: 2, not 2.0."""
    return None if missing(value) else plain(value)


def write_csv(frame: pd.DataFrame, path: Path, excel: bool = False) -> Path:
    """Write the CSV, create its folder if needed, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_csv(frame, excel), encoding="utf-8", newline="")
    return path


def write_report(
    frame: pd.DataFrame,
    specs: Mapping[str, Spec | Mapping[str, Any]],
    folder: Path,
    excel: bool = False,
) -> list[Path]:
    """Write the CSV, the HTML report and the image of the four charts; return the paths.

    `specs` maps a run's id to its settings. Raises `ImageError` if the image cannot be drawn; CSV
    and HTML are written by then. For `excel` see `csv_text`.
    """
    table, report, image = (folder / f"{NAME}.{ending}" for ending in ("csv", "html", "png"))
    write_csv(frame, table, excel)
    report.write_text(html_report(frame, specs), encoding="utf-8")
    image.write_bytes(panel_image(frame))
    return [table, report, image]

"""What a person takes away: the CSV, the console tables, the HTML report, the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pruning_core.common.formatting import missing
from pruning_core.reports.html_report import html_report
from pruning_core.reports.image_export import NO_CHROME, chrome_found, image_bytes
from pruning_core.results.findings import findings
from pruning_core.results.rows import over_seeds
from pruning_core.results.tables import summary_tables
from pruning_core.settings.serialization import plain
from pruning_core.settings.spec import Spec

__all__ = [
    "CSV_COLUMNS",
    "missing_chrome",
    "summary_tables",  # the command line takes it from here
    "to_csv",
    "write_all",
    "write_csv",
]

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
    "returned",
    "macs",
    "of",
)
NAME = "pruning_comparison"


def to_csv(frame: pd.DataFrame) -> str:
    """A row a point and seed, fractions from 0 to 1, `notes` joined by "; ".

    `seeds`, `accuracy_mean` and `accuracy_sd` are of all seeds of a row's point: their number, the
    mean of their accuracies and its standard deviation, which one seed has not. `returned` is how
    many of the weights removed before came back in the cut, `macs` are multiply-accumulates for
    one image where they were counted; `of` is the strategy of the point whose int8 file a row is.
    Where the frame holds several runs, a column `run` stands before the notes.
    """
    columns = list(CSV_COLUMNS)
    if frame.empty:
        return ",".join(columns) + "\n"
    if frame["run_id"].nunique() > 1:
        columns.insert(columns.index("notes"), "run")
    table = over_seeds(frame).assign(
        notes=["; ".join(notes) for notes in frame["notes"]],
        epochs=pd.Series([*map(_epochs, frame["epochs"])], frame.index, dtype=object),
    )
    return table.to_csv(index=False, columns=columns, lineterminator="\n")


def _epochs(value: float) -> float | None:
    """A number of epochs as the file has it: whole where it is whole."""
    return None if missing(value) else plain(value)


def write_csv(frame: pd.DataFrame, path: Path) -> Path:
    """Write the CSV; folders on the way are made. Returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_csv(frame), encoding="utf-8", newline="")
    return path


def write_report(
    frame: pd.DataFrame, specs: Mapping[str, Spec | Mapping[str, Any]], folder: Path
) -> list[Path]:
    """The CSV, the HTML report and, where Chrome is found, the PNG, in `folder`.

    Returns the paths. Where Chrome is missing there is no PNG, and `missing_chrome` says
    so. Raises `ImageError`, with CSV and HTML written, where Chrome is there but fails.
    """
    written = [write_csv(frame, folder / f"{NAME}.csv"), folder / f"{NAME}.html"]
    written[1].write_text(html_report(frame, specs, findings(frame)), encoding="utf-8")
    if chrome_found():
        from pruning_core.reports.charts.comparison import comparison_panel

        written.append(folder / f"{NAME}.png")
        written[2].write_bytes(image_bytes(comparison_panel(frame)))
    return written


def missing_chrome() -> Sequence[str]:
    """The sentence to show where images cannot be drawn; nothing where they can."""
    return [] if chrome_found() else [NO_CHROME]

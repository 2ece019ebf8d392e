"""The exported files of a model as a table: size, order-0 entropy and accuracy."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from typing import Any

import pandas as pd

from pruning_core.common.formatting import (
    format_bytes,
    format_percent,
    format_points,
    format_times,
    join_words,
    missing,
)
from pruning_core.common.statistics import discordant, wilson
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.measurement_types import ExportResult
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage import PlannedModel, Reader, known, read_result
from pruning_core.results.csv_text import csv_text

# A file that surely loses more accuracy than this no longer represents its model.
MAX_DROP = 0.05
CSV_COLUMNS = (
    "format",
    "file",
    "bytes",
    "order0_entropy_bytes",
    "compression_ratio",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_drop",
    "test_images",
    "output_difference",
    "notes",
)

# What decides which files are offered and recommended.
VALIDATION_COLUMNS = (
    "validation_accuracy",
    "validation_drop",
    "validation_images",
    "baseline_drop",
    "validation_lost",
    "validation_gained",
)


def files_frame(
    model: PlannedModel,
    dense: PlannedModel,
    store: Reader,
    names: Iterable[str] = tuple(FILE_FORMATS),
) -> pd.DataFrame:
    """A row for each exported file of a model, in the order of `names`.

    Shares are fractions from 0 to 1, sizes are bytes. `compression_ratio` is the dense file of
    the baseline `dense` over this file. `accuracy_drop` is the accuracy of the model minus that
    of the file; `validation_drop` is this drop on the `validation_images` validation images, and
    `validation_accuracy` that of the file. `baseline_drop` is the drop from the baseline on them;
    on `validation_lost` of them only the baseline is right, on `validation_gained` only the file.
    `output_difference` is the largest difference of any
    output from the model's. `order0_entropy_bytes` is the entropy of the mask and of each byte
    position of the values, NaN where it is unknown. `key` is that of the stage.
    """
    result, baseline = (read_result(store, one.key, ModelResult) for one in (model, dense))
    keys = {name: export_stage(model.key, name).key for name in names}
    exports = [(name, key, known(store, key, ExportResult)) for name, key in keys.items()]
    rows = [_row(name, key, export, result, baseline) for name, key, export in exports if export]
    return pd.DataFrame(rows, columns=[*CSV_COLUMNS, *VALIDATION_COLUMNS, "key"])


def _row(
    name: str, key: str, export: ExportResult, model: ModelResult, baseline: ModelResult
) -> dict[str, Any]:
    entropy = export.order0_entropy
    dense_right, file_right = (
        base64.b64decode(result.validation_correct) for result in (baseline, export)
    )
    lost, gained = discordant(dense_right, file_right, export.validation_images)
    return {
        "format": name,
        "file": export.file,
        "bytes": export.bytes,
        "order0_entropy_bytes": sum(entropy.values()) if entropy else float("nan"),
        "compression_ratio": baseline.dense_bytes / export.bytes,
        "accuracy": export.accuracy,
        "accuracy_low": export.accuracy_low,
        "accuracy_high": export.accuracy_high,
        "accuracy_drop": model.accuracy - export.accuracy,
        "test_images": export.test_images,
        "output_difference": export.difference,
        "notes": export.notes,
        "validation_accuracy": export.validation_accuracy,
        "validation_drop": model.validation_accuracy - export.validation_accuracy,
        "validation_images": export.validation_images,
        "baseline_drop": baseline.validation_accuracy - export.validation_accuracy,
        "validation_lost": lost,
        "validation_gained": gained,
        "key": key,
    }


def why_not_offered(row: Mapping[Any, Any]) -> str:
    """Why a file, a row of `files_frame`, is not offered; empty where it is.

    The outputs of exact files are compared with the model's when they are written. Any other
    file is refused where the whole 95 % interval of its accuracy on the validation images lies
    more than `MAX_DROP` below the model's. Test images decide nothing.
    """
    accuracy, images = row["validation_accuracy"], row["validation_images"]
    model_accuracy = accuracy + row["validation_drop"]
    highest = wilson(round(accuracy * images), images)[1]
    if FILE_FORMATS[row["format"]].exact or highest >= model_accuracy - MAX_DROP:
        return ""
    return (
        f"{FILE_FORMATS[row['format']].title} is not offered: its accuracy on the validation "
        f"images is {format_percent(accuracy)}, that of the model {format_percent(model_accuracy)}."
    )


def file_notes(frame: pd.DataFrame) -> list[str]:
    """Each note once, after the formats that it concerns."""
    formats: dict[str, list[str]] = {}
    for row in frame.to_dict("records"):
        for note in row["notes"]:
            formats.setdefault(note, []).append(FILE_FORMATS[row["format"]].title)
    return [f"{join_words(titles)}: {note}" for note, titles in formats.items()]


def to_csv(frame: pd.DataFrame) -> str:
    """The rows of `files_frame` as CSV, `notes` joined by "; "."""
    table = frame.assign(notes=["; ".join(notes) for notes in frame["notes"]])
    return csv_text(table, CSV_COLUMNS)


def files_table(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of `files_frame` as text."""
    rows = frame.to_dict("records")
    entropies = ["" if missing(x) else format_bytes(x) for x in frame["order0_entropy_bytes"]]
    return pd.DataFrame(
        {
            "Format": [FILE_FORMATS[row["format"]].title for row in rows],
            "Size": [format_bytes(row["bytes"]) for row in rows],
            "Order-0 entropy": entropies,
            "Compression": [f"{format_times(x)}x" for x in frame["compression_ratio"]],
            "Accuracy": [format_percent(row["accuracy"]) for row in rows],
            "95 % CI": [
                f"{format_percent(row['accuracy_low'])} to {format_percent(row['accuracy_high'])}"
                for row in rows
            ],
            "Accuracy drop": [format_points(row["accuracy_drop"]) for row in rows],
        }
    )


def sizes_text(frame: pd.DataFrame) -> str:
    """The sizes of all files in words, for people who do not see the chart."""
    sizes = [
        f"{FILE_FORMATS[row['format']].title} {format_bytes(row['bytes'])}"
        for row in frame.to_dict("records")
    ]
    return f"Size on disk: {join_words(sizes)}."


def available_formats(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The formats that this machine can write, and a sentence for each other one."""
    names = list(names)
    unavailable = [
        name
        for name in names
        if (package := FILE_FORMATS[name].package) and find_spec(package) is None
    ]
    return (
        [name for name in names if name not in unavailable],
        [missing_package(name) for name in unavailable],
    )


def missing_package(name: str) -> str:
    """Why a format cannot be written here."""
    file_format = FILE_FORMATS[name]
    return (
        f"{file_format.title} is skipped: the package {file_format.package} is not installed "
        f"(pip install {file_format.package})."
    )

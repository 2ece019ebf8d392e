"""The files of a finished point as a table: bytes, accuracy, and how small they could be."""

from __future__ import annotations

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
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import PlannedModel, Reader, known

# A file that surely loses more than this of its model's accuracy is no form of that model.
MOST_LOST = 0.05
CSV_COLUMNS = (
    "format",
    "file",
    "bytes",
    "floor_bytes",
    "compression_ratio",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "accuracy_drop",
    "test_images",
    "score_difference",
    "notes",
)


def ladder(
    point: PlannedModel,
    dense: PlannedModel,
    store: Reader,
    names: Iterable[str] = tuple(FILE_FORMATS),
) -> pd.DataFrame:
    """A row for each file that was made of a point, in the order of `FORMATS`.

    Fractions from 0 to 1 and bytes. `compression_ratio` is the bytes of the dense file of its
    baseline, the point `dense`, over the file's. `accuracy_drop` is the point's accuracy minus
    the file's. `floor_bytes` is the entropy of the mask and of each byte place of the values, NaN
    where none is known. `key` is the stage's.
    """
    whole, dense_bytes = store.read(point.key), store.read(dense.key)["dense_bytes"]
    keys = {name: export_stage(point.key, name).key for name in names}
    found = [(name, key, known(store, key)) for name, key in keys.items()]
    rows = [_row(name, key, made, whole, dense_bytes) for name, key, made in found if made]
    return pd.DataFrame(rows, columns=[*CSV_COLUMNS, "key"])


def not_offered(row: Mapping[Any, Any]) -> str:
    """Why a file of a ladder's row is none to take away, in a sentence; nothing where it is.

    Exact files are compared score by score when they are made; of others the whole interval of
    the accuracy must lie below what they may lose.
    """
    model = row["accuracy"] + row["accuracy_drop"]
    if FILE_FORMATS[row["format"]].exact or row["accuracy_high"] >= model - MOST_LOST:
        return ""
    return (
        f"{FILE_FORMATS[row['format']].title} is not offered: of the model's {format_percent(model)} it "
        f"keeps {format_percent(row['accuracy'])}."
    )


def notes_told(frame: pd.DataFrame) -> list[str]:
    """Each note once, after the files that it is on."""
    found: dict[str, list[str]] = {}
    for row in frame.to_dict("records"):
        for note in row["notes"]:
            found.setdefault(note, []).append(FILE_FORMATS[row["format"]].title)
    return [f"{join_words(titles)}: {note}" for note, titles in found.items()]


def to_csv(frame: pd.DataFrame) -> str:
    """The table as a file, `notes` joined by "; "."""
    told = frame.assign(notes=["; ".join(notes) for notes in frame["notes"]])
    return told.to_csv(index=False, columns=list(CSV_COLUMNS), lineterminator="\n")


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The same as text for people."""
    rows = frame.to_dict("records")
    return pd.DataFrame(
        {
            "File": [FILE_FORMATS[row["format"]].title for row in rows],
            "Size": [format_bytes(row["bytes"]) for row in rows],
            "Floor": ["" if missing(x) else format_bytes(x) for x in frame["floor_bytes"]],
            "Smaller": [f"{format_times(x)} times" for x in frame["compression_ratio"]],
            "Accuracy": [format_percent(row["accuracy"]) for row in rows],
            "95 % interval": [
                f"{format_percent(row['accuracy_low'])} to {format_percent(row['accuracy_high'])}"
                for row in rows
            ],
            "Lost by the file": [format_points(row["accuracy_drop"]) for row in rows],
        }
    )


def _row(
    name: str, key: str, made: dict[str, Any], point: dict[str, Any], dense_bytes: int
) -> dict[str, Any]:
    floor = made["entropy_bound"]
    return {
        "format": name,
        "file": made["file"],
        "bytes": made["bytes"],
        "floor_bytes": sum(floor.values()) if floor else float("nan"),
        "compression_ratio": dense_bytes / made["bytes"],
        "accuracy": made["accuracy"],
        "accuracy_low": made["accuracy_low"],
        "accuracy_high": made["accuracy_high"],
        "accuracy_drop": point["accuracy"] - made["accuracy"],
        "test_images": made["test_images"],
        "score_difference": made["difference"],
        "notes": made["notes"],
        "key": key,
    }


def available(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The formats that this machine can make, and a sentence for each other one."""
    wanted = list(names)
    left = [name for name in wanted if (p := FILE_FORMATS[name].package) and find_spec(p) is None]
    return [name for name in wanted if name not in left], [missing_package(name) for name in left]


def missing_package(name: str) -> str:
    """Why a format cannot be made here."""
    about = FILE_FORMATS[name]
    return (
        f"{about.title} is left out: it needs the package {about.package}, which is not "
        f"installed (pip install {about.package})."
    )

"""Points pruned and quantized: the int8 files of a comparison's points, as series of their own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pruning_core.methods.strategies import CORRECTION, QUANTIZED, STRATEGIES
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Reader, Stage, known
from pruning_core.results.rows import Row

FORMATS = {name: STRATEGIES[name].file_format for name in QUANTIZED}
MEASURED = ("accuracy", "accuracy_low", "accuracy_high", "loss", "test_images")


def int8_rows(rows: Iterable[Row], store: Reader) -> list[Row]:
    """A row for each int8 file that was made of a point.

    It has the point's figures, but for what was measured on the file. `of` is the strategy of
    the point. No validation images were looked at, so it has no `validation_drop`.
    """
    return [
        _row(row, strategy, made)
        for row in rows
        for strategy, name in FORMATS.items()
        if row["strategy"] != CORRECTION
        and (made := known(store, export_stage(row["key"], name).key))
    ]


def _row(row: Row, strategy: str, made: dict[str, Any]) -> Row:
    # The baseline's own training is no fine-tuning of its file.
    spent = {"epochs": 0, "seconds": 0.0} if row["strategy"] == "baseline" else {}
    return {
        **row,
        **spent,
        **{name: made[name] for name in MEASURED},
        "strategy": strategy,
        "of": row["strategy"],
        "accuracy_drop": row["accuracy_drop"] + row["accuracy"] - made["accuracy"],
        "sparse_bytes": made["bytes"],
        "compression_ratio": row["compression_ratio"] * row["sparse_bytes"] / made["bytes"],
        "validation_drop": float("nan"),
        "correct": None,
        "notes": made["notes"],
    }


def int8_stages(rows: Iterable[Row]) -> list[Stage]:
    """The stages that make both int8 files of every point; rungs of a ladder have none here."""
    keys = dict.fromkeys(
        row["key"] for row in rows if row["strategy"] not in (CORRECTION, *FORMATS)
    )
    return [export_stage(key, name) for key in keys for name in FORMATS.values()]

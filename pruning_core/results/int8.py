"""The int8 files of a comparison's models, as series of their own."""

from __future__ import annotations

from collections.abc import Iterable

from pruning_core.methods.strategies import BASELINE, CORRECTION, QUANTIZED, STRATEGIES
from pruning_core.planning.exports import export_stage
from pruning_core.planning.measurement_types import ExportResult
from pruning_core.planning.stage import Reader, Stage, known
from pruning_core.results.rows import Row

FORMATS = {name: STRATEGIES[name].file_format for name in QUANTIZED}


def int8_rows(rows: Iterable[Row], store: Reader) -> list[Row]:
    """A row for each int8 file of a model.

    It has the figures of the model, except those measured on the file. `quantized_from` is the
    strategy of the model. `validation_drop` is NaN: the best model is selected among the models,
    of which these are files.
    """
    return [
        _row(row, strategy, export)
        for row in rows
        for strategy, file_format in FORMATS.items()
        if row["strategy"] != CORRECTION
        and (export := known(store, export_stage(row["key"], file_format).key, ExportResult))
    ]


def _row(row: Row, strategy: str, export: ExportResult) -> Row:
    # The baseline's own training is no fine-tuning of its file.
    cost = {"epochs": 0, "seconds": 0.0} if row["strategy"] == BASELINE else {}
    return {
        **row,
        **cost,
        "accuracy": export.accuracy,
        "accuracy_low": export.accuracy_low,
        "accuracy_high": export.accuracy_high,
        "loss": export.loss,
        "processor": export.processor,
        "torch": export.versions.get("torch", ""),
        "test_images": export.test_images,
        "strategy": strategy,
        "quantized_from": row["strategy"],
        "accuracy_drop": row["accuracy_drop"] + row["accuracy"] - export.accuracy,
        "sparse_bytes": export.bytes,
        "compression_ratio": row["compression_ratio"] * row["sparse_bytes"] / export.bytes,
        "validation_accuracy": export.validation_accuracy,
        "validation_images": export.validation_images,
        "validation_drop": float("nan"),
        "correct": None,
        "notes": export.notes,
    }


def int8_stages(rows: Iterable[Row]) -> list[Stage]:
    """The stages that write both int8 files of every model, except of corrected models."""
    keys = dict.fromkeys(
        row["key"] for row in rows if row["strategy"] not in (CORRECTION, *FORMATS)
    )
    return [export_stage(key, name) for key in keys for name in FORMATS.values()]

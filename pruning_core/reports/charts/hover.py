"""What a chart tells about one point when the pointer rests on it."""

from __future__ import annotations

import html
from collections.abc import Iterable
from textwrap import wrap
from typing import Any

from pruning_core.common.formatting import (
    format_bytes,
    format_epochs,
    format_macs,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    missing,
)
from pruning_core.methods.strategies import QUANTIZED, STRUCTURED
from pruning_core.results.rows import row_name

Row = dict[str, Any]
WIDTH = 80


def hover_text(row: Row) -> str:
    """Every known figure of a point (or of a mean over seeds), as lines of Plotly's HTML."""
    lines = [
        _heading(row),
        *_sparsity(row),
        *_accuracy(row),
        *_size(row),
        *_spent(row),
        *(html.escape(line) for note in row.get("notes") or () for line in wrap(str(note), WIDTH)),
    ]
    return "<br>".join(lines)


def _heading(row: Row) -> str:
    name = row_name(row)
    in_steps = row["strategy"] in ("iterative", STRUCTURED) and row["iteration"]
    step = f", step {row['iteration']}" if in_steps else ""
    seed = f"mean of {row['seeds']} seeds" if "seeds" in row else f"seed {row['seed']}"
    return f"<b>{name}</b>{step}, {seed}, {html.escape(str(row['run']))}"


def _known(row: Row, *columns: str) -> bool:
    return all(column in row and not missing(row[column]) for column in columns)


def _sparsity(row: Row) -> Iterable[str]:
    if _known(row, "sparsity_asked", "sparsity_prunable"):
        asked, reached = row["sparsity_asked"], row["sparsity_prunable"]
        yield f"asked {format_percent(asked)}, reached {format_percent(reached, 2)} of the " + (
            "prunable weights"
        )
    counts = (("sparsity_weights", "all layer weights"), ("sparsity_model", "the model"))
    known = [f"{format_percent(row[c], 2)} of {name}" for c, name in counts if _known(row, c)]
    if known:
        yield "sparsity " + ", ".join(known)
    if row.get("returned"):
        yield f"{row['returned']:,} removed weights came back in this cut"


def _accuracy(row: Row) -> Iterable[str]:
    if not _known(row, "accuracy"):
        return
    interval = ""
    if _known(row, "accuracy_low", "accuracy_high"):
        low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
        interval = f" (95 % interval {low} to {high})"
    yield f"accuracy {format_percent(row['accuracy'])}{interval}"
    if _known(row, "accuracy_drop") and row["strategy"] != "baseline":
        yield f"accuracy drop {format_points(row['accuracy_drop'])}"


def _size(row: Row) -> Iterable[str]:
    if _known(row, "sparse_bytes"):
        dense = f", dense file {format_bytes(row['dense_bytes'])}"
        kind = "int8 file" if row["strategy"] in QUANTIZED else "sparse file"
        yield f"{kind} {format_bytes(row['sparse_bytes'])}" + (
            dense if _known(row, "dense_bytes") else ""
        )
    if _known(row, "compression_ratio"):
        yield f"compression ratio {format_times(row['compression_ratio'])}"
    if _known(row, "parameters", "nonzero"):
        yield f"{row['nonzero']:,.0f} of {row['parameters']:,.0f} parameters are not zero"
    if _known(row, "macs"):
        yield f"{format_macs(row['macs'])} multiply-accumulates (MACs) an image"


def _spent(row: Row) -> Iterable[str]:
    if _known(row, "epochs", "seconds"):
        work = "training" if row["strategy"] == "baseline" else "fine-tuning"
        yield f"{work}: {format_epochs(row['epochs'])}, {format_seconds(row['seconds'])}"

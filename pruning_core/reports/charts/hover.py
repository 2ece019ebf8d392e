"""The hover text of a model on a comparison chart."""

from __future__ import annotations

import html
from collections.abc import Iterable
from textwrap import wrap

from pruning_core.common.formatting import (
    format_bytes,
    format_epochs,
    format_macs,
    format_percent,
    format_points,
    format_seconds,
    format_times,
    missing,
    signed,
    signed_bytes,
)
from pruning_core.methods.strategies import BASELINE, QUANTIZED, STRATEGIES
from pruning_core.results.rows import Row, row_name

WIDTH = 80


def hover_text(row: Row) -> str:
    """Every known value of a model, or of a mean over seeds, as lines of Plotly's HTML."""
    lines = [
        _heading(row),
        *_sparsity(row),
        *_accuracy(row),
        *_size(row),
        *_difference(row),
        *_training(row),
        *(html.escape(line) for note in row.get("notes") or () for line in wrap(str(note), WIDTH)),
    ]
    return "<br>".join(lines)


def _heading(row: Row) -> str:
    has_steps = STRATEGIES[row["strategy"]].has_steps and row["iteration"]
    step = f", step {row['iteration']}" if has_steps else ""
    seed = f"mean of {row['seeds']} seeds" if "seeds" in row else f"seed {row['seed']}"
    return f"<b>{row_name(row)}</b>{step}, {seed}, {html.escape(str(row['run']))}"


def _known(row: Row, *columns: str) -> bool:
    return all(column in row and not missing(row[column]) for column in columns)


def _sparsity(row: Row) -> Iterable[str]:
    if _known(row, "sparsity_asked", "sparsity_prunable"):
        target = format_percent(row["sparsity_asked"])
        reached = format_percent(row["sparsity_prunable"], 2)
        yield f"target sparsity {target}, reached {reached} (prunable weights)"
    scopes = (("sparsity_weights", "conv + linear weights"), ("sparsity_model", "all parameters"))
    known = [f"{format_percent(row[c], 2)} ({scope})" for c, scope in scopes if _known(row, c)]
    if known:
        yield "sparsity " + ", ".join(known)
    if row.get("regrown"):
        yield f"{row['regrown']:,} pruned weights regrown in this step"


def _accuracy(row: Row) -> Iterable[str]:
    if not _known(row, "accuracy"):
        return
    interval = ""
    if _known(row, "accuracy_low", "accuracy_high"):
        low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
        interval = f" (95 % CI {low} to {high})"
    yield f"accuracy {format_percent(row['accuracy'])}{interval}"
    if _known(row, "accuracy_drop") and row["strategy"] != BASELINE:
        yield f"accuracy drop {format_points(row['accuracy_drop'])}"
    if _known(row, "validation_accuracy", "validation_images"):
        images = f"{row['validation_images']:,.0f} images"
        yield f"validation accuracy {format_percent(row['validation_accuracy'])} ({images})"


def _size(row: Row) -> Iterable[str]:
    if _known(row, "sparse_bytes"):
        file = "int8 file" if row["strategy"] in QUANTIZED else "sparse file"
        known = _known(row, "dense_bytes")
        dense = f", dense file {format_bytes(row['dense_bytes'])}" if known else ""
        yield f"{file} {format_bytes(row['sparse_bytes'])}{dense}"
    if _known(row, "compression_ratio"):
        yield f"compression ratio {format_times(row['compression_ratio'])}x"
    if _known(row, "parameters", "nonzero"):
        yield f"{row['nonzero']:,.0f} of {row['parameters']:,.0f} parameters are non-zero"
    if _known(row, "macs"):
        yield f"{format_macs(row['macs'])} multiply-accumulates (MACs) per image"


def _difference(row: Row) -> Iterable[str]:
    """The differences from the reference, where the rows have one."""
    if _known(row, "accuracy_difference", "bytes_difference"):
        points, size = signed(row["accuracy_difference"]), signed_bytes(row["bytes_difference"])
        yield f"{points} points and {size} from {html.escape(row['reference'])}"


def _training(row: Row) -> Iterable[str]:
    if _known(row, "epochs", "seconds"):
        work = "training" if row["strategy"] == BASELINE else "fine-tuning"
        yield f"{work}: {format_epochs(row['epochs'])}, {format_seconds(row['seconds'])}"

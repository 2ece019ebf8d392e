"""The strategies that are compared: their names in tables and on charts."""

from __future__ import annotations

from typing import Any

from pruning_core.methods.corrections import rung_title

Row = dict[str, Any]


INT8_SPARSE, INT8_ONNX = INT8 = ("int8_sparse", "int8_onnx")


INT8_NAMES = {INT8_SPARSE: "int8 sparse", INT8_ONNX: "int8 ONNX"}


STRATEGY_NAMES = {
    "baseline": "baseline",
    "one_shot": "one-shot",
    "one_shot_matched": "one-shot, same epochs",
    "iterative": "iterative",
    "ladder": "without training",
    "structured": "channels removed",
    **{kind: f"pruned, {name}" for kind, name in INT8_NAMES.items()},
}


CONTROL_NAME = "dense control"


LADDER = "ladder"


STRUCTURED = "structured"


def is_control(row: Row) -> bool:
    """Whether this is the dense control: one-shot at amount 0, fine-tuned alike but not cut."""
    return bool(row["strategy"] == "one_shot" and row["sparsity_asked"] == 0)


def is_pruned(row: Row) -> bool:
    """Whether weights of this point were asked to go. A point's int8 file is no point."""
    return bool(row["strategy"] not in ("baseline", *INT8) and row["sparsity_asked"] > 0)


def point_name(strategy: str, asked: float, iteration: int = 0) -> str:
    """The name of a point's series, as charts and tables print it, with its rung on a ladder."""
    if strategy == LADDER:
        return f"{STRATEGY_NAMES[LADDER]}, {rung_title(iteration)}"
    if strategy == "one_shot" and asked == 0:
        return CONTROL_NAME
    return STRATEGY_NAMES.get(strategy, strategy)


def row_name(row: Row) -> str:
    """The same for a row; an int8 file's says whose it is."""
    if row["strategy"] not in INT8:
        return point_name(row["strategy"], row["sparsity_asked"], row["iteration"])
    whose = point_name(row["of"], row["sparsity_asked"], row["iteration"])
    return f"{whose}, {INT8_NAMES[row['strategy']]}"

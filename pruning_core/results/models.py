"""From finished stages to a table with a row a point."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Protocol

import pandas as pd

from pruning_core.common.formatting import format_epochs, format_percent
from pruning_core.methods.strategies import STRUCTURED
from pruning_core.planning.stage import Outline, PlannedModel, Reader, known
from pruning_core.results.int8 import int8_rows
from pruning_core.results.rows import Row, model_name


class Checker(Protocol):
    """The part of a store that tells whether a result is there and whole."""

    def intact(self, key: str) -> bool: ...


def points(
    outline: Outline, store: Reader, run: str = "", run_id: str = "", data: str = ""
) -> pd.DataFrame:
    """The points of a job whose stages are done, and their int8 files where those were made.

    There are no rows where the baseline is not. The columns are those of `point_rows`.
    """
    rows = point_rows(outline, store, run, run_id, data)
    return pd.DataFrame([*rows, *int8_rows(rows, store)])


def point_rows(
    outline: Outline, store: Reader, run: str = "", run_id: str = "", data: str = ""
) -> list[Row]:
    """The same as rows.

    Fractions from 0 to 1, sizes in bytes. `accuracy_low` and `accuracy_high` are the 95 %
    Wilson interval: the sampling of test images only. `epochs` and `seconds` of a pruned point
    are those spent on it since the baseline; a baseline has its own. `compression_ratio` is the
    baseline's dense file over the point's sparse file. `macs` are multiply-accumulates for one
    image; `validation_images` is how many images `validation_drop` was measured on. Both are NaN
    where they were not counted. `data` names the data set.
    """
    baselines = {p.seed: known(store, p.key) for p in outline.models if p.strategy == "baseline"}
    dense_macs = _dense_macs(outline, store)
    facts = _facts(outline, store)
    shared = {"run": run, "run_id": run_id, "data": data, "chance": _chance(facts)}
    notes = [note for found in facts for note in found.get("notes", [])]
    rows = []
    for point in outline.models:
        result, baseline = known(store, point.key), baselines[point.seed]
        if result and baseline:
            macs = result.get("macs", dense_macs)
            rows.append({**_row(point, result, baseline, notes), "macs": macs, **shared})
    return rows


def _dense_macs(outline: Outline, store: Reader) -> float:
    """The multiply-accumulates of the dense model, which masks leave; NaN where not counted.

    They are counted where channels are removed.
    """
    found = (known(store, p.key) for p in outline.models if p.strategy == STRUCTURED)
    return next((float(each["dense_macs"]) for each in found if each), float("nan"))


def damaged(outline: Outline, store: Checker, done: Iterable[str]) -> list[str]:
    """Keys of points that are `done` in the queue but can no longer be read from the store."""
    wanted = {point.key for point in outline.models}
    return [key for key in done if key in wanted and not store.intact(key)]


def titles(outline: Outline) -> dict[str, tuple[str, str]]:
    """A short name and the strategy of each stage that is a point, by its key."""
    several = len({point.seed for point in outline.models}) > 1
    return {
        point.key: (_title(point) + f", seed {point.seed}" * several, point.strategy)
        for point in outline.models
    }


def chain_names(outline: Outline) -> dict[PlannedModel, str]:
    """The name of the chain of steps that a point is in, where it is in one."""
    found: dict[PlannedModel, str] = {}
    chain: list[PlannedModel] = []
    for point in outline.models:
        if point.strategy == "iterative":
            found[point] = "iterative"
        if point.strategy != STRUCTURED:
            continue
        # A chain's first step is 1; a cut that is no chain stands by itself as 0.
        chain = [point] if point.iteration <= 1 else [*chain, point]
        name = f"channels {format_percent(chain[-1].target)}"
        found.update(dict.fromkeys(chain, name))
    return found


def _title(point: PlannedModel) -> str:
    if point.final:
        of = "channels, " if point.strategy == STRUCTURED else ""
        return f"{of}tail, {format_percent(point.target)}"
    asked = format_percent(point.target)
    names = {
        "baseline": "baseline",
        "one_shot": f"one-shot {asked}" if point.target else "dense control",
        "one_shot_equal_budget": f"same epochs {asked}",
        "iterative": f"step {point.iteration}, {asked}",
        "correction": f"{model_name(point.strategy, point.target, point.iteration)}, {asked}",
        STRUCTURED: f"channels {asked}" + f", step {point.iteration}" * bool(point.iteration),
    }
    return names[point.strategy]


def together(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Several runs in one table."""
    filled = [frame for frame in frames if not frame.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def _facts(outline: Outline, store: Reader) -> list[dict[str, Any]]:
    """What was found out for all points alike; a baseline's notes are those of its seed only."""
    own = {point.key for point in outline.models}
    return [known(store, key) or {} for key in outline.noted if key not in own]


def _chance(facts: list[dict[str, Any]]) -> float:
    """The share of the largest class, which a model reaches that always names it."""
    for counts in (found["test_counts"] for found in facts if found.get("test_counts")):
        return float(max(counts) / sum(counts))
    return float("nan")


def _tail_note(point: PlannedModel, result: dict[str, Any]) -> str:
    epochs = format_epochs(result["epochs"])
    return f"Step {point.iteration} is the tail: no cut, {epochs} with the rate falling to 0."


def _row(
    point: PlannedModel, result: dict[str, Any], baseline: dict[str, Any], notes: list[str]
) -> Row:
    total = "" if point.strategy == "baseline" else "_total"
    tail = [_tail_note(point, result)] if point.final else []
    return {
        "strategy": point.strategy,
        "of": "",
        "seed": point.seed,
        "iteration": point.iteration,
        "sparsity_asked": point.target,
        "sparsity_prunable": result["prunable_zeros"] / result["prunable"],
        "sparsity_weights": result["weights_zeros"] / result["weights"],
        "sparsity_model": 1 - result["nonzero"] / result["parameters"],
        "accuracy": result["accuracy"],
        "accuracy_low": result["accuracy_low"],
        "accuracy_high": result["accuracy_high"],
        "accuracy_drop": baseline["accuracy"] - result["accuracy"],
        "dense_bytes": result["dense_bytes"],
        "sparse_bytes": result["sparse_bytes"],
        "compression_ratio": baseline["dense_bytes"] / result["sparse_bytes"],
        "parameters": result["parameters"],
        "nonzero": result["nonzero"],
        "epochs": result[f"epochs{total}"],
        "seconds": result[f"seconds{total}"],
        "returned": result.get("returned", 0),
        "validation_drop": baseline["validation_accuracy"] - result["validation_accuracy"],
        "validation_images": result.get("validation_images", float("nan")),
        "key": point.key,
        "loss": result["loss"],
        "correct": base64.b64decode(result["correct"]),
        "test_images": result["test_images"],
        "test_digest": result["test_digest"],
        "history": result["history"],
        "versions": result["versions"],
        "device": result["device"],
        "threads": result["threads"],
        "notes": list(dict.fromkeys([*notes, *baseline["notes"], *tail, *result["notes"]])),
    }

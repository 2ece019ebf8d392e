"""Invented results of a comparison, as rows of its frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pruning_core.common.statistics import wilson

DENSE_BYTES = 9_190_000
PARAMETERS = 2_236_682
PRUNABLE = 2_202_560
TEST_IMAGES = 400


def packed(right: int, n: int = TEST_IMAGES, shift: int = 0) -> bytes:
    """Packed bits in which `right` of `n` images are correct, from image number `shift` on."""
    flags = np.zeros(n, dtype=np.uint8)
    flags[(np.arange(right) + shift) % n] = 1
    return np.packbits(flags).tobytes()


def point(strategy: str, asked: float = 0.0, right: int = 380, **changes: Any) -> dict[str, Any]:
    """One row of a frame; `right` is the number of correct test images."""
    n = changes.pop("test_images", TEST_IMAGES)
    low, high = wilson(right, n)
    sparse_bytes = int(DENSE_BYTES * (1.03 - asked) * 0.95)
    row: dict[str, Any] = {
        "strategy": strategy,
        "quantized_from": "",
        "seed": 0,
        "iteration": 0,
        "sparsity_asked": asked,
        "sparsity_prunable": asked,
        "sparsity_weights": asked,
        "sparsity_model": asked * PRUNABLE / PARAMETERS,
        "accuracy": right / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "accuracy_drop": 0.95 - right / n,
        "dense_bytes": DENSE_BYTES,
        "sparse_bytes": sparse_bytes,
        "compression_ratio": DENSE_BYTES / sparse_bytes,
        "parameters": PARAMETERS,
        "nonzero": PARAMETERS - round(asked * PRUNABLE),
        "macs": float("nan"),
        "epochs": 2,
        "seconds": 20.0,
        "regrown": 0,
        "validation_images": 10_000,
        "validation_accuracy": right / n,
        "run": "run",
        "run_id": "run-1",
        "loss": 0.3,
        "correct": packed(right, n, changes.pop("shift", 0)),
        "test_images": n,
        "test_digest": "images-1",
        "processor": "Chip 9000 (AVX2)",
        "torch": "2.9.0",
        "history": [],
        "notes": [],
    }
    row |= changes
    row.setdefault("validation_drop", row["accuracy_drop"])
    row |= {**validation_pairs(row), **changes}
    return {"key": f"{row['run']}-{strategy}-{row['seed']}-{row['iteration']}-{asked}", **row}


def validation_pairs(row: dict[str, Any]) -> dict[str, Any]:
    """The pairs of a model whose predictions differ from the baseline's only as far as needed."""
    if row["validation_drop"] != row["validation_drop"]:
        return {"validation_lost": 0, "validation_gained": 0}
    images = round(row["validation_drop"] * row["validation_images"])
    return {"validation_lost": max(0, images), "validation_gained": max(0, -images)}


def comparison(seed: int = 0, luck: int = 0, **changes: Any) -> list[dict[str, Any]]:
    """The rows of one small comparison; `luck` images are added to every count."""
    extra = {"seed": seed, **changes}
    rows = [point("baseline", 0.0, 380 + luck, epochs=20, seconds=60.0, **extra)]
    for asked, right in ((0.0, 382), (0.5, 380), (0.7, 376), (0.9, 280)):
        rows.append(point("one_shot", asked, right + luck, **extra))
    targets = (0.369, 0.602, 0.749, 0.842, 0.9)
    for i, (asked, right) in enumerate(zip(targets, (381, 379, 378, 372, 330), strict=True), 1):
        spent = {"epochs": 2 * i, "seconds": 21.0 * i, "iteration": i}
        rows.append(point("iterative", asked, right + luck, **extra, **spent))
    rows.append(point("one_shot_equal_budget", 0.9, 352 + luck, epochs=10, seconds=101.0, **extra))
    for row in rows:
        row["accuracy_drop"] = rows[0]["accuracy"] - row["accuracy"]
        row["validation_drop"] = row["accuracy_drop"]
        row |= {**validation_pairs(row), **changes}
    return rows


def in_run(rows: list[dict[str, Any]], name: str, *seeds: int) -> list[dict[str, Any]]:
    """The rows of these seeds as those of a run that shares their stages."""
    return [{**row, "run": name, "run_id": f"run-{name}"} for row in rows if row["seed"] in seeds]


def three_seeds(lucks: tuple[int, int, int] = (0, 4, -4), **changes: Any) -> list[dict[str, Any]]:
    """The rows of a comparison with seeds 0, 1 and 2; `lucks` are added to their counts."""
    return [row for seed in range(3) for row in comparison(seed, lucks[seed], **changes)]


def frame(*rows: dict[str, Any] | list[dict[str, Any]]) -> pd.DataFrame:
    """A frame of single rows and of lists of rows."""
    flat = [row for entry in rows for row in (entry if isinstance(entry, list) else [entry])]
    return pd.DataFrame(flat)

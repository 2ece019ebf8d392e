"""Results of latency stages, made by hand."""

from __future__ import annotations

from typing import Any


class FixedResults:
    """A store in which every stage has finished with the same rows."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def exists(self, key: str) -> bool:
        return True

    def read(self, key: str) -> dict[str, Any]:
        return measurement(self.rows)


def measurement(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The result of a stage that measured these rows: latencies, or products of kernels."""
    machine = {"processor": "processor (AVX512)"}
    return {"rows": rows, "image_size": 32, "circumstances": machine, "seconds": 1.0, "notes": []}


def timed(
    point: str,
    role: str,
    batch: int = 1,
    ratio: float | None = None,
    runtime: str = "onnx",
    fastest: float | None = None,
) -> dict[str, Any]:
    """A row of a latency stage for the model with the key `point`.

    `fastest` is the speed-up over the dense model in ONNX Runtime as the fastest dense runtime.
    """
    compared = {
        "ratio": ratio,
        "ratio_low": ratio and 0.9 * ratio,
        "ratio_high": ratio and 1.2 * ratio,
        "judgement": ratio and "faster",
    }
    over_fastest = {
        "fastest_ratio": fastest,
        "fastest_ratio_low": fastest and 0.9 * fastest,
        "fastest_ratio_high": fastest and 1.2 * fastest,
        "fastest_judgement": fastest and "faster",
        "fastest_runtime": fastest and "onnx",
    }
    return {
        **{"point": point, "runtime": runtime, "role": role, "batch": batch, "threads": 1},
        **{"image_size": 32, "bytes": 1000, "first_runtime": "onnx", "rounds": 40},
        **{"p10_ms": 1.0, "p50_ms": 2.0, "p90_ms": 5.0, "images_per_second": 500.0},
        **compared,
        **{f"first_{name}": value for name, value in compared.items()},
        **over_fastest,
    }

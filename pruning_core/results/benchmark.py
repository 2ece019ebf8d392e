"""The results of `benchmark` on this machine: figures with their spread, kept in the cache."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import join_words


@dataclass(frozen=True)
class Measure:
    """What a figure measures: `short` for a chart, `text` as a sentence."""

    short: str
    text: str


MASK_SELECTION = "Speed-up of global mask selection over torch.nn.utils.prune."
FIGURES: dict[str, Measure] = {
    "speedup_32": Measure(
        "full comparison, 32x32",
        "Speed-up of the full comparison at 32x32 over the assignment's script.",
    ),
    "speedup_224": Measure(
        "full comparison, 224x224",
        "Speed-up of a smaller comparison at 224x224 over the assignment's script.",
    ),
    "speedup_workers": Measure(
        "two processes over one",
        "Speed-up of two training processes that share the work over one process.",
    ),
    "masked_over_dense": Measure(
        "masked / dense step",
        "Time of a training step at 90 % sparsity divided by that of a dense step.",
    ),
    "peak_share": Measure(
        "share of peak",
        "Operations per second of a training step divided by those of one large matrix product.",
    ),
    "mask_choice_mobilenet_v2": Measure("mask selection, MobileNetV2", MASK_SELECTION),
    "mask_choice_resnet50": Measure("mask selection, ResNet-50", MASK_SELECTION),
    "mask_choice_vit_b_16": Measure("mask selection, ViT-B/16", MASK_SELECTION),
    "cached_open_seconds": Measure(
        "open a cached comparison", "Seconds from settings with cached results to drawn charts."
    ),
}
# The figures of `benchmark --device cuda`.
GPU_FIGURES: dict[str, Measure] = {
    "gpu_images_per_second": Measure(
        "images per second",
        "Training images per second, MobileNetV2 at 32x32, batch size 512, bfloat16.",
    ),
    "gpu_loader": Measure(
        "loader", "Speed of our loader divided by that of a loader that augments whole epochs."
    ),
    "gpu_step": Measure(
        "training, images per second",
        "Speed-up of training, in images per second, over the assignment's script on this GPU.",
    ),
    "gpu_processes": Measure(
        "two processes over one, on one GPU",
        "Speed-up of two training processes that share the GPU over one process.",
    ),
    "gpu_comparison": Measure(
        "full comparison, 32x32, on the GPU",
        "Speed-up of the full comparison at 32x32 over the assignment's script on this GPU.",
    ),
}
ALL_FIGURES = {**FIGURES, **GPU_FIGURES}


@dataclass(frozen=True)
class MedianRange:
    """The median of several rounds, and the lowest and the highest of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class BenchmarkResult:
    """The figures of one run of `benchmark`, and the environment that it ran in."""

    figures: dict[str, MedianRange]
    circumstances: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The figures at the top level, as `median, low, high`, and the environment."""
        value = {name: asdict(figure) for name, figure in self.figures.items()}
        return json.dumps({**value, "circumstances": self.circumstances}, indent=2) + "\n"

    def environment(self) -> str:
        """When and where it was measured, as a sentence."""
        known = {
            "size": "unknown",
            "cores": "?",
            "machine": "?",
            "torch": "?",
            **self.circumstances,
        }
        reported = known.get("instruction_sets")
        sets = join_words(map(str, reported)) if isinstance(reported, list) else ""
        when = time.strftime("%d %b %Y", time.localtime(known.get("seconds_since_1970", 0)))
        text = "Measured {when}: {size} size, {cores} cores, {machine}, torch {torch}."
        text = text.format(when=when, **known) + (f" Instruction sets: {sets}." if sets else "")
        checks = known.get("checks")
        return " ".join([text, *map(str, checks if isinstance(checks, list) else [])])

    @property
    def torch_config(self) -> str:
        """How torch was built, as `torch.__config__.show()` says it; empty where unknown."""
        return str(self.circumstances.get("torch_config", ""))

    @classmethod
    def from_json(cls, text: str) -> BenchmarkResult:
        """The inverse of `to_json`. Raises `ValueError` where the text is something else."""
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("this is not a result of the benchmark")
        figures = {name: _figure(value[name]) for name in ALL_FIGURES if name in value}
        return cls(figures, dict(value.get("circumstances", {})))


def figure_text(value: float) -> str:
    """A figure with three digits, or a larger one as a whole number."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _figure(value: Any) -> MedianRange:
    try:
        figure = MedianRange(**{name: float(value[name]) for name in ("median", "low", "high")})
    except (KeyError, TypeError) as error:
        raise ValueError("a figure lacks its median, low or high") from error
    if not all(map(math.isfinite, asdict(figure).values())):
        raise ValueError("a figure is not finite")
    return figure


def last_result(path: Path) -> BenchmarkResult | None:
    """The last result in a file of the cache; None where none can be read."""
    try:
        return BenchmarkResult.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_result(result: BenchmarkResult, path: Path, option: str) -> None:
    """Write a result. Raises `SpecError`, which names the option, where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(result.to_json(), encoding="utf-8")
    except OSError as error:
        raise SpecError(
            option,
            "{path} cannot be written ({reason}). Choose another path.",
            path=str(path),
            reason=error.strerror or str(error),
        ) from None

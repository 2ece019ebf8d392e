"""What `bench` found out about this machine: figures with their spread, kept in the cache."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache


@dataclass(frozen=True)
class Measured:
    """What a figure is: for a chart, and in a sentence."""

    short: str
    text: str


FIGURES: dict[str, Measured] = {
    "speedup_32": Measured(
        "whole comparison, 32x32",
        "The assignment's whole comparison at 32x32: seconds of the plain script over ours.",
    ),
    "speedup_224": Measured(
        "whole comparison, 224x224",
        "A smaller comparison at 224x224: seconds of the plain script over ours.",
    ),
    "speedup_workers": Measured(
        "two processes for one",
        "The same training in one stage process, over two that share it.",
    ),
    "masked_over_dense": Measured(
        "masked step over dense",
        "Seconds of a training step at 90 % sparsity over those of a dense one.",
    ),
    "peak_share": Measured(
        "share of the peak",
        "Operations a second of a training step, over those of one large matrix product.",
    ),
    "mask_choice_mobilenet_v2": Measured(
        "masks, MobileNetV2", "Global choice of masks: seconds of torch's own over ours."
    ),
    "mask_choice_resnet50": Measured(
        "masks, ResNet-50", "Global choice of masks: seconds of torch's own over ours."
    ),
    "mask_choice_vit_b_16": Measured(
        "masks, ViT-B/16", "Global choice of masks: seconds of torch's own over ours."
    ),
    "cached_open_seconds": Measured(
        "cached comparison opens", "Seconds from a spec whose stages are cached to drawn charts."
    ),
}


@dataclass(frozen=True)
class Figure:
    """A median of several rounds, and the lowest and highest of them."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class BenchResult:
    """The figures of one run of `bench`, and on what it ran."""

    figures: dict[str, Figure]
    circumstances: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The figures at the top level, as `median, low, high`, and the circumstances."""
        value = {name: asdict(figure) for name, figure in self.figures.items()}
        return json.dumps({**value, "circumstances": self.circumstances}, indent=2) + "\n"

    def told(self) -> str:
        """When and on what it was measured, in words."""
        found = {
            "size": "unknown",
            "cores": "?",
            "machine": "?",
            "torch": "?",
            **self.circumstances,
        }
        when = time.strftime("%d %b %Y", time.localtime(found.get("seconds_since_1970", 0)))
        text = "Measured {when}: {size} size, {cores} cores, {machine}, torch {torch}."
        return text.format(when=when, **found)

    @classmethod
    def from_json(cls, text: str) -> BenchResult:
        """The inverse of `to_json`. Raises `ValueError` where the text is something else."""
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("this is not what bench writes")
        figures = {name: _figure(value[name]) for name in FIGURES if name in value}
        return cls(figures, dict(value.get("circumstances", {})))


def _figure(value: Any) -> Figure:
    try:
        found = Figure(**{name: float(value[name]) for name in ("median", "low", "high")})
    except (KeyError, TypeError) as error:
        raise ValueError("a figure lacks its median, low or high") from error
    if not all(map(math.isfinite, asdict(found).values())):
        raise ValueError("a figure is not a number")
    return found


def last(cache: Cache) -> BenchResult | None:
    """This machine's last result; None where there is none that can be read."""
    try:
        return BenchResult.from_json(cache.benchmark.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write(result: BenchResult, path: Path, option: str) -> None:
    """Write a result. Raises `SpecError`, which names the option, where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(result.to_json(), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        raise SpecError(option, f"{path} cannot be written ({reason}); name another.") from None

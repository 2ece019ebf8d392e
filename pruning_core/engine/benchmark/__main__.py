"""Everything that `python -m pruning_core bench` times, one after another.

Runs in the environment of a stage process. Its last line of output is the result as JSON.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.benchmark import mask_selection, runs, training_step
from pruning_core.engine.benchmark.comparison import Images, cached_open_seconds, our_spec
from pruning_core.engine.benchmark.mask_selection import selection_speedup
from pruning_core.engine.benchmark.reference import Protocol
from pruning_core.engine.models import devices
from pruning_core.results.benchmark import BenchResult, Figure


@dataclass(frozen=True)
class Size:
    """How much is timed: rounds of the whole comparison and of small things, and on what."""

    rounds: int
    small_rounds: int
    images: Images
    protocol: Protocol
    images_224: Images
    protocol_224: Protocol


FEW = Protocol(amounts=(0.5, 0.9), iterations=2)
LARGE = Protocol(amounts=(0.5,), iterations=2, image_size=224)
FEWEST = replace(LARGE, iterations=1)
SIZES = {
    "quick": Size(
        rounds=2,
        small_rounds=5,
        images=Images(train_size=1000, test_size=200),
        protocol=FEW,
        images_224=Images(train_size=40, test_size=20),
        protocol_224=FEWEST,
    ),
    "full": Size(
        rounds=3,
        small_rounds=11,
        images=Images(),
        protocol=Protocol(),
        images_224=Images(train_size=256, test_size=50),
        protocol_224=LARGE,
    ),
}


def say(text: str) -> None:
    """Tell what is going on, beside the result."""
    print(text, file=sys.stderr, flush=True)


def measure(size: Size, folder: Path) -> dict[str, Figure]:
    """Every figure, in the order of `FIGURES`."""
    small = size.small_rounds
    jobs: dict[str, Callable[[], Figure]] = {
        "speedup_32": lambda: runs.speedup(
            size.images, size.protocol, size.rounds, folder / "small"
        ),
        "speedup_224": lambda: runs.speedup(
            size.images_224, size.protocol_224, size.rounds, folder / "large"
        ),
        "speedup_workers": lambda: training_step.speedup_workers(small),
        "masked_over_dense": lambda: training_step.masked_over_dense(small),
        "peak_share": lambda: training_step.peak_share(small),
        **{
            f"mask_choice_{name}": partial(selection_speedup, name, size.rounds)
            for name in mask_selection.MODELS
        },
        "cached_open_seconds": lambda: cached_open_seconds(
            our_spec(size.images, size.protocol), Cache(folder / "small" / "cache"), small
        ),
    }
    found = {}
    for name, job in jobs.items():
        started = time.perf_counter()
        found[name] = job()
        say(f"{name}: {found[name].median:.3g} ({time.perf_counter() - started:.0f} s)")
    return found


def circumstances(name: str) -> dict[str, object]:
    """On what it ran."""
    return {
        "size": name,
        "machine": platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "torch": version("torch"),
        "seconds_since_1970": int(time.time()),
    }


def main(name: str) -> None:
    """Measure at a size and print the result."""
    devices.prepare(threads=1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(SIZES[name], Path(folder))
    result = BenchResult(found, circumstances(name))
    print(json.dumps(json.loads(result.to_json())))


if __name__ == "__main__":
    main(sys.argv[1])

"""All measurements of `python -m pruning_core benchmark`, one after another.

It runs in the environment of a stage process. Its last line of output is the result as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch

from pruning_core.common.machine import instruction_sets
from pruning_core.common.paths import Cache
from pruning_core.engine.benchmark import comparison, mask_selection, runs, training_step
from pruning_core.engine.benchmark.comparison import Images, our_spec
from pruning_core.engine.benchmark.reference import Protocol
from pruning_core.engine.models import devices
from pruning_core.results.benchmark import BenchmarkResult, MedianRange


@dataclass(frozen=True)
class Size:
    """The size of the benchmark: rounds of comparisons and of short measurements, and images."""

    rounds: int
    short_rounds: int
    images: Images
    protocol: Protocol
    images_224: Images
    protocol_224: Protocol


QUICK_PROTOCOL = Protocol(amounts=(0.5, 0.9), iterations=2)
PROTOCOL_224 = Protocol(amounts=(0.5,), iterations=2, image_size=224)
QUICK_PROTOCOL_224 = replace(PROTOCOL_224, iterations=1)
SIZES = {
    "quick": Size(
        rounds=2,
        short_rounds=5,
        images=Images(train_size=1000, test_size=200),
        protocol=QUICK_PROTOCOL,
        images_224=Images(train_size=40, test_size=20),
        protocol_224=QUICK_PROTOCOL_224,
    ),
    "full": Size(
        rounds=3,
        short_rounds=11,
        images=Images(),
        protocol=Protocol(),
        images_224=Images(train_size=256, test_size=50),
        protocol_224=PROTOCOL_224,
    ),
}


def say(text: str) -> None:
    """Print the progress on standard error."""
    print(text, file=sys.stderr, flush=True)


def measure(size: Size, folder: Path) -> dict[str, MedianRange]:
    """All figures, in the order of `FIGURES`."""
    rounds = size.short_rounds
    jobs: dict[str, Callable[[], MedianRange]] = {
        "speedup_32": lambda: runs.speedup(size.images, size.protocol, size.rounds, folder / "32"),
        "speedup_224": lambda: runs.speedup(
            size.images_224, size.protocol_224, size.rounds, folder / "224"
        ),
        "speedup_workers": lambda: training_step.speedup_workers(rounds),
        "masked_over_dense": lambda: training_step.masked_over_dense(rounds),
        "peak_share": lambda: training_step.peak_share(rounds),
        **{
            f"mask_choice_{name}": partial(mask_selection.selection_speedup, name, size.rounds)
            for name in mask_selection.MODELS
        },
        "cached_open_seconds": lambda: comparison.cached_open_seconds(
            our_spec(size.images, size.protocol), Cache(folder / "32" / "cache"), rounds
        ),
    }
    figures = {}
    for name, job in jobs.items():
        started = time.perf_counter()
        figures[name] = job()
        say(f"{name}: {figures[name].median:.3g} ({time.perf_counter() - started:.0f} s)")
    return figures


def circumstances(name: str) -> dict[str, object]:
    """The machine with its instruction sets, and the version and the build of torch."""
    return {
        "size": name,
        "machine": devices.processor("cpu"),
        "instruction_sets": instruction_sets(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "torch": version("torch"),
        "torch_config": torch.__config__.show().strip(),
        "seconds_since_1970": int(time.time()),
    }


def main(name: str) -> None:
    """Run the benchmark in a size and print the result."""
    devices.prepare(threads=1)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(SIZES[name], Path(folder))
    result = BenchmarkResult(figures, circumstances(name))
    print(json.dumps(json.loads(result.to_json())))


if __name__ == "__main__":
    main(sys.argv[1])

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

from pruning_core.common.errors import SpecError
from pruning_core.common.machine import instruction_sets
from pruning_core.common.paths import Cache
from pruning_core.engine.benchmark import comparison, gpu, mask_selection, runs, training_step
from pruning_core.engine.benchmark.comparison import Images, our_spec
from pruning_core.engine.benchmark.reference import Protocol
from pruning_core.engine.models import devices
from pruning_core.methods.devices import CPU, CUDA
from pruning_core.results.benchmark import BenchmarkResult, MedianRange
from pruning_core.settings.messages import for_command_line


@dataclass(frozen=True)
class Size:
    """The size of the benchmark: rounds of comparisons and of short measurements, and images."""

    rounds: int
    short_rounds: int
    images: Images
    protocol: Protocol
    images_224: Images
    protocol_224: Protocol
    gpu: gpu.Load
    gpu_comparisons: int


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
        gpu=gpu.Load(rounds=2),
        gpu_comparisons=1,
    ),
    "full": Size(
        rounds=3,
        short_rounds=11,
        images=Images(),
        protocol=Protocol(),
        images_224=Images(train_size=256, test_size=50),
        protocol_224=PROTOCOL_224,
        gpu=gpu.Load(rounds=5),
        gpu_comparisons=3,
    ),
}
# The images of the comparison on a GPU, as many as CIFAR-10 has, and those on which the speed of
# the assignment's script is measured.
GPU_TRAIN, GPU_TEST, PLAIN_IMAGES, PLAIN_TEST = 50_000, 10_000, 20_000, 100


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
    return _run(jobs)


def measure_gpu(size: Size, folder: Path) -> dict[str, MedianRange]:
    """The figures of one GPU."""
    figures = _measure_training(size.gpu)
    # What the trainer has kept would be missing in the processes that are measured next.
    torch.cuda.empty_cache()
    archive = folder / "images.zip"
    gpu.write_random_images(archive, GPU_TRAIN, GPU_TEST)
    images, protocol = Images("images", str(archive)), Protocol(device=CUDA)
    plain = replace(images, train_size=PLAIN_IMAGES, test_size=PLAIN_TEST)

    def step_speedup() -> MedianRange:
        rate = runs.reference_images_per_second(plain, CUDA, folder / "plain")
        ours = figures["gpu_images_per_second"]
        return MedianRange(ours.median / rate, ours.low / rate, ours.high / rate)

    return figures | _run(
        {
            "gpu_step": step_speedup,
            "gpu_processes": lambda: training_step.speedup_workers(size.gpu.rounds, CUDA),
            "gpu_comparison": lambda: runs.speedup(
                images, protocol, size.gpu_comparisons, folder / "gpu"
            ),
        }
    )


def _measure_training(load: gpu.Load) -> dict[str, MedianRange]:
    trainer = gpu.Trainer(CUDA, load)
    return _run(
        {
            "gpu_images_per_second": lambda: gpu.images_per_second(trainer),
            "gpu_loader": lambda: gpu.loader_ratio(trainer),
        }
    )


def gpu_checks(load: gpu.Load) -> list[str]:
    """What was checked on the GPU besides its speed, as sentences."""
    bits = "the same bits" if gpu.same_bits_twice(CUDA, load) else "other bits"
    return [f"The same training twice gave {bits}.", gpu.large_batch_check(load)]


def _run(jobs: dict[str, Callable[[], MedianRange]]) -> dict[str, MedianRange]:
    figures = {}
    for name, job in jobs.items():
        started = time.perf_counter()
        figures[name] = job()
        say(f"{name}: {figures[name].median:.3g} ({time.perf_counter() - started:.0f} s)")
    return figures


def circumstances(name: str, device: str) -> dict[str, object]:
    """The machine with its instruction sets, and the version and the build of torch."""
    return {
        "size": name,
        "machine": devices.processor(device),
        "instruction_sets": instruction_sets() if device == CPU else [],
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
        "torch": version("torch"),
        "torch_config": torch.__config__.show().strip(),
        "seconds_since_1970": int(time.time()),
    }


def main(name: str, device: str) -> int:
    """Run the benchmark in a size and print the result. Returns the exit code."""
    try:
        devices.resolve(device)
    except SpecError as error:
        say(for_command_line(error))
        return 1
    devices.prepare(threads=1)
    torch.manual_seed(0)
    size, facts = SIZES[name], circumstances(name, device)
    if device != CPU:
        facts["checks"] = gpu_checks(size.gpu)
    with tempfile.TemporaryDirectory() as folder:
        figures = (measure if device == CPU else measure_gpu)(size, Path(folder))
    print(json.dumps(json.loads(BenchmarkResult(figures, facts).to_json())))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

"""The whole comparison, run by this project and by the reference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import ENVIRONMENT
from pruning_core.engine.benchmark.comparison import ComparisonRunner, Images, our_spec, untrained
from pruning_core.engine.benchmark.reference import CIFAR_SIZE, ComparisonResult, Protocol, run
from pruning_core.engine.benchmark.timing import paired_ratio
from pruning_core.engine.data.decoding import decode_dataset
from pruning_core.engine.data.inspection import inspect_dataset
from pruning_core.engine.data.loading import read_splits
from pruning_core.planning.inspection_types import DatasetSettings, InspectDatasetSettings
from pruning_core.planning.inspections import inspect_data
from pruning_core.planning.stage_types import restored
from pruning_core.results.benchmark import MedianRange
from pruning_core.storage.store import Store


def decoded(images: Images, folder: Path) -> Path:
    """The folder of the images, decoded at 32 pixels, which the reference reads."""
    spec = our_spec(images, Protocol())
    cache = Cache(folder)
    stage, downloads = inspect_data(spec, Store(cache)), cache.downloads
    facts = inspect_dataset(
        restored(InspectDatasetSettings, stage.settings), stage.hints, downloads, _silent
    )
    settings = DatasetSettings(facts.digest, CIFAR_SIZE, 0, 0, spec.data.split_seed)
    decoded_folder = folder / "decoded"
    decoded_folder.mkdir(parents=True)
    hints = {"name": images.name, "path": images.path}
    decode_dataset(settings, hints, decoded_folder, downloads, _silent)
    (decoded_folder / "classes.json").write_text(json.dumps(len(facts.classes)))
    return decoded_folder


def _silent(fraction: float, message: str) -> None:
    """A progress report that is not shown."""


def reference(images: Images, protocol: Protocol, folder: Path) -> ComparisonResult:
    """Run the reference on the same training and test images as ours."""
    spec = our_spec(images, replace(protocol, image_size=CIFAR_SIZE))
    settings = {name: getattr(spec.data, name) for name in ("image_size", "validation_split")}
    settings |= {name: getattr(spec.data, name) for name in ("train_size", "test_size")}
    splits = read_splits(folder, {**settings, "split_seed": spec.data.split_seed})
    classes = json.loads((folder / "classes.json").read_text())
    return run(splits.train, splits.test, classes, protocol)


def reference_process(images: Images, protocol: Protocol, folder: Path) -> ComparisonResult:
    """Run the reference in a separate process, as a user would run a script."""
    arguments = json.dumps({"images": asdict(images), "protocol": asdict(protocol)})
    command = [sys.executable, "-m", "pruning_core.engine.benchmark.runs", str(folder), arguments]
    plain = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    done = subprocess.run(
        command, cwd=PROJECT, env=plain, stdout=subprocess.PIPE, text=True, check=True
    )
    return ComparisonResult(**json.loads(done.stdout.splitlines()[-1]))


def reference_images_per_second(images: Images, device: str, folder: Path) -> float:
    """Training images per second of the reference on a device.

    From the difference between runs of one and of three epochs, so that starting, validation and
    testing do not count.
    """
    decoded_folder, times = decoded(images, folder), []
    for epochs in (1, 3):
        protocol = Protocol(epochs, amounts=(), iterations=1, epochs=0, device=device)
        times.append(reference_process(images, protocol, decoded_folder).seconds)
    return 2 * images.train_size / (times[1] - times[0])


def speedup(images: Images, protocol: Protocol, rounds: int, folder: Path) -> MedianRange:
    """The speed-up over the reference, in interleaved rounds with a new seed in each.

    Times run from reading the images to the last result. Costs of a session are left out on both
    sides: importing torch, and inspecting the data set. The worker ends its idle processes while
    the reference runs, so a model that is not trained starts them again before each round.
    """
    decoded_folder = decoded(images, folder)
    seconds: dict[str, list[float]] = {"reference": [], "ours": []}
    with ComparisonRunner(folder / "cache") as runner:
        for seed in range(rounds):
            seeded = replace(protocol, seed=seed)
            seconds["reference"].append(reference_process(images, seeded, decoded_folder).seconds)
            runner.run(untrained(our_spec(images, seeded)))
            seconds["ours"].append(runner.run(our_spec(images, seeded)).seconds)
    return paired_ratio(seconds["reference"], seconds["ours"])


def main(folder: str, arguments: str) -> None:
    """Run the reference with the arguments of `reference_process`, and print its result."""
    values: dict[str, Any] = json.loads(arguments)
    protocol = Protocol(**{**values["protocol"], "amounts": tuple(values["protocol"]["amounts"])})
    result = reference(Images(**values["images"]), protocol, Path(folder))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main(*sys.argv[1:])

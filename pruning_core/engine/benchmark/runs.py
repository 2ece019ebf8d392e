"""The whole comparison, as this project runs it and as the plain reference does."""

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
from pruning_core.engine.benchmark.timing import ratio
from pruning_core.engine.data.dataset import inspect_dataset
from pruning_core.engine.data.decoding import decode_dataset
from pruning_core.engine.data.loading import read_splits
from pruning_core.planning.inspections import inspect_data
from pruning_core.results.benchmark import Figure


def decoded(images: Images, folder: Path) -> Path:
    """Decode the images at 32 pixels, once, for the reference to read from memory."""
    spec = our_spec(images, Protocol())
    stage = inspect_data(spec)
    downloads = Cache(folder).downloads
    facts = inspect_dataset(stage.settings, stage.hints, downloads, _silent)
    settings = {
        "digest": facts["digest"],
        "image_size": CIFAR_SIZE,
        "train_size": 0,
        "test_size": 0,
        "split_seed": spec.data.split_seed,
    }
    place = folder / "decoded"
    place.mkdir(parents=True)
    hints = {"name": images.name, "path": images.path}
    decode_dataset(settings, hints, place, downloads, _silent)
    (place / "classes.json").write_text(json.dumps(len(facts["classes"])))
    return place


def _silent(fraction: float, message: str) -> None:
    """Decoding tells how far it is; nobody watches here."""


def reference(images: Images, protocol: Protocol, folder: Path) -> ComparisonResult:
    """The plain protocol on the training images that ours trains on, and the same test images."""
    spec = our_spec(images, replace(protocol, image_size=CIFAR_SIZE))
    settings = {name: getattr(spec.data, name) for name in ("image_size", "validation_split")}
    settings |= {name: getattr(spec.data, name) for name in ("train_size", "test_size")}
    splits = read_splits(folder, {**settings, "split_seed": spec.data.split_seed})
    classes = json.loads((folder / "classes.json").read_text())
    return run(splits.train, splits.test, classes, protocol)


def reference_process(images: Images, protocol: Protocol, folder: Path) -> ComparisonResult:
    """The same in a process of its own, as someone would run a script."""
    order = json.dumps({"images": asdict(images), "protocol": asdict(protocol)})
    command = [sys.executable, "-m", "pruning_core.engine.benchmark.runs", str(folder), order]
    plain = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    done = subprocess.run(
        command, cwd=PROJECT, env=plain, stdout=subprocess.PIPE, text=True, check=True
    )
    return ComparisonResult(**json.loads(done.stdout.splitlines()[-1]))


def speedup(images: Images, protocol: Protocol, rounds: int, folder: Path) -> Figure:
    """Seconds of the reference over ours, in turn, a new seed each round.

    Both clocks run from the first look at the images to the last result. What is paid once a
    session is left out on both sides: importing torch, and finding out what images there are.
    """
    place = decoded(images, folder)
    found: dict[str, list[float]] = {"reference": [], "ours": []}
    with ComparisonRunner(folder / "cache") as lab:
        lab.run(untrained(our_spec(images, protocol)))
        for seed in range(rounds):
            order = replace(protocol, seed=seed)
            found["reference"].append(reference_process(images, order, place).seconds)
            found["ours"].append(lab.run(our_spec(images, order)).seconds)
    return ratio(found["reference"], found["ours"])


def main(folder: str, order: str) -> None:
    """Run the reference as told and print what came out."""
    told: dict[str, Any] = json.loads(order)
    protocol = Protocol(**{**told["protocol"], "amounts": tuple(told["protocol"]["amounts"])})
    outcome = reference(Images(**told["images"]), protocol, Path(folder))
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main(*sys.argv[1:])

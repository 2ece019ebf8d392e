"""The whole comparison, as this project runs it and as the plain reference does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pruning_core import results
from pruning_core.bench_result import Figure
from pruning_core.engine import data
from pruning_core.engine.bench.timing import in_turn, ratio
from pruning_core.engine.reference import Outcome, Protocol, run
from pruning_core.paths import PROJECT, Cache
from pruning_core.plan import inspect_data
from pruning_core.queue.jobs import Queue
from pruning_core.queue.standing import standing
from pruning_core.spec import DataSpec, IterativeSpec, ModelSpec, OneShotSpec, Spec, TrainSpec
from pruning_core.stage import Outline
from pruning_core.store import Store
from pruning_core.worker.hand import ENVIRONMENT
from pruning_core.worker.start import worker_command

IDLE_SECONDS = 0.2
# Chosen on the validation images: as quick as batches of 64 are, no worse than the reference.
ADAM = TrainSpec(optimizer="adam", lr=0.001, weight_decay=0.0, batch_size=64)
Accuracies = dict[str, float]


@dataclass(frozen=True)
class Images:
    """The images of a comparison: a data set by name, or a folder or zip, and how many."""

    name: str = "digits"
    path: str = ""
    train_size: int = 0
    test_size: int = 0


def our_spec(images: Images, protocol: Protocol) -> Spec:
    """The protocol's stages on these images, trained in this project's usual way.

    The images, the augmentation, the epochs and the order of stages are the reference's;
    learning-rate curve, batch size and precision are ours.
    """
    return Spec(
        data=DataSpec(**asdict(images), image_size=protocol.image_size, augment="crop_flip"),
        model=ModelSpec(),
        baseline=replace(ADAM, lr=0.002),
        baseline_epochs=protocol.baseline_epochs,
        one_shot=OneShotSpec(protocol.amounts, protocol.one_shot_epochs),
        iterative=IterativeSpec(
            target=protocol.target,
            iterations=protocol.iterations,
            epochs=protocol.epochs,
            matched=False,
        ),
        finetune=ADAM,
        seeds=(protocol.seed,),
    )


def decoded(images: Images, folder: Path) -> Path:
    """Decode the images at 32 pixels, once, for the reference to read from memory."""
    spec = our_spec(images, Protocol())
    stage = inspect_data(spec)
    downloads = Cache(folder).downloads
    facts = data.inspect(stage.settings, stage.hints, downloads, _silent)
    settings = {
        "digest": facts["digest"],
        "image_size": 32,
        "train_size": 0,
        "test_size": 0,
        "split_seed": spec.data.split_seed,
    }
    place = folder / "decoded"
    place.mkdir(parents=True)
    hints = {"name": images.name, "path": images.path}
    data.decode(settings, hints, place, downloads, _silent)
    (place / "classes.json").write_text(json.dumps(len(facts["classes"])))
    return place


def _silent(fraction: float, message: str) -> None:
    """Decoding tells how far it is; nobody watches here."""


def reference(images: Images, protocol: Protocol, folder: Path) -> Outcome:
    """The plain protocol on the training images that ours trains on, and the same test images."""
    spec = our_spec(images, replace(protocol, image_size=32))
    settings = {name: getattr(spec.data, name) for name in ("image_size", "validation")}
    settings |= {name: getattr(spec.data, name) for name in ("train_size", "test_size")}
    splits = data.load(folder, {**settings, "split_seed": spec.data.split_seed})
    classes = json.loads((folder / "classes.json").read_text())
    return run(splits.train, splits.test, classes, protocol)


def reference_process(images: Images, protocol: Protocol, folder: Path) -> Outcome:
    """The same in a process of its own, as someone would run a script."""
    order = json.dumps({"images": asdict(images), "protocol": asdict(protocol)})
    command = [sys.executable, "-m", "pruning_core.engine.bench.runs", str(folder), order]
    plain = {name: value for name, value in os.environ.items() if name not in ENVIRONMENT}
    done = subprocess.run(
        command, cwd=PROJECT, env=plain, stdout=subprocess.PIPE, text=True, check=True
    )
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def ours(images: Images, protocol: Protocol, folder: Path) -> Accuracies:
    """The protocol as a job of an empty cache, done by a worker. Returns test accuracies."""
    cache = Cache(folder)
    cache.prepare()
    queue = Queue(cache.queue)
    job = queue.submit(our_spec(images, protocol), "bench")
    command = worker_command(cache, IDLE_SECONDS)
    subprocess.run(command, cwd=PROJECT, capture_output=True, check=True)
    now = standing(queue, job)
    if now.state != "done":
        raise RuntimeError(f"The comparison {now.state}: {now.job.error} See {cache.logs}.")
    return accuracies(now.outline, Store(cache))


def accuracies(outline: Outline, store: Store) -> Accuracies:
    """Test accuracies under the names that the reference gives its points."""
    frame = results.points(outline, store)
    names = {
        "baseline": lambda row: "baseline",
        "one_shot": lambda row: f"one_shot {row.sparsity_asked:g}",
        "iterative": lambda row: f"iterative {row.iteration}",
    }
    return {names[row.strategy](row): float(row.accuracy) for row in frame.itertuples()}


def speedup(images: Images, protocol: Protocol, rounds: int, folder: Path) -> Figure:
    """Seconds of the reference over ours, whole processes from an empty cache, in turn."""
    place = decoded(images, folder)
    caches = iter(cache_folder(folder, protocol, i) for i in range(rounds))
    jobs: dict[str, Callable[[], object]] = {
        "reference": lambda: reference_process(images, protocol, place),
        "ours": lambda: ours(images, protocol, next(caches)),
    }
    found = in_turn(jobs, rounds)
    return ratio(found["reference"], found["ours"])


def cache_folder(folder: Path, protocol: Protocol, number: int) -> Path:
    """The cache of our run in a round."""
    return folder / f"cache-{protocol.image_size}-{number}"


def main(folder: str, order: str) -> None:
    """Run the reference as told and print what came out."""
    told: dict[str, Any] = json.loads(order)
    protocol = Protocol(**{**told["protocol"], "amounts": tuple(told["protocol"]["amounts"])})
    outcome = reference(Images(**told["images"]), protocol, Path(folder))
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main(*sys.argv[1:])

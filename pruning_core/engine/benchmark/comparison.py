"""This project's side of the bench: a cache with a worker of its own that waits for specs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import worker_command
from pruning_core.engine.benchmark.reference import CIFAR_SIZE, ComparisonResult, Protocol
from pruning_core.engine.benchmark.timing import interleaved
from pruning_core.engine.benchmark.timing import summarize as spread
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Outline, outline
from pruning_core.reports.charts.comparison import CHARTS, figure
from pruning_core.results import models
from pruning_core.results.benchmark import Figure
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.job_progress import ACTIVE, Standing, standing
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

LOOK_SECONDS = 0.2
# Chosen on the validation images: as quick as batches of 64 are, no worse than the reference.
ADAM = TrainSpec(optimizer="adam", lr=0.001, weight_decay=0.0, batch_size=64)
# At 224 a batch of 64 holds 6 GB, and the first touch of each takes longer than it saves.
LARGE_BATCH = 32


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
    batch = ADAM.batch_size if protocol.image_size == CIFAR_SIZE else LARGE_BATCH
    train = replace(ADAM, batch_size=batch)
    return Spec(
        data=DataSpec(**asdict(images), image_size=protocol.image_size, augmentation="crop_flip"),
        model=ModelSpec(),
        baseline=replace(train, lr=0.002),
        baseline_epochs=protocol.baseline_epochs,
        one_shot=OneShotSpec(protocol.amounts, protocol.one_shot_epochs),
        iterative=IterativeSpec(
            target=protocol.target,
            iterations=protocol.iterations,
            epochs=protocol.epochs,
            equal_budget=False,
        ),
        finetune=train,
        seeds=(protocol.seed,),
    )


def untrained(spec: Spec) -> Spec:
    """A cut of the same model without any training: to start a worker's processes with."""
    bare = replace(spec.iterative, enabled=False)
    return replace(spec, baseline_epochs=0, one_shot=OneShotSpec((0.5,), 0), iterative=bare)


class ComparisonRunner:
    """A cache in a folder and a worker that serves it as long as the block lasts."""

    def __init__(self, folder: Path) -> None:
        self.cache = Cache(folder)
        self.cache.prepare()
        self.queue = Queue(self.cache.queue)

    def __enter__(self) -> ComparisonRunner:
        self.worker = self._started()
        return self

    def _started(self) -> subprocess.Popen[bytes]:
        with self.cache.worker_log.open("ab") as log:
            command = worker_command(self.cache)
            return subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)

    def __exit__(self, *_: object) -> None:
        self.worker.terminate()
        self.worker.wait()

    def run(self, spec: Spec) -> ComparisonResult:
        """Test accuracies of a comparison, and the seconds until its last result is there.

        Raises `RuntimeError` where it fails.
        """
        if self.worker.poll() is not None:  # it leaves after idle minutes; the reference is slow
            self.worker = self._started()
        started = time.perf_counter()
        job = self.queue.submit(spec, "bench")
        while (now := standing(self.queue, job)).state in ACTIVE and self.worker.poll() is None:
            time.sleep(LOOK_SECONDS)
        seconds = time.perf_counter() - started
        self._check(now)
        return ComparisonResult(seconds, accuracies(now.outline, Store(self.cache)))

    def _check(self, now: Standing) -> None:
        if now.state != "done":
            reason = f"The comparison is {now.state}. {now.job.error}"
            raise RuntimeError(f"{reason} See {self.cache.logs} and {self.cache.worker_log}.")


def accuracies(outline: Outline, store: Store) -> dict[str, float]:
    """Test accuracies under the names that the reference gives its points."""
    rows = models.point_rows(outline, store)
    names: dict[str, Callable[[dict[str, Any]], str]] = {
        "baseline": lambda row: "baseline",
        "one_shot": lambda row: f"one_shot {row['sparsity_asked']:g}",
        "iterative": lambda row: f"iterative {row['iteration']}",
    }
    return {names[row["strategy"]](row): float(row["accuracy"]) for row in rows}


def cached_open_seconds(spec: Spec, cache: Cache, rounds: int) -> Figure:
    """Seconds from a spec whose stages are all in the cache to its four charts as JSON."""
    found = interleaved({"open": lambda: draw_charts(spec, cache)}, rounds, warmup=1)
    return spread(found["open"])


def draw_charts(spec: Spec, cache: Cache) -> list[str]:
    """The four charts of a finished comparison."""
    store = Store(cache)
    made = plan(spec, store)
    if not made.complete or not all(store.exists(stage.key) for stage in made.stages):
        raise RuntimeError("The comparison is not in the cache, so it cannot be opened from it.")
    frame = models.points(outline(made), store)
    return [figure(frame, name, "sparsity_prunable").to_json() for name in CHARTS]

"""This project's side of the benchmark: comparisons in a separate cache with its own worker."""

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
from pruning_core.engine.benchmark.timing import interleaved, summarize
from pruning_core.methods.devices import CPU
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Outline, outline
from pruning_core.reports.charts.comparison import CHARTS, comparison_chart
from pruning_core.results.benchmark import MedianRange
from pruning_core.results.models import model_rows, results_frame
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store

POLL_SECONDS = 0.2
# Chosen on the validation images: batches of 64 for speed, no less accurate than the reference.
ADAM = TrainSpec(optimizer="adam", lr=0.001, weight_decay=0.0, batch_size=64)
# At 224 pixels a batch of 64 takes 6 GB, and allocating it costs more time than it saves.
LARGE_BATCH = 32
# A GPU is idle in batches of 64. The learning rate was not chosen on a GPU.
GPU_ADAM = replace(ADAM, batch_size=512, lr=0.002)


@dataclass(frozen=True)
class Images:
    """The data set of a comparison, and the numbers of images (0 = all)."""

    name: str = "digits"
    path: str = ""
    train_size: int = 0
    test_size: int = 0


def our_spec(images: Images, protocol: Protocol) -> Spec:
    """The settings that run the protocol in this project.

    Images, augmentation, epochs and pruning steps are those of the reference; learning-rate
    schedule, batch size and precision are ours.
    """
    train = ADAM if protocol.image_size == CIFAR_SIZE else replace(ADAM, batch_size=LARGE_BATCH)
    if protocol.device != CPU:
        train = GPU_ADAM
    return Spec(
        data=DataSpec(**asdict(images), image_size=protocol.image_size, augmentation="crop_flip"),
        model=ModelSpec(),
        baseline=replace(train, lr=2 * train.lr),
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
        device=protocol.device,
        precision="fp32" if protocol.device == CPU else "bf16",
    )


def untrained(spec: Spec) -> Spec:
    """A spec that prunes the same model without training, to start the worker's processes."""
    iterative = replace(spec.iterative, enabled=False)
    return replace(spec, baseline_epochs=0, one_shot=OneShotSpec((0.5,), 0), iterative=iterative)


class ComparisonRunner:
    """A cache in a folder, with a worker for as long as the `with` block lasts.

    The worker uses `cores` cores; 0 means all.
    """

    def __init__(self, folder: Path, cores: int = 0) -> None:
        self.cache, self.cores = Cache(folder), cores
        self.cache.prepare()
        self.queue = Queue(self.cache.queue)

    def __enter__(self) -> ComparisonRunner:
        self.worker = self._start_worker()
        return self

    def _start_worker(self) -> subprocess.Popen[bytes]:
        with self.cache.worker_log.open("ab") as log:
            command = worker_command(self.cache, cores=self.cores)
            return subprocess.Popen(command, cwd=PROJECT, stdout=log, stderr=log)

    def __exit__(self, *_: object) -> None:
        self.worker.terminate()
        self.worker.wait()

    def run(self, spec: Spec) -> ComparisonResult:
        """Run a comparison: its test accuracies, and the seconds until its last result.

        Raises `RuntimeError` where it fails.
        """
        if self.worker.poll() is not None:  # it exits when idle for minutes, as the reference runs
            self.worker = self._start_worker()
        started = time.perf_counter()
        job = self.queue.submit(spec, "bench")
        while (
            progress := job_progress(self.queue, job)
        ).state in ACTIVE and self.worker.poll() is None:
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - started
        self._check(progress)
        return ComparisonResult(seconds, accuracies(progress.outline, Store(self.cache)))

    def _check(self, progress: JobProgress) -> None:
        if progress.state != "done":
            reason = f"The comparison is {progress.state}. {progress.job.error}"
            raise RuntimeError(f"{reason} See {self.cache.logs} and {self.cache.worker_log}.")


def accuracies(outline: Outline, store: Store) -> dict[str, float]:
    """Test accuracies by the names that the reference gives its models."""
    rows = model_rows(outline, store)
    names: dict[str, Callable[[dict[str, Any]], str]] = {
        "baseline": lambda row: "baseline",
        "one_shot": lambda row: f"one_shot {row['sparsity_asked']:g}",
        "iterative": lambda row: f"iterative {row['iteration']}",
    }
    return {names[row["strategy"]](row): float(row["accuracy"]) for row in rows}


def cached_open_seconds(spec: Spec, cache: Cache, rounds: int) -> MedianRange:
    """Seconds from the settings of a cached comparison to its four charts as JSON."""
    times = interleaved({"open": lambda: draw_charts(spec, cache)}, rounds, warmup=1)
    return summarize(times["open"])


def draw_charts(spec: Spec, cache: Cache) -> list[str]:
    """The four charts of a cached comparison. Raises `RuntimeError` if it is not in the cache."""
    store = Store(cache)
    planned = plan(spec, store)
    if not planned.complete or not all(store.exists(stage.key) for stage in planned.stages):
        raise RuntimeError("The comparison is not in the cache.")
    frame = results_frame(outline(planned), store)
    return [comparison_chart(frame, name, "sparsity_prunable").to_json() for name in CHARTS]

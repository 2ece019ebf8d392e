"""A simulation of a cluster: no stage runs, and the scheduler is the real one.

The stages, their order and their times are those of a finished run, repeated for many seeds. The
clock of the simulation jumps from one event to the next. The time that the scheduler really takes
in between counts, so that the simulation shows from how many nodes on it is the limit.
"""

from __future__ import annotations

import heapq
import io
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Outline, PlannedModel, Stage
from pruning_core.results.simulation import Makespan
from pruning_core.settings.spec import Spec
from pruning_core.storage.archive import pack, unpack
from pruning_core.storage.cluster_record import NodeRow
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.worker.cluster import Cluster
from pruning_core.worker.ray_process import PUBLISHERS

PUBLISHED_STAGES = 200
Place = tuple[str, int, float, bool]  # of a model in its strategy, without its seed


class SimulatedCluster(Cluster):
    """The scheduler with nodes that only exist in the queue, and nothing that talks to Ray."""

    def __init__(self, cache: Cache, nodes: int) -> None:
        super().__init__(cache)
        self.rows = [NodeRow(f"{i:032x}", f"node-{i}", 1, ready=True) for i in range(nodes)]
        self.record.write(self.rows)
        self.written = time.monotonic()

    @property
    def connected(self) -> bool:
        return True

    def refresh(self) -> None:
        """Write the nodes again, as the process that talks to Ray does every few seconds."""
        if time.monotonic() - self.written > 5.0:
            self.record.write(self.rows)
            self.written = time.monotonic()

    def _send(self, line: str) -> None:
        pass


def model_place(model: PlannedModel) -> Place:
    """The place of a model in a run, which the models of all seeds share."""
    return model.strategy, model.iteration, model.target, model.final


def stage_seconds(outline: Outline, rows: Iterable[Row]) -> dict[Place, float]:
    """The mean time of the stage of each place, from the stages of a finished run."""
    taken = {row.key: row.finished - row.started for row in rows if row.finished and row.started}
    times = dict[Place, list[float]]()
    for model in outline.models:
        if model.key in taken:
            times.setdefault(model_place(model), []).append(taken[model.key])
    return {place: statistics.mean(values) for place, values in times.items()}


def simulate(spec: Spec, store: Store, seconds: Mapping[Place, float], nodes: int) -> Makespan:
    """Simulate the run of a spec whose inspections are in the store."""
    job_plan = plan(spec, store)
    by_key = {model.key: seconds[model_place(model)] for model in job_plan.models}
    stages = [stage for stage in job_plan.stages if stage.key in by_key]
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        cache.prepare()
        queue = Queue(cache.queue)
        kept = queue.keep_open()  # as the worker does
        done = [stage.key for stage in job_plan.stages if stage.key not in by_key]
        queue.expand(queue.submit(spec, "simulation"), job_plan, done)
        clock, spent = _run(SimulatedCluster(cache, nodes), queue, by_key)
        kept.close()
    work = sum(by_key[stage.key] for stage in stages)
    bound = max(longest_chain(stages, by_key), work / nodes)
    return Makespan(nodes, len(stages), clock, bound, spent)


def _run(
    cluster: SimulatedCluster, queue: Queue, seconds: Mapping[str, float]
) -> tuple[float, float]:
    """Run all stages. Returns the time at the end, and the part that the scheduler took."""
    clock = spent = 0.0
    ends: list[tuple[float, str, str]] = []
    while True:
        cluster.refresh()
        started, before = time.perf_counter(), cluster.tokens
        cluster.check()
        cluster.assign()
        taken = time.perf_counter() - started
        clock, spent = clock + taken, spent + taken
        for token in cluster.tokens - before:
            key = cluster.sent[token].row.key
            heapq.heappush(ends, (clock + seconds[key], token, key))
        if not ends:
            return clock, spent
        clock, finished = max(clock, ends[0][0]), dict[str, str]()
        while ends and ends[0][0] <= clock:
            _, token, key = heapq.heappop(ends)
            finished[key] = token
        queue.finish_all(finished)


def longest_chain(stages: Iterable[Stage], seconds: Mapping[str, float]) -> float:
    """The time of the longest chain of stages, of which each needs the one before it."""
    ends = dict[str, float]()
    for stage in stages:  # inputs come first
        start = max((ends.get(key, 0.0) for key in stage.inputs), default=0.0)
        ends[stage.key] = start + seconds[stage.key]
    return max(ends.values(), default=0.0)


def published_per_second(source: Store, key: str, count: int = PUBLISHED_STAGES) -> float:
    """How many archives of the size of a finished stage a worker publishes in a second.

    Each is checked against its digests and written through to the disk.
    """
    with tempfile.TemporaryDirectory(dir=source.cache.root) as folder:
        pack(source, key, archive := io.BytesIO())
        content = archive.getvalue()
        caches = [Cache(Path(folder) / str(i)) for i in range(count)]
        for cache in caches:
            cache.prepare()
        started = time.perf_counter()
        with ThreadPoolExecutor(PUBLISHERS) as publishers:
            list(publishers.map(lambda c: unpack(Store(c), key, io.BytesIO(content)), caches))
        return count / (time.perf_counter() - started)


def with_seeds(spec: Spec, seeds: int) -> Spec:
    """The same run with the seeds 0 to `seeds` - 1."""
    return replace(spec, seeds=tuple(range(seeds)))

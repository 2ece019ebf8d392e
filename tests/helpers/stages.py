"""Runs of stages in the test's own process, and a spec small enough for them."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.stage_kinds import INSPECTIONS
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.workers import TINY, execute_here

SMALL = replace(
    TINY,
    data=DataSpec(train_size=120, test_size=40),
    model=ModelSpec(width=0.1),
    baseline_epochs=1,
    one_shot=OneShotSpec(amounts=(0.8,), epochs=0),
    iterative=IterativeSpec(target=0.8, iterations=2, epochs=1, equal_budget=False),
)


def run_here(cache: Cache, spec: Spec, shared: Container[str] = INSPECTIONS) -> None:
    """Run the stages of a spec one after another in this process.

    Stages of the `shared` kinds are computed once for all tests of a session.
    """
    queue, store = Queue(cache.queue), Store(cache)
    job = queue.submit(spec, "here")
    planned = plan(spec, store)
    while True:
        queue.expand(job, planned, [s.key for s in planned.stages if store.exists(s.key)])
        while row := queue.claim("token", 2):
            execute_here(cache, queue, row, shared)
        if planned.complete:
            return
        failed = [row.error for row in queue.stages_of(job) if row.status == "failed"]
        assert not failed, failed[0]
        planned = plan(spec, store)

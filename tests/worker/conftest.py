"""A supervisor without a process, and results of inspections."""

from __future__ import annotations

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.worker.supervisor import Supervisor
from tests.helpers.inspections import DATA, MODEL, Facts
from tests.helpers.queues import publish
from tests.helpers.workers import TINY


@pytest.fixture
def worker(cache: Cache) -> Supervisor:
    """The supervisor of the test's cache, with one core."""
    return Supervisor(cache, idle_seconds=0.0, cores=1)


@pytest.fixture
def inspected(cache: Cache) -> None:
    """A store with the results of the inspections of `TINY`."""
    for stage in plan(TINY, Facts(TINY)).stages:
        if stage.kind.startswith("inspect"):
            result = DATA if stage.kind == "inspect_dataset" else MODEL
            publish(cache, stage.key, stage.kind, result)

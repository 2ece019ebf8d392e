"""Jobs without a worker: submit one, claim and finish its stages, publish invented results."""

from __future__ import annotations

from dataclasses import replace

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts

SMALL = replace(QUICKSTART, one_shot=replace(QUICKSTART.one_shot, amounts=(0.0, 0.5)))


def submit(queue: Queue, spec: Spec = SMALL) -> tuple[str, Plan]:
    """Submit a spec and add its plan. Returns the id of the job, and the plan."""
    job, job_plan = queue.submit(spec, "run"), plan(spec, Facts(spec))
    queue.expand(job, job_plan, done=())
    return job, job_plan


def claim(queue: Queue, token: str = "t") -> str:
    """Claim the next stage. Returns its key."""
    row = queue.claim(token, 2)
    assert row is not None
    return row.key


def finish_until(queue: Queue, kind: str) -> str:
    """Finish stages until one of a kind is claimed. Returns its key."""
    while True:
        row = queue.claim("t", 2)
        assert row is not None
        if row.kind == kind:
            return row.key
        queue.finish(row.key, "t")


def publish(cache: Cache, key: str, kind: str, result: object) -> None:
    """Publish a result without files under the key of a stage."""
    store = Store(cache)
    with store.building(key) as folder:
        store.publish(key, folder, kind=kind, parent="", settings={}, result=result)

"""The nodes of a Ray cluster: which are alive, what they are, and which of them are refused."""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from pruning_core.common.paths import Cache
from pruning_core.storage.cluster_record import ClusterRecord, NodeRow
from pruning_core.worker import ray_node

RETRY_SECONDS = 30.0
log = logging.getLogger(__name__)


class RayNodes:
    """The nodes of the cluster that this process is connected to, and their rows in the queue."""

    def __init__(self, cache: Cache) -> None:
        self.record = ClusterRecord(cache.queue)
        self.rows: dict[str, NodeRow] = {}
        self.descriptions: dict[str, Any] = {}  # the running tasks that describe new nodes
        self.try_again: dict[str, float] = {}

    def look(self) -> list[str]:
        """Record the nodes that are alive now. Returns the names of those that are lost.

        A new node is described by a task on it, because only there its packages are known.
        """
        import ray

        now = time.monotonic()
        alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
        lost = [name for name in self.rows if name not in alive]
        for name in lost:
            log.warning("Node %s is lost.", self.title(name))
            del self.rows[name]
        for name, node in alive.items():
            resources = node["Resources"]
            new = name not in self.rows or now > self.try_again.get(name, now)
            if not new or not resources.get("CPU"):
                continue
            self.try_again.pop(name, None)
            cores, gpus = int(resources["CPU"]), int(resources.get("GPU", 0))
            self.rows[name] = NodeRow(name, node["NodeManagerHostname"], cores, gpus)
            options = {"num_cpus": 0, "max_retries": 0, **on_node(name)}
            self.descriptions[name] = ray.remote(ray_node.describe).options(**options).remote()
        for name, task in [*self.descriptions.items()]:
            if ray.wait([task], timeout=0)[0]:
                self._describe(name, self.descriptions.pop(name))
        self.record.write(self.rows.values())
        return lost

    def drop(self, name: str) -> None:
        """Send no stage to a node before it has been looked at again."""
        self.rows.pop(name, None)
        self.record.write(self.rows.values())

    def title(self, name: str) -> str:
        """The name of a node for people."""
        return self.rows[name].title if name in self.rows else name[:8]

    def cores(self, name: str) -> int:
        """The cores of a node; 0 of one that is lost."""
        return self.rows[name].cores if name in self.rows else 0

    def _describe(self, name: str, task: Any) -> None:
        """Record what a node is; one with other versions of packages is refused."""
        import ray

        if name not in self.rows:
            return
        try:
            described = ray.get(task)
        except ray.exceptions.RayError as error:
            reason = f"It cannot run Pruning Lab: {str(error).strip().splitlines()[-1]}"
            self.rows[name] = replace(self.rows[name], refusal=reason)
            self.try_again[name] = time.monotonic() + RETRY_SECONDS
            return
        here = {package: version(package) for package in ray_node.VERSIONED_PACKAGES}
        other = [f"{p} {v}" for p, v in described["versions"].items() if v != here[p]]
        refusal = ""
        if other:
            wanted = ", ".join(f"{p} {v}" for p, v in here.items())
            refusal = f"It has {', '.join(other)}. Results need the versions of here: {wanted}."
        self.rows[name] = replace(
            self.rows[name], processor=described["processor"], refusal=refusal, ready=not refusal
        )


def on_node(name: str) -> dict[str, Any]:
    """The option of Ray that runs a task on one node and on no other."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(name, soft=False)}

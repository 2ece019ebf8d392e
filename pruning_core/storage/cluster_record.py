"""The nodes of the cluster that a cache is connected to, as its worker sees them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from pruning_core.common.machine import usable_cores
from pruning_core.storage.connections import CLUSTER, Connections
from pruning_core.storage.database import STALE_SECONDS, Database


@dataclass(frozen=True)
class NodeRow:
    """A node. `name` is its id in the cluster, `host` the name of the machine.

    A node is `ready` when it can run stages. `refusal` says why it cannot, as a sentence.
    """

    name: str
    host: str
    cores: int
    gpus: int = 0
    processor: str = ""
    ready: bool = False
    refusal: str = ""

    @property
    def title(self) -> str:
        """A name that tells it from another node on the same machine."""
        return f"{self.host} ({self.name[:6]})"

    @property
    def state(self) -> str:
        """What it does, in a word."""
        return "ready" if self.ready else "refused" if self.refusal else "starting"


class ClusterRecord(Database):
    """The nodes of one cluster; the worker writes them every few seconds."""

    def write(self, nodes: Iterable[NodeRow]) -> None:
        """Replace all nodes."""
        now = time.time()
        rows = [(*astuple(node), now) for node in nodes]
        marks = ", ".join("?" * (len(fields(NodeRow)) + 1))
        with self._write() as db:
            db.execute("DELETE FROM nodes")
            db.executemany(f"INSERT INTO nodes VALUES ({marks})", rows)

    def nodes(self) -> list[NodeRow]:
        """The nodes that were written recently, by name."""
        since = time.time() - STALE_SECONDS
        query = "SELECT * FROM nodes WHERE written > ? ORDER BY host, name"
        names = [field.name for field in fields(NodeRow)]
        rows = [{name: row[name] for name in names} for row in self._all(query, since)]
        return [NodeRow(**{**row, "ready": bool(row["ready"])}) for row in rows]


def training_cores(queue: Path) -> int:
    """The cores that the stages of a queue run on: those of the cluster, else of this machine.

    Nodes that are not ready do not count. Without any that is, the number is that of this machine.
    """
    return _ready_cores(queue) or usable_cores()


def training_place(queue: Path) -> str:
    """Where the cores of `training_cores` are, to follow "on"."""
    if not Connections(queue).get(CLUSTER).address:
        return "this machine"
    return "the cluster" if _ready_cores(queue) else "this machine (no node is ready)"


def _ready_cores(queue: Path) -> int:
    """The cores of the nodes that are ready; 0 without a cluster."""
    if not Connections(queue).get(CLUSTER).address:
        return 0
    return sum(node.cores for node in ClusterRecord(queue).nodes() if node.ready)

"""The process of a worker that talks to Ray: it sends stages to nodes and publishes what returns.

The supervisor writes one line of JSON per stage (key, token and node) to its standard input. It
reports to the queue as a stage process does. When it ends, Ray ends its stages, so a head node that
dies takes this process with it, and not the worker.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import queue as queues
import sqlite3
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pruning_core.common.errors import brief
from pruning_core.common.files import expand_path, sha256
from pruning_core.common.machine import usable_cores
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import ENVIRONMENT
from pruning_core.common.terminal import printable_output
from pruning_core.planning.stage import Missing, stage_inputs
from pruning_core.storage.archive import pack, unpack
from pruning_core.storage.connections import CLUSTER, LOCAL_CLUSTER, Connections
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Damaged, Store
from pruning_core.worker import ray_node
from pruning_core.worker.execute import Outcome, report
from pruning_core.worker.ray_node import Ended, Order
from pruning_core.worker.ray_nodes import RayNodes, on_node

CONNECT_FAILED = 4  # the exit code
WAIT_SECONDS, BEAT_SECONDS, NODES_SECONDS = 0.05, 1.0, 2.0
PUBLISHERS = 4
# Archives that this process keeps in Ray's object store, for nodes that will need them.
KEPT_BYTES = 2**30
WEIGHTS_HINT, PLAIN_WEIGHTS = "weights", ("none", "pretrained", "")
log = logging.getLogger(__name__)


@dataclass
class RunningStage:
    """A stage on a node: its Ray task, and what it was sent."""

    row: Row
    node: str
    task: Any
    inputs: tuple[str, ...] = ()
    progress: dict[str, Any] = field(default_factory=dict)
    published: int = 0


@dataclass(frozen=True)
class Lost:
    """A stage has to run again: its node died, or lacks a stage that was not sent.

    `reason` is a sentence where this counts as a failed attempt of the stage.
    """

    reason: str = ""
    node_died: bool = False


class Archives:
    """The archives of stages in Ray's object store, at most `KEPT_BYTES` of them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.kept: dict[str, tuple[str, Any, int]] = {}

    def reference(self, key: str) -> Any:
        """The Ray reference to the archive of a stage. Raises `Missing`."""
        import ray

        seal = self.store.seal(key)
        if key in self.kept and self.kept[key][0] == seal:
            self.kept[key] = self.kept.pop(key)  # the last one is the one used last
            return self.kept[key][1]
        pack(self.store, key, archive := io.BytesIO())
        content = archive.getvalue()
        self.kept[key] = (seal, ray.put(content), len(content))
        while len(self.kept) > 1 and sum(size for *_, size in self.kept.values()) > KEPT_BYTES:
            del self.kept[next(iter(self.kept))]
        return self.kept[key][1]


class RayProcess:
    """The connection to one Ray cluster, and the stages that run there."""

    def __init__(self, cache: Cache, address: str) -> None:
        self.cache, self.address = cache, address
        self.queue, self.store = Queue(cache.queue), Store(cache)
        self.connections = Connections(cache.queue)
        self.archives = Archives(self.store)
        self.running: dict[str, RunningStage] = {}
        # The keys of the stages that each node has, as far as this process knows.
        self.held: dict[str, set[str]] = {}
        self.nodes = RayNodes(cache)
        self.publishers = ThreadPoolExecutor(PUBLISHERS)
        self.publishing: dict[str, tuple[RunningStage, Future[Outcome | Lost]]] = {}
        # A name for this cache on the nodes; two caches at the same path are on two machines.
        owner = f"{cache.root} {os.uname().nodename} {os.getuid()}"
        self.owner = hashlib.sha256(owner.encode()).hexdigest()[:16]

    def connect(self) -> None:
        """Connect to the cluster, or start Ray on this machine."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no requests to the internet
        import ray

        environment = {"py_modules": [str(PROJECT / "pruning_core")], "env_vars": ENVIRONMENT}
        options: dict[str, Any] = {"runtime_env": environment, "log_to_driver": False}
        if self.address == LOCAL_CLUSTER:
            options |= {"num_cpus": usable_cores(), "include_dashboard": False}
        else:
            options["address"] = self.address
        ray.init(logging_level=logging.ERROR, **options)
        self.run_stage = ray.remote(ray_node.run_stage)
        # Beside this process, so that it does not end with another node.
        here = ray.get_runtime_context().get_node_id()
        actor: Any = ray.remote(ray_node.Board)
        self.board: Any = actor.options(num_cpus=0, **on_node(here)).remote()

    def disconnect(self) -> None:
        """End the stages that run, and Ray where it was started for this process."""
        import ray

        ray.shutdown()

    def serve(self, orders: Iterator[str]) -> None:
        """Run the stages of the orders, until there are no more lines."""
        lines: queues.SimpleQueue[str] = queues.SimpleQueue()
        threading.Thread(target=_read, args=(orders, lines), daemon=True).start()
        beat = looked = 0.0
        while True:
            now = time.monotonic()
            try:
                if now - looked >= NODES_SECONDS:
                    for lost in self.nodes.look():
                        self.held.pop(lost, None)
                    looked = now
                if now - beat >= BEAT_SECONDS:
                    self._beat()
                    beat = now
                while not lines.empty():
                    line = lines.get()
                    if not line:
                        return
                    self._start(json.loads(line))
                self._collect()
            except sqlite3.Error as error:
                log.warning("The queue cannot be used (%s).", error)
                time.sleep(BEAT_SECONDS)

    def _start(self, order: dict[str, Any]) -> None:
        row = self.queue.stage(order["key"])
        # The stage may have been cancelled since it was sent.
        if row is None or row.token != order["token"]:
            return
        node = order["node"]
        try:
            parts, inputs = dict[str, Any](), ancestors(self.store, row)
            for key in inputs:
                if key not in self.held.setdefault(node, set()):
                    parts[key] = self.archives.reference(key)
            files = self._files(row, parts)
            if (path := self.cache.checkpoint(row.key)).exists():
                parts["checkpoint"] = _put(path.read_bytes())
            seals = {key: self.store.seal(key) for key in inputs}
        except Missing as error:
            report(self.queue, row, Outcome(missing=str(error.args[0])))
            return
        except OSError as error:
            reason = f"{error.filename or self.cache.root} cannot be read ({error.strerror})."
            report(self.queue, row, Outcome(reason))
            return
        sent = Order(self.owner, row, seals, files)
        cores = min(row.threads, self.nodes.cores(node) or row.threads)
        options = {"num_cpus": cores, "num_gpus": int(order["gpu"]), "max_retries": 0}
        task = self.run_stage.options(**options, **on_node(node)).remote(sent, parts, self.board)
        self.running[order["token"]] = RunningStage(row, node, task, inputs)
        log.info("Stage %s (%s) is sent to node %s.", row.key[:12], row.kind, node[:8])

    def _files(self, row: Row, parts: dict[str, Any]) -> dict[str, tuple[str, str]]:
        """The files that the hints of a stage name; adds references to them to `parts`."""
        source = row.hints.get(WEIGHTS_HINT, "")
        if source in PLAIN_WEIGHTS:
            return {}
        path = expand_path(source)
        digest = sha256(path)
        parts[digest] = _put(path.read_bytes())
        return {WEIGHTS_HINT: (path.name, digest)}

    def _collect(self) -> None:
        """Publish what has returned, and report stages that have ended to the queue."""
        import ray

        tasks = {stage.task: token for token, stage in self.running.items()}
        if tasks:
            ready, _ = ray.wait([*tasks], num_returns=len(tasks), timeout=WAIT_SECONDS)
            for task in ready:
                stage = self.running.pop(token := tasks[task])
                self.publishing[token] = stage, self.publishers.submit(self._publish, stage)
        else:
            time.sleep(WAIT_SECONDS)
        ended = {token: f.result() for token, (_, f) in self.publishing.items() if f.done()}
        stages = {token: self.publishing[token][0] for token in ended}
        done = [token for token, outcome in ended.items() if outcome == Outcome()]
        self.queue.finish_all({stages[token].row.key: token for token in done})
        for token in ended.keys() - {*done}:
            self._report(stages[token], ended[token])
        # Last: where the queue could not be written, they are reported again in the next round.
        for token in ended:
            del self.publishing[token]

    def _report(self, stage: RunningStage, outcome: Outcome | Lost) -> None:
        """Tell the queue how a stage has ended."""
        if isinstance(outcome, Outcome):
            report(self.queue, stage.row, outcome)
            return
        self.held.pop(stage.node, None)
        if outcome.node_died:
            # First, so that no stage is sent to this node before it has been looked at again.
            self.nodes.drop(stage.node)
        self.queue.release(stage.row.key, stage.row.token or "", outcome.reason)

    def _publish(self, stage: RunningStage) -> Outcome | Lost:
        """Publish a stage that has ended on a node. Runs in a thread."""
        import ray

        key = stage.row.key
        try:
            ended: Ended = ray.get(stage.task)
        except ray.exceptions.TaskCancelledError:
            return Outcome()  # the queue has forgotten this attempt already
        except (ray.exceptions.RayTaskError, Damaged) as error:
            return Outcome(f"Node {self.nodes.title(stage.node)} cannot run the stage: {error}")
        except ray.exceptions.RayError as error:
            reason = f"Node {self.nodes.title(stage.node)} was lost: {str(error).splitlines()[0]}"
            log.warning("Stage %s: %s", key[:12], reason)
            started = not isinstance(error, ray.exceptions.TaskUnschedulableError)
            return Lost(reason if started else "", node_died=True)
        _append(self.cache.log(key), ended.log)
        if ended.outcome.missing and self.store.seal(ended.outcome.missing):
            return Lost()  # the node had this stage, and has lost it: it is sent again
        if ended.outcome != Outcome():
            return ended.outcome
        try:
            unpack(self.store, key, io.BytesIO(ended.archive))
        except Damaged as error:
            return Outcome(f"Node {self.nodes.title(stage.node)} returned other files: {error}")
        except OSError as error:
            return Outcome(f"{self.cache.root} cannot be written ({error.strerror}).")
        self.held.setdefault(stage.node, set()).update((key, *stage.inputs))
        self.cache.checkpoint(key).unlink(missing_ok=True)
        return Outcome()

    def _beat(self) -> None:
        """Report the progress of all stages, save their checkpoints, end those that are lost."""
        import ray

        for token, (progress, checkpoint) in ray.get(self.board.take.remote()).items():
            if stage := self.running.get(token):
                if checkpoint:
                    _replace(self.cache.checkpoint(stage.row.key), checkpoint)
                    stage.published = progress["published"]
                # An epoch counts as saved when its checkpoint is here.
                stage.progress = {**progress, "published": stage.published}
        lost = self.queue.beat_all(
            {
                token: (stage.row.key, {**stage.progress, "node": self.nodes.title(stage.node)})
                for token, stage in self.running.items()
            },
            os.getpid(),
        )
        for token in lost:
            stage = self.running.pop(token)
            log.info("No job needs stage %s any more; its task is ended.", stage.row.key[:12])
            ray.cancel(stage.task, force=True)


def ancestors(store: Store, row: Row) -> tuple[str, ...]:
    """The keys of all stages that a stage may read, parents first. Raises `Missing`."""
    keys = dict[str, None]()

    def add(inputs: Iterable[str]) -> None:
        for key in inputs:
            if key not in keys:
                settings = store.settings(key)
                add(stage_inputs(settings["parent"], settings["settings"]))
                keys[key] = None

    add(stage_inputs(row.parent, row.settings))
    return tuple(keys)


def _put(content: bytes) -> Any:
    import ray

    return ray.put(content)


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step, under a name that `Store.discard` knows."""
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)


def _append(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def _read(orders: Iterator[str], lines: queues.SimpleQueue[str]) -> None:
    for line in orders:
        lines.put(line)
    lines.put("")


def main(root: str, address: str) -> None:
    """Serve the cache at `root` with the cluster at `address`."""
    with printable_output():
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
        process = RayProcess(Cache(Path(root)), address)
        try:
            process.connect()
        except (OSError, RuntimeError, ValueError, ImportError) as error:
            log.exception("The cluster %s cannot be reached.", address)
            reason = brief(str(error)).rstrip(".")
            text = f"The cluster {address} cannot be reached ({reason}). Stages wait for it."
            process.connections.report(CLUSTER, address, text)
            sys.exit(CONNECT_FAILED)
        process.connections.report(CLUSTER, address, "")
        try:
            process.serve(iter(sys.stdin))
        finally:
            process.disconnect()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

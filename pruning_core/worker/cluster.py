"""The part of a supervisor that runs stages on a Ray cluster instead of on this machine."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass

from pruning_core.common.formatting import format_count
from pruning_core.common.paths import PROJECT, Cache
from pruning_core.common.processes import ENVIRONMENT
from pruning_core.methods.devices import AUTO, CPU, GPUS, NO_GPUS
from pruning_core.planning.stage import Missing, stage_inputs
from pruning_core.planning.stage_kinds import ESTIMATED_KINDS, MODEL_INSPECTION
from pruning_core.storage.cluster_record import ClusterRecord
from pruning_core.storage.connections import CLUSTER, Connections
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from pruning_core.worker.placement import Node, WaitingStage, place
from pruning_core.worker.processes import describe_exit
from pruning_core.worker.ray_process import CONNECT_FAILED

# Where models are trained, they are also inspected: for their device and their training speed.
CLUSTER_KINDS = (MODEL_INSPECTION, *ESTIMATED_KINDS)
RESTART_SECONDS, END_SECONDS, CONNECT_SECONDS = 10.0, 10.0, 180.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SentStage:
    """A stage that was sent to a node."""

    row: Row
    node: str
    waiting: WaitingStage


class Cluster:
    """The stages of one cache on a cluster, and the process that talks to Ray."""

    def __init__(self, cache: Cache) -> None:
        self.cache, self.queue, self.store = cache, Queue(cache.queue), Store(cache)
        self.connections, self.record = Connections(cache.queue), ClusterRecord(cache.queue)
        self.address = ""
        self.process: subprocess.Popen[str] | None = None
        self.started, self.answered = -RESTART_SECONDS, False
        self.sent: dict[str, SentStage] = {}
        self.nodes: dict[str, Node] = {}

    @property
    def connected(self) -> bool:
        """Whether stages can be sent."""
        return self.process is not None

    @property
    def tokens(self) -> set[str]:
        """The tokens of the stages that run on the cluster."""
        return set(self.sent)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of stages that run on the cluster, and not on this machine."""
        return CLUSTER_KINDS if self.address else ()

    def check(self) -> bool:
        """Keep the connection, and forget stages that have ended. True when one has ended."""
        address = self.connections.get(CLUSTER).address
        if address != self.address:
            self.stop()
            self.address, self.started = address, -RESTART_SECONDS
        if self.process and (code := self.process.poll()) is not None:
            # A process that could not connect has reported the reason.
            connected = code != CONNECT_FAILED
            self._lost(f"The connection to the cluster ended {describe_exit(code)}.", connected)
        if self.process and self._is_silent():
            self.process.kill()
            self.process.wait()
            minutes = f"{CONNECT_SECONDS / 60:g} minutes"
            self._lost(f"No node of the cluster answered within {minutes}.", report=True)
        if self.address and not self.process and self._may_restart():
            self._start()
        running = self.queue.running_tokens() if self.sent else set()
        ended = [token for token in self.sent if token not in running]
        for token in ended:
            self._forget(token)
        return bool(ended)

    def assign(self) -> None:
        """Send ready stages to nodes with free cores."""
        if not self.connected:
            return
        self._update_nodes()
        free = sum(max(node.free_cores, 0) for node in self.nodes.values())
        devices = self._devices()
        rows = self.queue.ready_stages(CLUSTER_KINDS, free, devices) if free else []
        waiting = {row.key: self._waiting(row) for row in rows}
        placed = place(waiting.values(), [*self.nodes.values()])
        tokens = {key: uuid.uuid4().hex for key, _ in placed}
        claimed = {row.key: row for row in self.queue.claim_all(tokens)}
        for key, name in placed:
            if key not in claimed:  # it was cancelled in the meantime
                self.nodes[name].end(waiting[key])
                continue
            self.sent[tokens[key]] = SentStage(claimed[key], name, waiting[key])
            order = {"key": key, "token": tokens[key], "node": name, "gpu": waiting[key].gpu}
            self._send(json.dumps(order))

    def stop(self) -> None:
        """End the process, and queue its stages again."""
        if self.process:
            assert self.process.stdin is not None
            with suppress(BrokenPipeError):
                self.process.stdin.close()  # it ends its stages, and Ray where it has started it
            try:
                self.process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self._lost("", report=False)

    def _is_silent(self) -> bool:
        """Whether Ray hangs while it connects, as it does where tokens do not match."""
        self.answered = self.answered or bool(self.record.nodes())
        return not self.answered and time.monotonic() - self.started > CONNECT_SECONDS

    def _may_restart(self) -> bool:
        return time.monotonic() - self.started >= RESTART_SECONDS

    def _start(self) -> None:
        """Start the process that connects to the cluster, which takes some seconds."""
        command = [sys.executable, "-m", "pruning_core.worker.ray_process"]
        self.started, self.answered = time.monotonic(), False
        self.process = subprocess.Popen(
            [*command, str(self.cache.root), self.address],
            cwd=PROJECT,
            env={**ENVIRONMENT, **os.environ},
            stdin=subprocess.PIPE,
            text=True,
        )
        log.info("Process %d connects to the cluster %s.", self.process.pid, self.address)

    def _lost(self, reason: str, report: bool) -> None:
        """The process has ended: its stages are queued again. An empty reason is no failure."""
        assert self.process is not None
        log.warning("%s", reason or "The connection to the cluster was closed.")
        for token in [*self.sent]:
            row = self.sent[token].row
            self.store.discard(row.key, self.process.pid)
            self.queue.release(row.key, token, reason)
            self._forget(token)
        self.process, self.nodes = None, {}
        self.record.write([])
        if report:
            log_file = self.cache.worker_log
            error = f"{reason} Stages wait until the cluster can be reached; see {log_file}."
            self.connections.report(CLUSTER, self.address, error)

    def _update_nodes(self) -> None:
        """Add new nodes, and drop lost and refused ones; their stages end by themselves."""
        ready = {row.name: row for row in self.record.nodes() if row.ready}
        self.nodes = {name: node for name, node in self.nodes.items() if name in ready}
        for name, row in ready.items():
            if name not in self.nodes:
                node = Node(name, row.cores, row.gpus, row.processor, row.cores, row.gpus)
                for sent in self.sent.values():
                    if sent.node == name:
                        node.start(sent.waiting)
                self.nodes[name] = node

    def _waiting(self, row: Row) -> WaitingStage:
        inputs = stage_inputs(row.parent, row.settings)
        try:
            processor = str(self.store.read(row.parent).get("processor", "")) if inputs else ""
        except Missing:
            processor = ""
        return WaitingStage(row.key, row.threads, self._needs_gpu(row), inputs, processor)

    def _needs_gpu(self, row: Row) -> bool:
        """Whether a stage gets a GPU; with the device `auto`, if the cluster has one."""
        device = row.settings.get("device", CPU)
        return device != CPU and (device != AUTO or any(node.gpus for node in self.nodes.values()))

    def _devices(self) -> tuple[str, ...]:
        """The devices of the stages that could start; empty where a GPU and a core are free.

        Others wait without hiding those behind them.
        """
        nodes = self.nodes.values()
        if any(node.free_gpus > 0 and node.free_cores > 0 for node in nodes):
            return ()
        # The device `auto` is the GPU wherever the cluster has one.
        return (CPU,) if any(node.gpus for node in nodes) else NO_GPUS

    def check_gpus(self) -> None:
        """Report stages that need a GPU where no node of the cluster has one."""
        if not self.nodes:
            return
        error = ""
        if not any(node.gpus for node in self.nodes.values()):
            count = self.queue.count_ready(CLUSTER_KINDS, GPUS)
            stages = f"{format_count(count, 'stage')} {'need' if count > 1 else 'needs'}"
            error = f"{stages} a GPU, and no node of the cluster has one." if count else ""
        self.connections.report(CLUSTER, self.address, error)

    def _forget(self, token: str) -> None:
        sent = self.sent.pop(token)
        if sent.node in self.nodes:
            self.nodes[sent.node].end(sent.waiting)

    def _send(self, line: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{line}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            log.warning("The connection to the cluster ended before it received a stage.")

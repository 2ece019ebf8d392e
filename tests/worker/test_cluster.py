"""A comparison on a Ray cluster of three nodes on this machine, and what happens when parts die."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage.cluster_record import ClusterRecord, NodeRow
from pruning_core.storage.connections import CLUSTER, Connections
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker import cluster as cluster_module
from pruning_core.worker.cluster import Cluster
from pruning_core.worker.placement import Node
from pruning_core.worker.ray_nodes import RayNodes
from tests.helpers.inspections import Facts
from tests.helpers.queues import SMALL
from tests.helpers.workers import (
    LIMIT_SECONDS,
    LONG,
    TINY,
    bits,
    call,
    copy_stages,
    end_of,
    reference_bits,
    until,
    worker,
)

NODES = 3
NAME = "ab" * 28
# Two one-shot models and two chains of steps: several nodes work at the same time.
COMPARISON = replace(TINY, seeds=(0, 1), baseline_replicas=2)


class LocalCluster:
    """A Ray cluster on this machine: a head without cores, and nodes with two cores each."""

    def __init__(self, nodes: int) -> None:
        from ray.cluster_utils import Cluster

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        # Ray itself waits for 30 s only, which is too short on a busy machine.
        head = {"num_cpus": 0, "include_dashboard": False, "wait": False}
        self.cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: list[Any] = []
        self.fill(nodes)

    @property
    def address(self) -> str:
        address: str = self.cluster.address
        return address

    def fill(self, nodes: int) -> None:
        """Add nodes until there are so many."""
        while len(self.nodes) < nodes:
            self.nodes.append(self.cluster.add_node(wait=False, num_cpus=2))
        self.cluster.wait_for_nodes(timeout=LIMIT_SECONDS)

    def kill(self, name: str) -> None:
        """Kill all processes of a node."""
        node = next(node for node in self.nodes if node.node_id == name)
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)


@pytest.fixture(scope="module")
def local_cluster() -> Iterator[LocalCluster]:
    pytest.importorskip("ray", reason="Ray is not installed")
    local = LocalCluster(2)
    yield local
    local.cluster.shutdown()


@pytest.fixture
def connected(cache: Cache, local_cluster: LocalCluster) -> Cache:
    """A cache that is connected to a cluster of two nodes, so that one may die."""
    local_cluster.fill(2)
    Connections(cache.queue).connect(CLUSTER, local_cluster.address)
    return cache


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return reference_bits(tmp_path_factory.mktemp("undisturbed"), LONG)


def training(queue: Queue, kind: str, epochs: int) -> Row | None:
    """The running stage of a kind of which so many epochs are saved here, and its node."""
    for row in queue.running_rows():
        if row.kind == kind and row.progress.get("published", 0) >= epochs:
            return row
    return None


def node_of(cache: Cache, row: Row) -> NodeRow:
    nodes = ClusterRecord(cache.queue).nodes()
    return next(node for node in nodes if node.title == row.progress["node"])


def trained_epochs(cache: Cache, key: str) -> int:
    """How many epochs all attempts of a stage have trained, by its log."""
    return cache.log(key).read_text().count("Epoch ")


def test_a_comparison_on_three_nodes_has_the_bits_of_one_machine(
    connected: Cache, queue: Queue, local_cluster: LocalCluster, tmp_path: Path
) -> None:
    local_cluster.fill(NODES)
    job = queue.submit(COMPARISON, "cluster")
    used = set[str]()

    def look() -> bool:
        used.update(row.progress.get("node", "") for row in queue.running_rows())
        return not queue.unfinished(1)

    with worker(connected):
        until(look, "the end of the run")
        assert end_of(queue, job).state == "done"
        shown = call(connected, "cluster")
        # A node that has lost the stages that it had gets them again.
        for folder in Path(tempfile.gettempdir()).glob("pruning-lab-nodes-*/*/*"):
            shutil.rmtree(folder)
        again = queue.submit(replace(COMPARISON, one_shot=OneShotSpec((0.3,), 1)), "again")
        assert end_of(queue, again).state == "done"
    assert bits(connected, COMPARISON) == reference_bits(tmp_path / "reference", COMPARISON)
    assert len(used - {""}) == NODES
    assert f"{NODES} of {NODES} nodes ready, {2 * NODES} cores." in shown.stdout
    assert shown.returncode == 0
    local_cluster.kill(local_cluster.nodes[-1].node_id)


def test_a_node_that_dies_costs_one_epoch(
    connected: Cache,
    queue: Queue,
    local_cluster: LocalCluster,
    undisturbed: dict[str, object],
) -> None:
    copy_stages(LONG, connected, without=("pruned",))
    job = queue.submit(LONG, "node")
    with worker(connected):
        row = until(lambda: training(queue, "pruned", 3), "the third epoch")
        local_cluster.kill(node_of(connected, row).name)
        progress = end_of(queue, job)
    assert progress.state == "done"
    assert bits(connected, LONG) == undisturbed
    # The log of the attempt that died stayed on its node: the next one began after the epochs
    # whose checkpoint had arrived.
    assert trained_epochs(connected, row.key) <= LONG.one_shot.epochs - 3


def test_a_worker_that_is_killed_loses_no_finished_stage(
    connected: Cache, queue: Queue, undisturbed: dict[str, object]
) -> None:
    copy_stages(LONG, connected, without=("pruned",))
    job = queue.submit(LONG, "worker")
    with worker(connected) as first:
        row = until(lambda: training(queue, "pruned", 3), "the third epoch")
        first.send_signal(signal.SIGKILL)
        first.wait()
    with worker(connected):
        progress = end_of(queue, job)
    assert progress.state == "done"
    assert bits(connected, LONG) == undisturbed
    assert trained_epochs(connected, row.key) <= LONG.one_shot.epochs - 3


def test_a_head_that_dies_loses_no_finished_stage(
    cache: Cache,
    queue: Queue,
    local_cluster: LocalCluster,
    undisturbed: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
    connections, other = Connections(cache.queue), LocalCluster(1)
    connections.connect(CLUSTER, other.address)
    copy_stages(LONG, cache, without=("pruned",))
    job = queue.submit(LONG, "head")
    with worker(cache):
        row = until(lambda: training(queue, "pruned", 3), "the third epoch")
        other.cluster.head_node.kill_all_processes(check_alive=False, allow_graceful=False)
        error = until(lambda: connections.get(CLUSTER).error, "the error")
        assert "Stages wait" in error
        other.cluster.shutdown()
        connections.connect(CLUSTER, local_cluster.address)
        assert end_of(queue, job).state == "done"
    connections.connect(CLUSTER, "")  # the inspections of this machine are those of the plan
    assert bits(cache, LONG) == undisturbed
    assert trained_epochs(cache, row.key) <= LONG.one_shot.epochs - 3


def test_a_cancelled_stage_ends_on_its_node(connected: Cache, queue: Queue) -> None:
    """With the processes of all its replicas."""
    spec = replace(LONG, finetune_replicas=2)
    copy_stages(spec, connected, without=("pruned",))
    job = queue.submit(spec, "cancelled")
    marker = "ray::run_stage"
    with worker(connected):
        until(lambda: training(queue, "pruned", 1), "the first epoch")
        assert processes(marker)
        started = time.monotonic()
        queue.cancel(job)
        until(lambda: not processes(marker), "the end of the task")
        print(f"The task ended after {time.monotonic() - started:.1f} s.")
        assert end_of(queue, job).state == "cancelled"
        # The core is free again: the same run, continued, ends.
        queue.retry(job)
        assert end_of(queue, job).state == "done"


def processes(name: str) -> list[str]:
    """The processes of this machine that have this name."""
    named = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            named += [path.parent.name] if name in path.read_text() else []
    return named


def test_a_cluster_that_cannot_be_reached_is_said_and_waited_for(
    cache: Cache, queue: Queue, local_cluster: LocalCluster
) -> None:
    copy_stages(TINY, cache, without=("pruned",))
    connections = Connections(cache.queue)
    connections.connect(CLUSTER, "ray://127.0.0.1:9")
    job = queue.submit(TINY, "waits")
    with worker(cache):
        error = until(lambda: connections.get(CLUSTER).error, "the error")
        assert "The cluster ray://127.0.0.1:9 cannot be reached" in error
        assert not any(row.status == "done" for row in queue.stages_of(job) if row.kind == "pruned")
        # This machine computes the stages as soon as the cluster is disconnected.
        connections.connect(CLUSTER, "")
        assert end_of(queue, job).state == "done"
    assert ClusterRecord(cache.queue).nodes() == []


def test_a_node_with_other_packages_is_refused(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    nodes, versions = RayNodes(cache), {"torch": "1.0", "torchvision": version("torchvision")}
    described = {"processor": "A processor (AVX2)", "versions": versions}
    alive = {"NodeID": NAME, "Alive": True, "NodeManagerHostname": "h", "Resources": {"CPU": 4.0}}
    monkeypatch.setattr(ray, "nodes", lambda: [alive])
    monkeypatch.setattr(ray, "get", lambda task: described)
    nodes.rows[NAME] = NodeRow(NAME, "h", 4)
    nodes._describe(NAME, None)
    assert nodes.look() == []
    (row,) = ClusterRecord(cache.queue).nodes()
    assert (row.state, row.ready) == ("refused", False)
    assert row.refusal.startswith("It has torch 1.0. Results need the versions of here: torch 2.")
    monkeypatch.setattr(ray, "nodes", list)
    assert nodes.look() == [NAME]
    assert ClusterRecord(cache.queue).nodes() == []


def test_a_cluster_address_that_is_none_is_refused(cache: Cache) -> None:
    refused = call(cache, "worker", "--cluster", "no address")
    assert refused.returncode == 2
    assert "--cluster: 'no address' is no address of a Ray cluster." in refused.stderr
    assert Connections(cache.queue).get(CLUSTER).address == ""
    assert WorkerRecord(cache.queue).current() is None


@pytest.fixture
def without_ray(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A connected cluster whose orders go to a process that only reads them."""
    silent = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    start = subprocess.Popen
    monkeypatch.setattr(
        cluster_module.subprocess, "Popen", lambda _, **options: start(silent, **options)
    )
    Connections(cache.queue).connect(CLUSTER, "head:6379")
    cluster = Cluster(cache)
    cluster.check()
    yield cluster
    cluster.stop()


def test_a_cluster_that_never_answers_is_given_up(
    without_ray: Cluster, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray hangs where the tokens of both sides do not match."""
    monkeypatch.setattr(cluster_module, "CONNECT_SECONDS", 0.0)
    process = without_ray.process
    assert process is not None
    without_ray.check()
    assert process.poll() is not None
    assert "No node of the cluster answered" in Connections(cache.queue).get(CLUSTER).error


@pytest.mark.parametrize(
    ("gpus", "started", "reason"),
    [
        (0, ["auto", "cpu", "cpu"], "5 stages need a GPU, and no node of the cluster has one."),
        (1, ["cpu", "cpu", "cuda"], ""),
    ],
)
def test_stages_that_wait_for_a_gpu_hide_no_others(
    without_ray: Cluster, queue: Queue, gpus: int, started: list[str], reason: str
) -> None:
    one = next(s for s in plan(SMALL, Facts(SMALL)).stages if s.kind == "pruned")
    names = ["cuda"] * 5 + ["cpu"] * 2 + ["auto"]
    stages = [
        replace(one, parent="", settings={**one.settings, "device": name, "seed": seed})
        for seed, name in enumerate(names)
    ]
    queue.add(stages)
    nodes = [NodeRow("n", "h", 4, gpus, "", ready=True)]
    without_ray.record.write(nodes)
    without_ray.assign()
    without_ray.assign()  # the second round knows that the GPU is taken
    without_ray.check_gpus()
    rows = [queue.stage(stage.key) for stage in stages]
    running = [row.settings["device"] for row in rows if row and row.status == "running"]
    assert sorted(running) == started
    assert Connections(queue.path).get(CLUSTER).error == reason


def test_a_free_gpu_without_a_free_core_hides_no_stages(without_ray: Cluster) -> None:
    without_ray.nodes = {"g": Node("g", 1, 1, "", free_cores=0, free_gpus=1)}
    assert without_ray._devices() == ("cpu",)

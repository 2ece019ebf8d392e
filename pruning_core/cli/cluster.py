"""The command `cluster`: the nodes of the cluster, and what each of them runs."""

from __future__ import annotations

import argparse
import time

from rich.table import Table

from pruning_core.cli.arguments import seconds
from pruning_core.cli.output import FAILED, OK
from pruning_core.cli.progress import PAUSE_SECONDS, Terminal
from pruning_core.common.paths import Cache
from pruning_core.results.cluster import (
    NODE_COLUMNS,
    cluster_sentence,
    node_rows,
    store_sentence,
)
from pruning_core.storage.cluster_record import ClusterRecord
from pruning_core.storage.connections import CLUSTER, SHARED_STORE, Connections
from pruning_core.storage.jobs import Queue
from pruning_core.worker.start import WorkerStarter

WAIT_SECONDS = 60.0


def add_cluster_options(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "--wait",
        type=seconds,
        default=WAIT_SECONDS,
        metavar="N",
        help=f"wait at most so many seconds for the nodes (default: {WAIT_SECONDS:g})",
    )


def cluster(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the connections and a table of the nodes. Starts the worker, which connects."""
    connections, record = Connections(cache.queue), ClusterRecord(cache.queue)
    starter, end = WorkerStarter(cache), time.monotonic() + options.wait
    while True:
        connection, nodes = connections.get(CLUSTER), record.nodes()
        known = nodes and not any(node.state == "starting" for node in nodes)
        if not connection.address or connection.error or known or time.monotonic() > end:
            break
        starter.ensure()
        time.sleep(PAUSE_SECONDS)
    print(cluster_sentence(connection, nodes))
    print(store_sentence(connections.get(SHARED_STORE)))
    if nodes:
        table = Table(*NODE_COLUMNS)
        for row in node_rows(nodes, queue.running_rows()):
            table.add_row(*map(str, row.values()))
        Terminal().print(table)
    return FAILED if connection.error else OK

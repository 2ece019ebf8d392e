"""The command `cluster`: the nodes of the cluster, and what each of them runs."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from rich.table import Table

from pruning_core.cli.arguments import folder, positive, positives, seconds
from pruning_core.cli.output import FAILED, OK, check_out, say
from pruning_core.cli.progress import PAUSE_SECONDS, Terminal
from pruning_core.cli.selection import find_job
from pruning_core.common.formatting import format_seconds
from pruning_core.common.paths import Cache
from pruning_core.planning.stage import Outline
from pruning_core.results.cluster import (
    NODE_COLUMNS,
    cluster_sentence,
    node_rows,
    store_sentence,
)
from pruning_core.settings.spec import from_json
from pruning_core.storage.cluster_record import ClusterRecord
from pruning_core.storage.connections import CLUSTER, SHARED_STORE, Connections
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.worker.start import WorkerStarter

WAIT_SECONDS = 60.0
OUT = Path("outputs/simulation")


def add_cluster_options(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "--wait",
        type=seconds,
        default=WAIT_SECONDS,
        metavar="N",
        help=f"wait at most so many seconds for the nodes (default: {WAIT_SECONDS:g})",
    )
    simulation = command.add_argument_group("Simulation")
    text = (
        "simulate the stages of this finished job on a cluster, with its measured times and the "
        "real scheduler; nothing is computed"
    )
    simulation.add_argument("--simulate", metavar="JOB", help=text)
    simulation.add_argument(
        "--nodes",
        type=positives,
        default=[1, 3, 10, 30, 100, 300, 1000],
        metavar="N,N,...",
        help="numbers of nodes, each of which runs one stage at a time (default: 1 to 1000)",
    )
    simulation.add_argument(
        "--seeds",
        type=positive,
        default=100,
        metavar="N",
        help="repeat the job with this many seeds (default: 100)",
    )
    text = f"folder for simulation.csv and simulation.html (default: {OUT})"
    simulation.add_argument("--out", type=folder, default=OUT, metavar="DIR", help=text)


def cluster(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the connections and a table of the nodes. Starts the worker, which connects.

    Or simulate a job.
    """
    if options.simulate:
        return _simulate(options, cache, queue)
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


def _simulate(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Simulate a job on clusters of several sizes; print and write the results."""
    from pruning_core.reports.charts.simulation import simulation_chart
    from pruning_core.results.simulation import Makespan, scheduler_sentence, simulation_frame
    from pruning_core.worker.simulation import (
        model_place,
        published_per_second,
        simulate,
        stage_seconds,
        with_seeds,
    )

    check_out(options.out)
    store, job = Store(cache), find_job(queue, options.simulate)
    outline = Outline.from_json(job.outline)
    seconds = stage_seconds(outline, queue.stages_of(job.id))
    if len(seconds) < len({model_place(model) for model in outline.models}):
        return say(FAILED, f"Job {job.id} has not finished here: it has no times to simulate.")
    spec = with_seeds(from_json(job.spec), options.seeds)
    makespans, table = list[Makespan](), Table("nodes", "time", "lower bound", "stages a second")
    for nodes in options.nodes:
        makespan = simulate(spec, store, seconds, nodes)
        makespans.append(makespan)
        times = (format_seconds(value) for value in (makespan.seconds, makespan.bound_seconds))
        table.add_row(str(nodes), *times, f"{makespan.stages_per_second:.0f}")
    frame = simulation_frame(makespans)
    frame.to_csv(options.out / "simulation.csv", index=False)
    simulation_chart(frame).write_html(options.out / "simulation.html")
    Terminal().print(table)
    print(scheduler_sentence(makespans, seconds.values()))
    rate = published_per_second(store, outline.models[-1].key)
    print(f"Publishing: {rate:.0f} stages a second, checked and written through to the disk.")
    print(f"Written: {options.out / 'simulation.csv'}, {options.out / 'simulation.html'}.")
    return OK

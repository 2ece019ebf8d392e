"""The connections of a cache in sentences, and the nodes of its cluster as rows."""

from __future__ import annotations

from collections.abc import Iterable

from pruning_core.common.formatting import format_count, join_words
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.storage.cluster_record import NodeRow
from pruning_core.storage.connections import Connection
from pruning_core.storage.stage_queue import Row

NODE_COLUMNS = ("Node", "State", "Runs", "Cores", "GPUs", "Processor")


def node_rows(nodes: Iterable[NodeRow], running: Iterable[Row]) -> list[dict[str, str | int]]:
    """A row for each node, with the columns of `NODE_COLUMNS`; `running` are the running stages."""
    stages = dict[str, list[str]]()
    for row in running:
        if node := row.progress.get("node"):
            stages.setdefault(node, []).append(_stage_text(row))
    return [
        dict(
            zip(
                NODE_COLUMNS,
                (
                    node.title,
                    node.refusal or node.state,
                    join_words(stages.get(node.title, [])),
                    node.cores,
                    node.gpus,
                    node.processor,
                ),
                strict=True,
            )
        )
        for node in nodes
    ]


def _stage_text(row: Row) -> str:
    message = row.progress.get("message", "")
    title = STAGE_KINDS[row.kind].title.lower()
    return f"{title} ({message.lower()})" if message else title


def cluster_sentence(connection: Connection, nodes: list[NodeRow]) -> str:
    """Whether a cluster computes the stages, and how many nodes it has."""
    if not connection.address:
        return "No cluster: this machine computes all stages."
    if connection.error:
        return connection.error
    if not nodes:
        return f"Connecting to the cluster {connection.address}."
    ready = sum(node.ready for node in nodes)
    cores = sum(node.cores for node in nodes if node.ready)
    count = format_count(len(nodes), "node")
    return f"Cluster {connection.address}: {ready} of {count} ready, {format_count(cores, 'core')}."


def store_sentence(connection: Connection) -> str:
    """Whether finished stages are shared, and why not."""
    if not connection.address:
        return "No shared store: finished stages stay in this cache."
    return connection.error or f"Finished stages are shared through {connection.address}."

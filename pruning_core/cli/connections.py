"""The options that connect a cache to a shared store and to a cluster."""

from __future__ import annotations

import argparse

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.storage.connections import (
    CLUSTER,
    SHARED_STORE,
    Connections,
    cluster_problem,
    full_address,
)
from pruning_core.storage.shared_store import SharedStore, SharedStoreError

NONE = "none"


def add_connection_options(command: argparse.ArgumentParser) -> None:
    """The options of all commands that compute stages."""
    text = (
        "share finished stages with other caches through this folder or URL, such as "
        "s3://bucket/folder; the cache keeps it until --store none"
    )
    command.add_argument("--store", metavar="URL", help=text)
    text = (
        "run training on the Ray cluster at this address (ray://host:10001, host:6379, or local "
        "for Ray on this machine); the cache keeps it until --cluster none"
    )
    command.add_argument("--cluster", metavar="ADDRESS", help=text)


def connect(options: argparse.Namespace, cache: Cache) -> None:
    """Connect the cache to what the options name. Raises `SpecError`; then nothing changes."""
    store, cluster = (getattr(options, name, None) for name in ("store", "cluster"))
    connections = Connections(cache.queue)
    if store is not None:
        address = "" if store == NONE else full_address(store)
        try:
            if address:
                SharedStore(address).keys()
        except SharedStoreError as error:
            raise SpecError("--store", str(error)) from error
        connections.connect(SHARED_STORE, address)
    if cluster is not None:
        address = "" if cluster == NONE else cluster
        if problem := cluster_problem(address):
            raise SpecError("--cluster", problem)
        connections.connect(CLUSTER, address)

"""The options that connect a cache to a shared store."""

from __future__ import annotations

import argparse

from pruning_core.common.paths import Cache
from pruning_core.storage.connections import SHARED_STORE, Connections
from pruning_core.storage.shared_store import SharedStore, full_address

NONE = "none"


def add_shared_store_option(command: argparse.ArgumentParser) -> None:
    """The option of all commands that compute stages."""
    text = (
        "share finished stages with other caches through this folder or URL, such as "
        "s3://bucket/folder; the cache keeps it until --store none"
    )
    command.add_argument("--store", metavar="URL", help=text)


def connect_shared_store(options: argparse.Namespace, cache: Cache) -> None:
    """Connect the cache to the store of the option, if one is given.

    Raises `SharedStoreError` where the store cannot be used; the cache stays as it was.
    """
    given = getattr(options, "store", None)
    if given is None:
        return
    address = "" if given == NONE else full_address(given)
    if address:
        SharedStore(address).keys()
    Connections(cache.queue).connect(SHARED_STORE, address)

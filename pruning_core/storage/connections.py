"""What a cache is connected to: a store that it shares with other caches, and a cluster."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib.util import find_spec

from pruning_core.storage.database import Database

SHARED_STORE, CLUSTER = "shared store", "cluster"


LOCAL_CLUSTER = "local"  # Ray on this machine, started for it
CLUSTER_ADDRESS = re.compile(r"(ray://)?[\w.-]+:\d{1,5}|\[[0-9a-fA-F:]+\]:\d{1,5}")


def full_address(address: str) -> str:
    """The address of a shared store for a worker, which has another working folder."""
    return address if "://" in address else os.path.abspath(os.path.expanduser(address))


def cluster_problem(address: str) -> str:
    """Why a cluster address cannot be used, as a sentence; empty where it can be tried."""
    if not address:
        return ""
    if address != LOCAL_CLUSTER and not CLUSTER_ADDRESS.fullmatch(address):
        return f"{address!r} is no address of a Ray cluster. Give ray://host:10001 or host:6379."
    if find_spec("ray") is None:
        return "A cluster needs a package: pip install 'ray[client]'."
    return ""


@dataclass(frozen=True)
class Connection:
    """An address, empty where there is none, and why it could not be used last, as a sentence."""

    address: str = ""
    error: str = ""


class Connections(Database):
    """The connections of one cache, by name."""

    def get(self, name: str) -> Connection:
        """A connection; an empty one where it was never set."""
        rows = self._all("SELECT address, error FROM connections WHERE name = ?", name)
        return Connection(**rows[0]) if rows else Connection()

    def connect(self, name: str, address: str) -> None:
        """Set an address; an empty one disconnects. The same address keeps its error."""
        with self._write() as db:
            db.execute(
                "INSERT INTO connections (name, address) VALUES (?, ?) ON CONFLICT (name) DO"
                " UPDATE SET address = excluded.address,"
                " error = iif(address = excluded.address, error, '')",
                (name, address),
            )

    def report(self, name: str, address: str, error: str) -> None:
        """Record whether an address could be used: `error` is a sentence, empty where it could.

        Nothing is recorded where the address has changed in the meantime.
        """
        if self.get(name) == Connection(address, error):
            return
        with self._write() as db:
            query = "UPDATE connections SET error = ? WHERE name = ? AND address = ?"
            db.execute(query, (error, name, address))

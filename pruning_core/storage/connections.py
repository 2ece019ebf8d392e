"""What a cache is connected to: a store that it shares with other caches."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.storage.database import Database

SHARED_STORE = "shared store"


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

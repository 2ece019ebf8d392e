"""The stages in the queue: claim, heartbeat, finish, release.

A row goes queued -> running -> done, failed or cancelled. A claim changes the status in one
`BEGIN IMMEDIATE` and stores a token; only the process that holds the token may change the row.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sqlite3
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pruning_core.common.paths import PROJECT
from pruning_core.common.processes import code_digest
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_kinds import INSPECTIONS, STAGE_KINDS
from pruning_core.storage.database import Database, alive

MAX_ATTEMPTS = 5
# A request of a page that is closed is not renewed, and ends after this time.
REQUEST_SECONDS = 60.0
# An attempt that saved an epoch counts as no failure: a machine may be switched off often.
SAVED_EPOCH = "(coalesce(json_extract(progress, '$.published'), 0) > 0)"
READY = (
    "status = 'queued' AND (parent = '' OR EXISTS"
    " (SELECT 1 FROM stages p WHERE p.key = stages.parent AND p.status = 'done'))"
    # Further inputs, see `planning.stage.stage_inputs`.
    " AND NOT EXISTS (SELECT 1 FROM json_each(stages.settings, '$.sensitivity') analysis"
    " JOIN stages p ON p.key = analysis.value WHERE p.status != 'done')"
    " AND NOT EXISTS (SELECT 1 FROM stages p WHERE p.status != 'done'"
    " AND p.key = json_extract(stages.progress, '$.waits_for'))"
)
DEVICE = "coalesce(json_extract(settings, '$.device'), 'cpu')"
ON_CPU = f"{DEVICE} = 'cpu'"
CLAIM = (
    "UPDATE stages SET status = 'running', token = ?, host = ?, pid = NULL, heartbeat = ?,"
    " started = ?, attempts = attempts + 1, progress = '{}', error = '', field = ''"
)
BEAT = (
    "UPDATE stages SET heartbeat = ?, pid = ?, progress = ?"
    " WHERE key = ? AND token = ? AND status = 'running'"
)
END = (
    "UPDATE stages SET status = ?, error = ?, field = ?, finished = ?, token = NULL"
    " WHERE key = ? AND token = ? AND status = 'running'"
)
ACTIVE_JOB = " AND j.status IN ('planning', 'active')"
REQUEUE_DONE = "UPDATE stages SET status = 'queued', attempts = 0 WHERE key = ? AND status = 'done'"


@dataclass(frozen=True)
class Row:
    """A stage in the queue. Times are seconds since 1970.

    `settings` are part of the key, `hints` are not (such as the paths of images). `error` is a
    text, or `SpecError.to_json()` where `field` names the wrong setting.
    """

    key: str
    kind: str
    parent: str
    settings: dict[str, Any]
    hints: dict[str, Any]
    threads: int
    status: str
    created: float
    started: float | None
    finished: float | None
    token: str | None
    pid: int | None
    attempts: int
    progress: dict[str, Any]
    error: str
    field: str


def marks(values: Collection[str]) -> str:
    """Question marks for the values of an SQL list."""
    return ", ".join("?" * len(values))


def wanted(key: str, and_job: str = "") -> str:
    """The condition in SQL that a job wants the stage `key`; `and_job` narrows down the job `j`.

    A deleted job wants nothing: its stages stay for an undo, but nothing is computed for it.
    """
    return (
        f"EXISTS (SELECT 1 FROM wants w JOIN jobs j ON j.id = w.job WHERE w.key = {key}"
        f" AND j.deleted IS NULL{and_job})"
    )


class StageQueue(Database):
    """The stages of one cache's queue."""

    def add(self, stages: Iterable[Stage], done: Iterable[str] = ()) -> None:
        """Queue stages that belong to no job, such as the files that a page exports."""
        added = list(stages)
        keys = [stage.key for stage in added]
        with self._write() as db:
            add_stages(db, added, set(done))
            # It stays queued also after the page that requested it before is closed.
            query = f"UPDATE stages SET requested = NULL WHERE key IN ({marks(keys)})"
            db.execute(query, keys)
            sign(db, keys)

    def request(self, stages: Iterable[Stage]) -> None:
        """Queue stages for a page that waits for them, or renew its request.

        A stage whose request was not renewed for `REQUEST_SECONDS` does not start (see
        `drop_requests`), unless a job wants it. A stage that was queued by `add` stays queued.
        """
        requested = list(stages)
        keys = [stage.key for stage in requested]
        with self._write() as db:
            query = (
                f"SELECT key FROM stages WHERE key IN ({marks(keys)}) AND status = 'queued'"
                " AND requested IS NULL"
            )
            added = {row["key"] for row in db.execute(query, keys)}
            add_stages(db, requested, set())
            db.executemany(
                "UPDATE stages SET requested = ? WHERE key = ? AND status = 'queued'",
                [(time.time(), key) for key in keys if key not in added],
            )

    def drop_requests(self) -> list[str]:
        """Cancel the waiting stages whose request has ended. Returns their keys."""
        with self._write() as db:
            rows = db.execute(
                "UPDATE stages SET status = 'cancelled' WHERE status = 'queued'"
                f" AND requested < ? AND NOT {wanted('stages.key', ACTIVE_JOB)}"
                " RETURNING key",
                (time.time() - REQUEST_SECONDS,),
            ).fetchall()
        return [row["key"] for row in rows]

    def ready_stages(
        self, kinds: Collection[str], limit: int, devices: Collection[str] = ()
    ) -> list[Row]:
        """Stages of these kinds that could start now, in the order of `claim`.

        With `devices`, only those that run on one of these devices.
        """
        on_devices = f" AND {DEVICE} IN ({marks(devices)})" if devices else ""
        rows = self._all(
            f"SELECT * FROM stages WHERE {READY} AND kind IN ({marks(kinds)}){on_devices}"
            " ORDER BY created, urgency DESC, rowid LIMIT ?",
            *kinds,
            *devices,
            limit,
        )
        return [stage_row(row) for row in rows]

    def count_ready(self, kinds: Collection[str], devices: Collection[str]) -> int:
        """How many stages of these kinds and devices could start now."""
        rows = self._all(
            f"SELECT count(*) AS count FROM stages WHERE {READY} AND kind IN ({marks(kinds)})"
            f" AND {DEVICE} IN ({marks(devices)})",
            *kinds,
            *devices,
        )
        return int(rows[0]["count"])

    def claim_all(self, tokens: Mapping[str, str]) -> list[Row]:
        """Take the stages with these keys, each with its token. Returns those still queued."""
        now, host = time.time(), platform.node()
        if not tokens:
            return []
        with self._write() as db:
            db.executemany(
                f"{CLAIM} WHERE key = ? AND status = 'queued'",
                [(token, host, now, now, key) for key, token in tokens.items()],
            )
            query = f"SELECT * FROM stages WHERE token IN ({marks(tokens)})"
            rows = db.execute(query, [*tokens.values()]).fetchall()
        return [stage_row(dict(row)) for row in rows]

    def claim(
        self, token: str, threads: int, kinds: Collection[str] = (), gpu: bool = True
    ) -> Row | None:
        """Take the next ready stage; None where there is none or it needs more than `threads`.

        The oldest stage is next; of one plan, the stage with the longest chain of children. A
        stage with fewer threads does not overtake it, because on a busy machine the larger one
        would never start. `kinds` restricts the kinds of stage. Without `gpu` only stages that
        run on the CPU are taken.
        """
        wanted = tuple(kinds or STAGE_KINDS)
        with self._write() as db:
            row = db.execute(
                f"SELECT * FROM stages WHERE {READY} AND kind IN ({marks(wanted)})"
                f" AND (? OR {ON_CPU}) ORDER BY kind NOT IN ({marks(INSPECTIONS)}),"
                " created, urgency DESC, rowid LIMIT 1",
                (*wanted, gpu, *INSPECTIONS),
            ).fetchone()
            if row is None or row["threads"] > threads:
                return None
            now = time.time()
            db.execute(f"{CLAIM} WHERE key = ?", (token, platform.node(), now, now, row["key"]))
            claimed = db.execute("SELECT * FROM stages WHERE key = ?", (row["key"],)).fetchone()
        return stage_row(dict(claimed))

    def beat(self, key: str, token: str, pid: int, progress: dict[str, Any]) -> bool:
        """Record heartbeat and progress. False when the caller no longer holds the stage."""
        with self._write() as db:
            values = (time.time(), pid, json.dumps(_finite(progress)), key, token)
            return db.execute(BEAT, values).rowcount == 1

    def beat_all(self, stages: Mapping[str, tuple[str, dict[str, Any]]], pid: int) -> list[str]:
        """`beat` for many stages, key and progress by token. Returns the tokens of the lost ones.

        A lost stage is not held any more, such as one that was cancelled.
        """
        now, lost = time.time(), list[str]()
        if not stages:
            return lost
        with self._write() as db:
            for token, (key, progress) in stages.items():
                values = (now, pid, json.dumps(_finite(progress)), key, token)
                if not db.execute(BEAT, values).rowcount:
                    lost.append(token)
        return lost

    def finish(self, key: str, token: str) -> None:
        """Mark a stage as done, after it was published in the store."""
        self._end(key, token, "done", "", "")

    def finish_all(self, tokens: Mapping[str, str]) -> None:
        """`finish` for many stages, each key with its token."""
        if tokens:
            with self._write() as db:
                rows = [("done", "", "", time.time(), *item) for item in tokens.items()]
                db.executemany(END, rows)

    def fail(self, key: str, token: str, error: str, field: str = "") -> None:
        """Mark a stage as failed; `field` names the setting that is wrong, if any."""
        self._end(key, token, "failed", error, field)

    def release(self, key: str, token: str, reason: str = "") -> None:
        """Put a stage back into the queue; after too many attempts it has failed instead."""
        with self._write() as db:
            db.execute(
                "UPDATE stages SET token = NULL, pid = NULL, error = ?,"
                f" status = CASE WHEN attempts >= ? AND ? != '' AND NOT {SAVED_EPOCH}"
                " THEN 'failed' ELSE 'queued' END,"
                f" attempts = CASE WHEN {SAVED_EPOCH} THEN 0 ELSE attempts - (? = '') END"
                " WHERE key = ? AND token = ? AND status = 'running'",
                (reason, MAX_ATTEMPTS, reason, reason, key, token),
            )

    def wait_for(self, key: str, token: str, missing: str) -> None:
        """Put a stage back until a missing stage, which it needs, has been computed again."""
        with self._write() as db:
            db.execute(REQUEUE_DONE, (missing,))
            known = db.execute("SELECT 1 FROM stages WHERE key = ?", (missing,)).fetchone()
            lost = (
                f"Stage {missing[:12]}, which this stage needs, is missing. Press Retry, or use "
                "`jobs retry`."
            )
            db.execute(
                "UPDATE stages SET status = ?, error = ?, token = NULL, pid = NULL, progress = ?,"
                " attempts = attempts - 1 WHERE key = ? AND token = ? AND status = 'running'",
                (
                    "queued" if known else "failed",
                    "" if known else lost,
                    json.dumps({"waits_for": missing}),
                    key,
                    token,
                ),
            )

    def return_stale(self, held: Collection[str] = ()) -> list[str]:
        """Put the stages of dead processes back into the queue. Returns their keys.

        `held` are the tokens of stages whose process the caller knows to be alive, even where a
        locked queue or a busy machine has delayed its heartbeat.
        """
        now = time.time()
        rows = self._all("SELECT * FROM stages WHERE status = 'running'")
        stale = [row for row in rows if row["token"] not in held and not self._working(row, now)]
        for row in stale:
            self.release(row["key"], row["token"], "Its process ended without a report.")
        return [row["key"] for row in stale]

    def lost(self, key: str) -> None:
        """Queue a finished stage again whose result is no longer in the store."""
        with self._write() as db:
            db.execute(REQUEUE_DONE, (key,))

    def forget(self, key: str) -> None:
        """Delete the row of a stage that no job wants, unless it waits or runs.

        A job that is deleted does not count; one that is restored plans its stages again.
        """
        with self._write() as db:
            db.execute(
                "DELETE FROM stages WHERE key = ? AND status NOT IN ('queued', 'running')"
                f" AND NOT {wanted('stages.key')}",
                (key,),
            )
            db.execute("DELETE FROM submitters WHERE id = ?", (key,))

    def running(self) -> set[str]:
        """The keys of the running stages."""
        return {row["key"] for row in self._all("SELECT key FROM stages WHERE status = 'running'")}

    def running_rows(self) -> list[Row]:
        """The running stages, the oldest first."""
        query = "SELECT * FROM stages WHERE status = 'running' ORDER BY started"
        return [stage_row(row) for row in self._all(query)]

    def running_tokens(self) -> set[str]:
        """The tokens of the running stages."""
        rows = self._all("SELECT token FROM stages WHERE status = 'running'")
        return {row["token"] for row in rows}

    def known_keys(self) -> set[str]:
        """The keys of all stages that this queue has ever held and not forgotten."""
        return {row["key"] for row in self._all("SELECT key FROM stages")}

    def stage(self, key: str) -> Row | None:
        """One stage, or None."""
        rows = self._all("SELECT * FROM stages WHERE key = ?", key)
        return stage_row(rows[0]) if rows else None

    def ready(self) -> bool:
        """Whether a stage could start now."""
        query = f"SELECT EXISTS (SELECT 1 FROM stages WHERE {READY}) AS ready"
        return bool(self._all(query)[0]["ready"])

    def busy(self) -> bool:
        """Whether a stage runs or is ready, or a job waits for its plan."""
        query = (
            f"SELECT EXISTS (SELECT 1 FROM stages WHERE status = 'running' OR ({READY}))"
            " OR EXISTS (SELECT 1 FROM jobs WHERE status = 'planning' AND deleted IS NULL) AS busy"
        )
        return bool(self._all(query)[0]["busy"])

    def _end(self, key: str, token: str, status: str, error: str, field: str) -> None:
        with self._write() as db:
            db.execute(END, (status, error, field, time.time(), key, token))

    def _working(self, row: dict[str, Any], now: float) -> bool:
        pid = row["pid"] if row["pid"] is not None else os.getpid()
        return alive(row["host"], pid, row["heartbeat"], now)


def add_stages(db: sqlite3.Connection, stages: Iterable[Stage], done: set[str]) -> None:
    """Insert new stages; cancelled stages, and stages lost from the store, are queued again.

    The hints of the newest plan replace earlier ones, because files may have moved. All stages of
    a plan get the same time of creation, so that among them the longest chain goes first.
    """
    now = time.time()
    for stage in stages:
        status = "done" if stage.key in done else "queued"
        values = (stage.key, stage.kind, stage.parent, json.dumps(stage.settings))
        hints = json.dumps(stage.hints)
        db.execute(
            "INSERT INTO stages"
            " (key, kind, parent, settings, hints, threads, urgency, status, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " hints = excluded.hints, status = excluded.status, attempts = 0"
            " WHERE stages.status = 'cancelled'"
            " OR (stages.status = 'done') != (excluded.status = 'done')",
            (*values, hints, stage.threads, stage.urgency, status, now),
        )
        update = "UPDATE stages SET hints = ? WHERE key = ? AND status != 'running'"
        db.execute(update, (hints, stage.key))


def sign(db: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Record that jobs, or stages of no job, were submitted from this checkout."""
    values = (str(PROJECT), code_digest())
    db.executemany(
        "INSERT OR REPLACE INTO submitters (id, checkout, code) VALUES (?, ?, ?)",
        [(name, *values) for name in ids],
    )


def _finite(value: Any) -> Any:
    """The value with null for NaN and infinity, such as a diverged loss: SQLite rejects them."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def stage_row(values: dict[str, Any]) -> Row:
    """A row of the table as a `Row`; further columns are ignored."""
    names = Row.__dataclass_fields__
    parsed = {n: json.loads(values[n]) for n in ("settings", "hints", "progress")}
    return Row(**{name: parsed.get(name, values[name]) for name in names})

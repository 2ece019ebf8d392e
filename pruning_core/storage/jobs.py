"""Jobs: comparisons that somebody asked for, and the stages they want.

A job is its spec: submitting the same spec again finds the same job. A stage that two jobs
want stands once, and cancelling one job stops only what no other wants.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass

from pruning_core.planning.stage import Plan, outline
from pruning_core.settings.relevance import active_settings
from pruning_core.settings.serialization import canonical_json, to_dict
from pruning_core.settings.spec import Spec
from pruning_core.storage.stage_queue import Row, StageQueue, add_stages, stage_row

STARTED = (
    "EXISTS (SELECT 1 FROM wants w JOIN stages s ON s.key = w.key WHERE"
    " w.job = jobs.id AND s.kind = 'baseline' AND s.status = 'done')"
    # A scan by itself makes no points beside the baseline's.
    " AND (json_extract(jobs.spec, '$.one_shot.amounts') != '[]'"
    " OR json_extract(jobs.spec, '$.iterative.enabled'))"
)
LAST_CHARACTER = chr(0x10FFFF)


@dataclass(frozen=True)
class Job:
    """A comparison that somebody asked for. `status` is planning, active or cancelled."""

    id: str
    label: str
    spec: str
    created: float
    status: str
    error: str
    field: str
    outline: str


def job_id(spec: Spec) -> str:
    """Twelve hexadecimal digits that stand for the results of the spec.

    Settings without an effect do not count, nor does the label. A setting that is added later
    does not count at its neutral value, so the ids of earlier jobs stay as they are.
    """
    return hashlib.sha256(canonical_json(active_settings(spec)).encode()).hexdigest()[:12]


class Queue(StageQueue):
    """The jobs and stages of one cache."""

    def submit(self, spec: Spec, label: str) -> str:
        """Ask for a comparison; asking twice is asking once. Returns the job's id."""
        job = job_id(spec)
        with self._write() as db:
            db.execute(
                "INSERT INTO jobs (id, label, spec, created, status)"
                " VALUES (?, ?, ?, ?, 'planning') ON CONFLICT (id) DO UPDATE SET"
                " label = excluded.label, status = 'planning', error = '', field = ''",
                (job, label, canonical_json(to_dict(spec)), time.time()),
            )
            _requeue(db, job)
        return job

    def retry(self, job: str) -> None:
        """Put a job's failed and cancelled stages back into the queue."""
        with self._write() as db:
            again = "UPDATE jobs SET status = 'planning', error = '', field = '' WHERE id = ?"
            db.execute(again, (job,))
            _requeue(db, job)

    def expand(self, job: str, plan: Plan, done: Iterable[str]) -> None:
        """Add what a plan needs. `done` are the keys whose stage stands in the store.

        A stage that failed for another job is tried again when this job first wants it. A job
        that was cancelled or deleted in the meantime stays as it is.
        """
        with self._write() as db:
            waits = "SELECT 1 FROM jobs WHERE id = ? AND status = 'planning'"
            if db.execute(waits, (job,)).fetchone() is None:
                return
            add_stages(db, plan.stages, set(done))
            for place, stage in enumerate(plan.stages):
                values = (job, stage.key, place)
                if db.execute("INSERT OR IGNORE INTO wants VALUES (?, ?, ?)", values).rowcount:
                    _requeue(db, job, stage.key)
            if plan.complete:
                _settle(db, job, plan)

    def refuse(self, job: str, field: str, error: str) -> None:
        """A job's spec turned out to be wrong."""
        with self._write() as db:
            db.execute(
                "UPDATE jobs SET status = 'refused', field = ?, error = ?"
                " WHERE id = ? AND status = 'planning'",
                (field, error, job),
            )

    def cancel(self, job: str) -> None:
        """Stop whatever no other job wants; finished stages stay."""
        with self._write() as db:
            _cancel(db, job)

    def delete(self, job: str) -> None:
        """Forget a job; its stages stay in the store until the cache is cleaned."""
        with self._write() as db:
            _cancel(db, job)
            db.execute("DELETE FROM wants WHERE job = ?", (job,))
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))

    def jobs(self, limit: int = 1000, offset: int = 0) -> list[Job]:
        """The newest jobs first."""
        rows = self._all("SELECT * FROM jobs ORDER BY created DESC LIMIT ? OFFSET ?", limit, offset)
        return [Job(**row) for row in rows]

    def job(self, start: str) -> Job | None:
        """The job whose id begins so, or None where there is none or more than one."""
        query = "SELECT * FROM jobs WHERE id >= ? AND id < ? LIMIT 2"
        rows = self._all(query, start, start + LAST_CHARACTER)
        return Job(**rows[0]) if len(rows) == 1 else None

    def unfinished(self, limit: int) -> list[Job]:
        """Jobs that wait, run or are planned, the newest first."""
        # Found by indexes from what is to be done; each + keeps SQLite from going through all jobs
        # instead.
        rows = self._all(
            "SELECT * FROM jobs WHERE +status IN ('planning', 'active') AND id IN"
            " (SELECT id FROM jobs WHERE status = 'planning' UNION SELECT w.job FROM stages s"
            " JOIN wants w ON w.key = s.key WHERE s.status IN ('queued', 'running'))"
            " ORDER BY +created DESC LIMIT ?",
            limit,
        )
        return [Job(**row) for row in rows]

    def finished(self, limit: int) -> list[Job]:
        """Jobs whose every stage is done, the newest first."""
        return self._where(
            "status = 'active' AND NOT EXISTS (SELECT 1 FROM wants w JOIN stages s"
            " ON s.key = w.key WHERE w.job = jobs.id AND s.status != 'done')",
            limit,
        )

    def started(self, limit: int) -> list[Job]:
        """Comparisons with a finished baseline: those that have something to show."""
        return self._where(STARTED, limit)

    def started_labels(self, limit: int) -> dict[str, str]:
        """The labels of the same jobs by their ids."""
        query = f"SELECT id, label FROM jobs WHERE {STARTED} ORDER BY created DESC LIMIT ?"
        return {row["id"]: row["label"] for row in self._all(query, limit)}

    def _where(self, condition: str, limit: int) -> list[Job]:
        query = f"SELECT * FROM jobs WHERE {condition} ORDER BY created DESC LIMIT ?"
        return [Job(**row) for row in self._all(query, limit)]

    def planning(self) -> list[Job]:
        """Jobs whose graph is not complete yet."""
        rows = self._all("SELECT * FROM jobs WHERE status = 'planning' ORDER BY created")
        return [Job(**row) for row in rows]

    def stages_of(self, job: str) -> list[Row]:
        """A job's stages, parents first."""
        query = "SELECT s.* FROM wants w JOIN stages s ON s.key = w.key WHERE w.job = ?"
        return [stage_row(row) for row in self._all(query + " ORDER BY w.place", job)]

    def counts(self, jobs: Iterable[str]) -> dict[str, dict[str, int]]:
        """How many stages of each status each job has."""
        wanted = list(jobs)
        marks = ",".join("?" * len(wanted))
        rows = self._all(
            "SELECT w.job, s.status, COUNT(*) AS n FROM wants w JOIN stages s ON s.key = w.key"
            f" WHERE w.job IN ({marks}) GROUP BY w.job, s.status",
            *wanted,
        )
        counts: dict[str, dict[str, int]] = {job: {} for job in wanted}
        for row in rows:
            counts[row["job"]][row["status"]] = row["n"]
        return counts

    def wanted_keys(self) -> set[str]:
        """The stages that some job wants."""
        return {row["key"] for row in self._all("SELECT DISTINCT key FROM wants")}

    def named_files(self) -> set[str]:
        """The paths that jobs, and stages that wait or run, name as images or weights."""
        rows = self._all(
            "SELECT json_extract(spec, '$.data.path') AS a, json_extract(spec, '$.model.weights')"
            " AS b FROM jobs UNION SELECT json_extract(hints, '$.path'),"
            " json_extract(hints, '$.weights') FROM stages WHERE status IN ('queued', 'running')"
        )
        return {path for row in rows for path in row.values() if path}


def _settle(db: sqlite3.Connection, job: str, plan: Plan) -> None:
    """The plan is complete: what an earlier plan of the job wanted besides is forgotten."""
    keys = [stage.key for stage in plan.stages]
    marks = ",".join("?" * len(keys))
    db.execute(f"DELETE FROM wants WHERE job = ? AND key NOT IN ({marks})", (job, *keys))
    db.execute(
        "UPDATE jobs SET status = 'active', outline = ? WHERE id = ?",
        (outline(plan).to_json(), job),
    )


def _cancel(db: sqlite3.Connection, job: str) -> None:
    db.execute(
        "UPDATE jobs SET status = 'cancelled' WHERE id = ? AND (status = 'planning' OR"
        " EXISTS (SELECT 1 FROM wants w JOIN stages s ON s.key = w.key"
        " WHERE w.job = jobs.id AND s.status != 'done'))",
        (job,),
    )
    db.execute(
        "UPDATE stages SET status = 'cancelled', token = NULL WHERE status IN"
        " ('queued', 'running') AND key IN (SELECT key FROM wants WHERE job = ?)"
        " AND NOT EXISTS (SELECT 1 FROM wants w JOIN jobs j ON j.id = w.job WHERE"
        " w.key = stages.key AND j.status IN ('planning', 'active'))",
        (job,),
    )


def _requeue(db: sqlite3.Connection, job: str, key: str = "%") -> None:
    db.execute(
        "UPDATE stages SET status = 'queued', attempts = 0, error = '', field = ''"
        " WHERE status IN ('failed', 'cancelled')"
        " AND key IN (SELECT key FROM wants WHERE job = ? AND key LIKE ?)",
        (job, key),
    )

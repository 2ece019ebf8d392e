"""Jobs: submitted comparisons, and the stages they want.

A job is identified by its spec: submitting the same spec again returns the same job. A stage that
two jobs want has one row, and cancelling a job stops only stages that no other job wants.
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass

from pruning_core.common.paths import PROJECT
from pruning_core.planning.stage import Plan, outline
from pruning_core.planning.stage_kinds import INSPECTIONS
from pruning_core.settings.relevance import active_settings
from pruning_core.settings.serialization import canonical_json, to_dict
from pruning_core.settings.spec import Spec
from pruning_core.storage.stage_queue import Row, StageQueue, add_stages, marks, sign, stage_row

STARTED = (
    "EXISTS (SELECT 1 FROM wants w JOIN stages s ON s.key = w.key WHERE"
    " w.job = jobs.id AND s.kind = 'baseline' AND s.status = 'done')"
    # A sensitivity analysis alone has no model beside the baseline.
    " AND (json_extract(jobs.spec, '$.one_shot.amounts') != '[]'"
    " OR json_extract(jobs.spec, '$.iterative.enabled'))"
)
LAST_CHARACTER = chr(0x10FFFF)


@dataclass(frozen=True)
class Job:
    """A submitted comparison. `status` is planning, active, refused or cancelled.

    `error` is a text, or `SpecError.to_json()` where `field` names the wrong setting. `outline`
    lists the models as JSON.
    """

    id: str
    label: str
    spec: str
    created: float
    status: str
    error: str
    field: str
    outline: str


def job_id(spec: Spec) -> str:
    """Twelve hexadecimal digits of the digest of all settings that change the results.

    Settings without an effect and the label do not count. A setting that is added later does not
    count at its neutral value, so the ids of earlier jobs stay the same.
    """
    return hashlib.sha256(canonical_json(active_settings(spec)).encode()).hexdigest()[:12]


class Queue(StageQueue):
    """The jobs and stages of one cache."""

    def submit(self, spec: Spec, label: str) -> str:
        """Submit a comparison, or submit an existing one again. Returns the id of the job."""
        job = job_id(spec)
        with self._write() as db:
            db.execute(
                "INSERT INTO jobs (id, label, spec, created, status)"
                " VALUES (?, ?, ?, ?, 'planning') ON CONFLICT (id) DO UPDATE SET"
                " label = excluded.label, status = 'planning', error = '', field = ''",
                (job, label, canonical_json(to_dict(spec)), time.time()),
            )
            sign(db, [job])
            _inspect_again(db, job)
        return job

    def retry(self, job: str) -> None:
        """Plan a job again, which puts its failed and cancelled stages back into the queue."""
        with self._write() as db:
            again = "UPDATE jobs SET status = 'planning', error = '', field = '' WHERE id = ?"
            db.execute(again, (job,))
            sign(db, [job])
            _inspect_again(db, job)

    def expand(self, job: str, plan: Plan, done: Iterable[str]) -> None:
        """Add the stages of a plan; `done` are the keys of those that the store holds.

        A stage that failed for another job is retried when this job first wants it, and a failed
        training stage when its plan is complete. A failed stage that the plan does not hold any
        more, because the user's files have changed, does not concern the job. A job that was
        cancelled or deleted in the meantime does not change.
        """
        with self._write() as db:
            planning = "SELECT 1 FROM jobs WHERE id = ? AND status = 'planning'"
            if db.execute(planning, (job,)).fetchone() is None:
                return
            add_stages(db, plan.stages, set(done))
            for place, stage in enumerate(plan.stages):
                values = (job, stage.key, place)
                if db.execute("INSERT OR IGNORE INTO wants VALUES (?, ?, ?)", values).rowcount:
                    _requeue(db, job, stage.key)
            if plan.complete:
                _settle(db, job, plan)
                _requeue(db, job)
            else:
                _drop_past(db, job, plan)

    def refuse(self, job: str, field: str, error: str) -> None:
        """Mark a job as refused, because its spec is wrong; see `Job` for the error."""
        with self._write() as db:
            db.execute(
                "UPDATE jobs SET status = 'refused', field = ?, error = ?"
                " WHERE id = ? AND status = 'planning'",
                (field, error, job),
            )

    def refuse_others(self, code: str) -> list[str]:
        """Refuse what waits and was submitted from another checkout with other source code.

        A worker that runs the source code `code` of this checkout would compute it with that.
        Returns the ids of the jobs, and the keys of the stages of no job.
        """
        other = (str(PROJECT), code)
        jobs = self._all(
            "SELECT j.id, o.checkout FROM submitters o JOIN jobs j ON j.id = o.id"
            " WHERE o.checkout != ? AND o.code != ? AND (j.status = 'planning'"
            " OR j.status = 'active' AND EXISTS (SELECT 1 FROM wants w JOIN stages s"
            " ON s.key = w.key WHERE w.job = j.id AND s.status IN ('queued', 'running')))",
            *other,
        )
        stages = self._all(
            "SELECT s.key, o.checkout FROM submitters o JOIN stages s ON s.key = o.id"
            " WHERE o.checkout != ? AND o.code != ? AND s.status = 'queued'"
            " AND NOT EXISTS (SELECT 1 FROM wants w WHERE w.key = s.key)",
            *other,
        )
        if not jobs and not stages:
            return []
        with self._write() as db:
            for row in jobs:
                _cancel(db, row["id"])
                db.execute(
                    "UPDATE jobs SET status = 'refused', field = '', error = ? WHERE id = ?",
                    (_other_checkout(row["checkout"]), row["id"]),
                )
            for row in stages:
                db.execute(
                    "UPDATE stages SET status = 'failed', error = ?"
                    " WHERE key = ? AND status = 'queued'",
                    (_other_checkout(row["checkout"]), row["key"]),
                )
        return [*(row["id"] for row in jobs), *(row["key"] for row in stages)]

    def cancel(self, job: str) -> None:
        """Cancel a job and its stages that no other job wants; finished stages stay."""
        with self._write() as db:
            _cancel(db, job)

    def delete(self, job: str) -> None:
        """Cancel and delete a job; its results stay in the store until the cache is cleaned."""
        with self._write() as db:
            _cancel(db, job)
            db.execute("DELETE FROM wants WHERE job = ?", (job,))
            db.execute("DELETE FROM jobs WHERE id = ?", (job,))
            db.execute("DELETE FROM submitters WHERE id = ?", (job,))

    def jobs(self, limit: int = 1000, offset: int = 0) -> list[Job]:
        """All jobs, the newest first."""
        rows = self._all("SELECT * FROM jobs ORDER BY created DESC LIMIT ? OFFSET ?", limit, offset)
        return [Job(**row) for row in rows]

    def job(self, start: str) -> Job | None:
        """The job whose id begins with `start`; None where no job, or more than one, matches."""
        query = "SELECT * FROM jobs WHERE id >= ? AND id < ? LIMIT 2"
        rows = self._all(query, start, start + LAST_CHARACTER)
        return Job(**rows[0]) if len(rows) == 1 else None

    def unfinished(self, limit: int) -> list[Job]:
        """Jobs that are planned, wait or run, the newest first."""
        # Indexes lead from the unfinished stages to their jobs. Each + hides a column from the
        # query planner, which would scan all jobs instead.
        rows = self._all(
            "SELECT * FROM jobs WHERE +status IN ('planning', 'active') AND id IN"
            " (SELECT id FROM jobs WHERE status = 'planning' UNION SELECT w.job FROM stages s"
            " JOIN wants w ON w.key = s.key WHERE s.status IN ('queued', 'running'))"
            " ORDER BY +created DESC LIMIT ?",
            limit,
        )
        return [Job(**row) for row in rows]

    def finished(self, limit: int) -> list[Job]:
        """Jobs all of whose stages are done, the newest first."""
        return self._where(
            "status = 'active' AND NOT EXISTS (SELECT 1 FROM wants w JOIN stages s"
            " ON s.key = w.key WHERE w.job = jobs.id AND s.status != 'done')",
            limit,
        )

    def started(self, limit: int) -> list[Job]:
        """Comparisons with a finished baseline, the newest first: these have results to show."""
        return self._where(STARTED, limit)

    def started_labels(self, limit: int) -> dict[str, str]:
        """The labels of the jobs in `started`, by id."""
        query = f"SELECT id, label FROM jobs WHERE {STARTED} ORDER BY created DESC LIMIT ?"
        return {row["id"]: row["label"] for row in self._all(query, limit)}

    def _where(self, condition: str, limit: int) -> list[Job]:
        query = f"SELECT * FROM jobs WHERE {condition} ORDER BY created DESC LIMIT ?"
        return [Job(**row) for row in self._all(query, limit)]

    def planning(self) -> list[Job]:
        """Jobs whose plan is not complete, the oldest first."""
        rows = self._all("SELECT * FROM jobs WHERE status = 'planning' ORDER BY created")
        return [Job(**row) for row in rows]

    def stages_of(self, job: str) -> list[Row]:
        """The stages of a job, parents first."""
        query = "SELECT s.* FROM wants w JOIN stages s ON s.key = w.key WHERE w.job = ?"
        return [stage_row(row) for row in self._all(query + " ORDER BY w.place", job)]

    def counts(self, jobs: Iterable[str]) -> dict[str, dict[str, int]]:
        """The number of stages by job and status."""
        wanted = list(jobs)
        rows = self._all(
            "SELECT w.job, s.status, COUNT(*) AS n FROM wants w JOIN stages s ON s.key = w.key"
            f" WHERE w.job IN ({marks(wanted)}) GROUP BY w.job, s.status",
            *wanted,
        )
        counts: dict[str, dict[str, int]] = {job: {} for job in wanted}
        for row in rows:
            counts[row["job"]][row["status"]] = row["n"]
        return counts

    def wanted_keys(self) -> set[str]:
        """The keys of the stages that at least one job wants."""
        return {row["key"] for row in self._all("SELECT DISTINCT key FROM wants")}

    def finished_keys(self) -> list[str]:
        """The keys of the finished stages that at least one job wants."""
        query = "SELECT DISTINCT s.key FROM stages s JOIN wants w ON w.key = s.key"
        return [row["key"] for row in self._all(f"{query} WHERE s.status = 'done' ORDER BY s.key")]

    def named_files(self) -> set[str]:
        """Paths of images and weights that jobs, and stages that wait or run, use."""
        rows = self._all(
            "SELECT json_extract(spec, '$.data.path') AS a, json_extract(spec, '$.model.weights')"
            " AS b FROM jobs UNION SELECT json_extract(hints, '$.path'),"
            " json_extract(hints, '$.weights') FROM stages WHERE status IN ('queued', 'running')"
        )
        return {path for row in rows for path in row.values() if path}


def _other_checkout(checkout: str) -> str:
    return (
        f"This was submitted from {checkout}, and the worker of this cache runs the other source "
        f"code in {PROJECT}. It was not run; finished results are kept. Press Retry, or run the "
        f"same command again, in {PROJECT} to use its source code. To use that of {checkout}, "
        "stop the worker and start the app or the command there."
    )


def _settle(db: sqlite3.Connection, job: str, plan: Plan) -> None:
    """Activate a job with a complete plan, and drop the stages that only an earlier plan had."""
    keys = [stage.key for stage in plan.stages]
    db.execute(f"DELETE FROM wants WHERE job = ? AND key NOT IN ({marks(keys)})", (job, *keys))
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


def _inspect_again(db: sqlite3.Connection, job: str) -> None:
    """Let the next plan decide which inspections a job wants: the user's files may have changed.

    It adds those that are done, and queues those that have failed.
    """
    db.execute(
        "DELETE FROM wants WHERE job = ? AND key IN (SELECT key FROM stages WHERE"
        f" kind IN ({marks(INSPECTIONS)}) AND status != 'running')",
        (job, *INSPECTIONS),
    )


def _drop_past(db: sqlite3.Connection, job: str, plan: Plan) -> None:
    """Drop what only an earlier plan of a job had, unless it runs or is done.

    Such stages are of images that the user has changed; those that wait are cancelled.
    """
    keys = [stage.key for stage in plan.stages]
    past = f"key IN (SELECT key FROM wants WHERE job = ?) AND key NOT IN ({marks(keys)})"
    db.execute(
        f"UPDATE stages SET status = 'cancelled' WHERE status = 'queued' AND {past}"
        " AND NOT EXISTS (SELECT 1 FROM wants w JOIN jobs j ON j.id = w.job"
        " WHERE w.key = stages.key AND w.job != ? AND j.status IN ('planning', 'active'))",
        (job, *keys, job),
    )
    db.execute(
        f"DELETE FROM wants WHERE job = ? AND {past}"
        " AND key IN (SELECT key FROM stages WHERE status IN ('failed', 'cancelled'))",
        (job, job, *keys),
    )


def _requeue(db: sqlite3.Connection, job: str, key: str = "%") -> None:
    """Queue the failed and cancelled stages of a job again, or only the stage `key`."""
    db.execute(
        "UPDATE stages SET status = 'queued', attempts = 0, error = '', field = ''"
        " WHERE status IN ('failed', 'cancelled')"
        " AND key IN (SELECT key FROM wants WHERE job = ? AND key LIKE ?)",
        (job, key),
    )

"""The queue of jobs: submitted comparisons, planned into the stages that they want.

A job is identified by its spec: submitting the same spec again returns the same job. A stage that
two jobs want has one row, and cancelling a job stops only stages that no other job wants.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

from pruning_core.common.names import run_name
from pruning_core.common.paths import PROJECT
from pruning_core.planning.stage import Plan, outline
from pruning_core.planning.stage_kinds import INSPECTIONS
from pruning_core.settings.serialization import canonical_json, to_dict
from pruning_core.settings.spec import Spec, dataset_name, describe
from pruning_core.storage.database import TYPED, label_origin
from pruning_core.storage.job_edits import UNDO_SECONDS, JobEdits, cancel_job, purge_jobs
from pruning_core.storage.job_queries import JobQueries
from pruning_core.storage.job_record import job_id
from pruning_core.storage.stage_queue import ACTIVE_JOB, StageQueue, add_stages, marks, sign, wanted


class Queue(StageQueue, JobQueries, JobEdits):
    """The jobs and stages of one cache."""

    def submit(self, spec: Spec, label: str) -> str:
        """Submit a comparison, or submit an existing one again. Returns the id of the job.

        A name that a person has typed is only replaced by another typed one. A job that was
        deleted is a new one, with the tags and notes that it had. Raises `SpecError` where `label`
        cannot be a name; an empty one is the default name.
        """
        job = job_id(spec)
        label = run_name("label", label) or describe(spec)
        origin = label_origin(spec) if label == describe(spec) else TYPED
        with self._write() as db:
            purge_jobs(db, time.time() - UNDO_SECONDS)
            db.execute(
                "INSERT INTO jobs (id, label, origin, spec, dataset, model, created, status)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 'planning') ON CONFLICT (id) DO UPDATE SET"
                " label = iif(excluded.origin >= origin, excluded.label, label),"
                " origin = max(excluded.origin, origin),"
                " created = iif(deleted IS NULL, created, excluded.created),"
                " status = 'planning', error = '', field = '', archived = 0, deleted = NULL",
                (
                    *(job, label, origin, canonical_json(to_dict(spec))),
                    *(dataset_name(spec), spec.model.name, time.time()),
                ),
            )
            sign(db, [job])
            _inspect_again(db, job)
        return job

    def retry(self, *jobs: str) -> list[str]:
        """Plan jobs again, which puts their failed and cancelled stages back into the queue.

        Returns the ids of those that were. A job that was deleted in the meantime does not start.
        """
        again = (
            "UPDATE jobs SET status = 'planning', error = '', field = ''"
            " WHERE id = ? AND deleted IS NULL"
        )
        with self._write() as db:
            started = [job for job in jobs if db.execute(again, (job,)).rowcount]
            sign(db, started)
            for job in started:
                _inspect_again(db, job)
        return started

    def expand(self, job: str, plan: Plan, done: Iterable[str]) -> None:
        """Add the stages of a plan; `done` are the keys of those that the store holds.

        A stage that failed for another job is retried when this job first wants it, and a failed
        training stage when its plan is complete. A failed stage that the plan does not hold any
        more, because the user's files have changed, does not concern the job. A job that was
        cancelled or deleted in the meantime does not change.
        """
        with self._write() as db:
            planning = "SELECT 1 FROM jobs WHERE id = ? AND status = 'planning' AND deleted IS NULL"
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
                " WHERE id = ? AND status = 'planning' AND deleted IS NULL",
                (field, error, job),
            )

    def refuse_others(self, code: str) -> list[str]:
        """Refuse what waits and was submitted from another checkout with other source code.

        A worker that runs the source code `code` of this checkout would compute it with that.
        Deleted jobs are left as they are: nothing is computed for them.
        Returns the ids of the jobs, and the keys of the stages of no job.
        """
        other = (str(PROJECT), code)
        jobs = self._all(
            "SELECT j.id, o.checkout FROM submitters o JOIN jobs j ON j.id = o.id"
            " WHERE o.checkout != ? AND o.code != ? AND j.deleted IS NULL"
            " AND (j.status = 'planning'"
            " OR j.status = 'active' AND EXISTS (SELECT 1 FROM wants w JOIN stages s"
            " ON s.key = w.key WHERE w.job = j.id AND s.status IN ('queued', 'running')))",
            *other,
        )
        stages = self._all(
            "SELECT s.key, o.checkout FROM submitters o JOIN stages s ON s.key = o.id"
            " WHERE o.checkout != ? AND o.code != ? AND s.status = 'queued'"
            f" AND NOT {wanted('s.key')}",
            *other,
        )
        if not jobs and not stages:
            return []
        with self._write() as db:
            for row in jobs:
                cancel_job(db, row["id"])
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


def _settle(db: sqlite3.Connection, job: str, plan: Plan) -> None:
    """Activate a job with a complete plan, and drop the stages that only an earlier plan had."""
    keys = [stage.key for stage in plan.stages]
    db.execute(f"DELETE FROM wants WHERE job = ? AND key NOT IN ({marks(keys)})", (job, *keys))
    db.execute(
        "UPDATE jobs SET status = 'active', outline = ? WHERE id = ?",
        (outline(plan).to_json(), job),
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
        f" AND NOT {wanted('stages.key', ACTIVE_JOB + ' AND w.job != ?')}",
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


def _other_checkout(checkout: str) -> str:
    return (
        f"This was submitted from {checkout}, and the worker of this cache runs the other source "
        f"code in {PROJECT}. It was not run; finished results are kept. Press Retry, or run the "
        f"same command again, in {PROJECT} to use its source code. To use that of {checkout}, "
        "stop the worker and start the app or the command there."
    )

"""Jobs: submitted comparisons, and the stages they want.

A job is identified by its spec: submitting the same spec again returns the same job. A stage that
two jobs want has one row, and cancelling a job stops only stages that no other job wants.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import shortened
from pruning_core.common.formatting import format_count
from pruning_core.common.names import run_name, run_notes, run_tag
from pruning_core.common.paths import PROJECT
from pruning_core.planning.stage import Plan, outline
from pruning_core.planning.stage_kinds import INSPECTIONS
from pruning_core.settings.relevance import active_settings
from pruning_core.settings.serialization import canonical_json, to_dict
from pruning_core.settings.spec import Spec, dataset_name, describe, from_json
from pruning_core.storage.database import TYPED, label_origin
from pruning_core.storage.stage_queue import (
    ACTIVE_JOB,
    Row,
    StageQueue,
    add_stages,
    marks,
    sign,
    stage_row,
    wanted,
)

STARTED = (
    "EXISTS (SELECT 1 FROM wants w JOIN stages s ON s.key = w.key WHERE"
    " w.job = jobs.id AND s.kind = 'baseline' AND s.status = 'done')"
    # A sensitivity analysis alone has no model beside the baseline.
    " AND (json_extract(jobs.spec, '$.one_shot.amounts') != '[]'"
    " OR json_extract(jobs.spec, '$.iterative.enabled'))"
)
LAST_CHARACTER = chr(0x10FFFF)
LISTED = "deleted IS NULL AND NOT archived"
# So long a deletion can be undone.
UNDO_SECONDS = 86_400.0


def _jobs_with(status: str) -> str:
    """The ids of the jobs that want a stage with this status, in SQL."""
    return f"SELECT w.job FROM stages s JOIN wants w ON w.key = s.key WHERE s.status = '{status}'"


# Indexes lead from the unfinished stages to their jobs. Each + hides a column from the query
# planner, which would scan all jobs instead. The stages after a failed one stay queued for ever.
UNFINISHED = (
    "+status IN ('planning', 'active') AND deleted IS NULL"
    f" AND id IN (SELECT id FROM jobs WHERE status = 'planning' UNION {_jobs_with('queued')}"
    f" UNION {_jobs_with('running')}) AND (+status = 'planning'"
    f" OR id IN ({_jobs_with('running')}) OR id NOT IN ({_jobs_with('failed')}))"
)


@dataclass(frozen=True)
class Job:
    """A submitted comparison. `status` is planning, active, refused or cancelled.

    `error` is a text, or `SpecError.to_json()` where `field` names the wrong setting. `outline`
    lists the models as JSON. `label` is the name of the run, and `origin` says where it is from:
    the default, the settings, or a person who typed it. `dataset` and `model` are names. `deleted`
    is the time of the deletion, which can be undone; None for other jobs.
    """

    id: str
    label: str
    spec: str
    created: float
    status: str
    error: str
    field: str
    outline: str
    origin: int = 0
    dataset: str = ""
    model: str = ""
    starred: bool = False
    archived: bool = False
    tags: tuple[str, ...] = ()
    notes: str = ""
    deleted: float | None = None


@dataclass(frozen=True)
class Edit:
    """A change to jobs; None leaves a value as it is.

    An empty `name` is the default name. Tags are added before others are removed.

    Raises `SpecError` where a text cannot be a name, notes or a tag; see `common.names`. Any text
    may be removed as a tag.
    """

    name: str | None = None
    notes: str | None = None
    starred: bool | None = None
    archived: bool | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, checked in (("name", run_name), ("notes", run_notes)):
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, checked(name, text))
        object.__setattr__(self, "add_tags", tuple(run_tag("tag", tag) for tag in self.add_tags))


def job_id(spec: Spec) -> str:
    """Twelve hexadecimal digits of the digest of all settings that change the results.

    Settings without an effect and the label do not count. A setting that is added later does not
    count at its neutral value, so the ids of earlier jobs stay the same.
    """
    return hashlib.sha256(canonical_json(active_settings(spec)).encode()).hexdigest()[:12]


class Queue(StageQueue):
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
            _purge(db, time.time() - UNDO_SECONDS)
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

    def delete(self, *jobs: str) -> None:
        """Cancel jobs and remove them from all lists. `undelete` brings them back for a day.

        Their results stay in the store; see `purge`.
        """
        now = time.time()
        with self._write() as db:
            _purge(db, now - UNDO_SECONDS)
            for job in jobs:
                _cancel(db, job)
                query = "UPDATE jobs SET deleted = ? WHERE id = ? AND deleted IS NULL"
                db.execute(query, (now, job))

    def undelete(self, *jobs: str) -> None:
        """Bring deleted jobs back. Those that waited or ran are cancelled, and can be retried."""
        with self._write() as db:
            db.execute(f"UPDATE jobs SET deleted = NULL WHERE id IN ({marks(jobs)})", jobs)

    def purge(self, seconds: float = 0.0) -> int:
        """Remove the jobs for good that were deleted at least so many seconds ago.

        Their results belong to no job then, and stay in the store until the cache is cleaned.
        Returns the number of jobs.
        """
        with self._write() as db:
            return _purge(db, time.time() - seconds)

    def edit(self, jobs: Collection[str], change: Edit) -> list[str]:
        """Change the name, tags, notes, star or archive of jobs, all in one step.

        Returns what was not done, as sentences: a job that was deleted in the meantime does not
        change, and a tag that no job has cannot be removed.
        """
        with self._write() as db:
            query = f"SELECT * FROM jobs WHERE id IN ({marks(jobs)})"
            rows = [job_row(dict(row)) for row in db.execute(query, tuple(jobs)).fetchall()]
            present = [job for job in rows if job.deleted is None]
            for job in present:
                values = _edited(job, change)
                assignments = ", ".join(f"{name} = ?" for name in values)
                db.execute(
                    f"UPDATE jobs SET {assignments} WHERE id = ?", (*values.values(), job.id)
                )
        return list(_not_done(set(jobs), rows, change))

    def jobs(self, limit: int = 1000, offset: int = 0) -> list[Job]:
        """All jobs that are not deleted, the newest first."""
        query = "SELECT * FROM jobs WHERE deleted IS NULL ORDER BY created DESC LIMIT ? OFFSET ?"
        return [job_row(row) for row in self._all(query, limit, offset)]

    def job(self, start: str, deleted: bool = False) -> Job | None:
        """The job whose id begins with `start`; None where no job, or more than one, matches.

        With `deleted` it is one that was deleted, without it one that was not.
        """
        state = "NOT NULL" if deleted else "NULL"
        query = f"SELECT * FROM jobs WHERE id >= ? AND id < ? AND deleted IS {state} LIMIT 2"
        rows = self._all(query, start, start + LAST_CHARACTER)
        return job_row(rows[0]) if len(rows) == 1 else None

    def jobs_by_id(self, ids: Collection[str]) -> dict[str, Job]:
        """The jobs with these ids, also deleted ones; unknown ids are left out."""
        if not ids:
            return {}
        rows = self._all(f"SELECT * FROM jobs WHERE id IN ({marks(ids)})", *ids)
        return {row["id"]: job_row(row) for row in rows}

    def deleted(self) -> list[Job]:
        """The jobs whose deletion can still be undone, the last deleted first."""
        query = "SELECT * FROM jobs WHERE deleted IS NOT NULL ORDER BY deleted DESC"
        return [job_row(row) for row in self._all(query)]

    def unfinished(self, limit: int) -> list[Job]:
        """Jobs that are planned, wait or run: those that run first, then the newest first."""
        query = f"SELECT * FROM jobs WHERE {UNFINISHED} ORDER BY id IN ({_jobs_with('running')})"
        return [job_row(row) for row in self._all(f"{query} DESC, +created DESC LIMIT ?", limit)]

    def unfinished_counts(self) -> tuple[int, int]:
        """How many jobs run, and how many others are planned or wait."""
        running = f"SUM(id IN ({_jobs_with('running')})) AS running"
        (row,) = self._all(f"SELECT COUNT(*) AS jobs, {running} FROM jobs WHERE {UNFINISHED}")
        return row["running"] or 0, row["jobs"] - (row["running"] or 0)

    def finished(self, limit: int) -> list[Job]:
        """Jobs all of whose stages are done, the newest first, without archived ones."""
        return self._where(
            "status = 'active' AND NOT EXISTS (SELECT 1 FROM wants w JOIN stages s"
            " ON s.key = w.key WHERE w.job = jobs.id AND s.status != 'done')",
            limit,
        )

    def started(self, limit: int) -> list[Job]:
        """Comparisons with a finished baseline, which have results to show, the newest first.

        Archived ones are left out.
        """
        return self._where(STARTED, limit)

    def started_labels(self, limit: int) -> dict[str, str]:
        """The labels of the jobs in `started`, by id."""
        query = f"SELECT id, label FROM jobs WHERE {LISTED} AND {STARTED}"
        query += " ORDER BY created DESC LIMIT ?"
        return {row["id"]: row["label"] for row in self._all(query, limit)}

    def _where(self, condition: str, limit: int) -> list[Job]:
        query = f"SELECT * FROM jobs WHERE {LISTED} AND {condition} ORDER BY created DESC LIMIT ?"
        return [job_row(row) for row in self._all(query, limit)]

    def submitted_since(self, seconds: float, limit: int) -> dict[str, str]:
        """The labels by id of the newest jobs that were submitted since a time."""
        query = "SELECT id, label FROM jobs WHERE created >= ? AND deleted IS NULL"
        rows = self._all(f"{query} ORDER BY created DESC LIMIT ?", seconds, limit)
        return {row["id"]: row["label"] for row in rows}

    def planning(self) -> list[Job]:
        """Jobs whose plan is not complete, the oldest first."""
        query = "SELECT * FROM jobs WHERE status = 'planning' AND deleted IS NULL ORDER BY created"
        rows = self._all(query)
        return [job_row(row) for row in rows]

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

    def wanted_keys(self, deleted: bool = False) -> set[str]:
        """The keys of the stages that at least one job wants.

        With `deleted` also of those that only deleted jobs want: they are kept for an undo.
        """
        query = "SELECT DISTINCT w.key FROM wants w"
        if not deleted:
            query += " JOIN jobs j ON j.id = w.job WHERE j.deleted IS NULL"
        return {row["key"] for row in self._all(query)}

    def finished_keys(self) -> list[str]:
        """The keys of the finished stages that at least one job wants; deleted jobs want none."""
        query = f"SELECT key FROM stages WHERE status = 'done' AND {wanted('stages.key')}"
        return [row["key"] for row in self._all(f"{query} ORDER BY key")]

    def named_files(self) -> set[str]:
        """Paths of images and weights that jobs, also deleted ones, and pending stages use."""
        rows = self._all(
            "SELECT json_extract(spec, '$.data.path') AS a, json_extract(spec, '$.model.weights')"
            " AS b FROM jobs UNION SELECT json_extract(hints, '$.path'),"
            " json_extract(hints, '$.weights') FROM stages WHERE status IN ('queued', 'running')"
        )
        return {path for row in rows for path in row.values() if path}


def job_row(values: dict[str, Any]) -> Job:
    """A row of the table as a `Job`."""
    flags = {name: bool(values[name]) for name in ("starred", "archived")}
    return Job(**{**values, **flags, "tags": tuple(json.loads(values["tags"]))})


def _edited(job: Job, change: Edit) -> dict[str, Any]:
    """The columns of a job after a change."""
    label, origin = job.label, job.origin
    if change.name is not None:
        label, origin = change.name, TYPED
    if not label:
        spec = from_json(job.spec)
        label, origin = describe(spec), label_origin(spec)
    tags = {*job.tags, *change.add_tags} - {tag.strip() for tag in change.remove_tags}
    return {
        "label": label,
        "origin": origin,
        "notes": job.notes if change.notes is None else change.notes,
        "starred": job.starred if change.starred is None else change.starred,
        "archived": job.archived if change.archived is None else change.archived,
        "tags": json.dumps(sorted(tags, key=lambda t: (t.casefold(), t)), ensure_ascii=False),
    }


def _not_done(asked: set[str], rows: list[Job], change: Edit) -> Iterator[str]:
    """What an edit of the jobs `asked` has not done; `rows` are the jobs that exist."""
    deleted = [job for job in rows if job.deleted is not None]
    for job in deleted:
        name = shortened(job.label)
        yield f"The run {name} was deleted, so it was not changed. Restore it first."
    if purged := len(asked) - len(rows):
        yield f"{format_count(purged, 'run')} not changed: deleted for good in the meantime."
    present = [job for job in rows if job.deleted is None]
    for tag in change.remove_tags if present else ():
        if not any(tag.strip() in job.tags for job in present):
            which = "The run has no tag" if len(present) == 1 else "No chosen run has the tag"
            yield f"{which} {shortened(tag)}, so none was removed."


def _purge(db: sqlite3.Connection, until: float) -> int:
    """Remove the jobs for good that were deleted until a time. Returns their number."""
    rows = db.execute("SELECT id FROM jobs WHERE deleted <= ?", (until,)).fetchall()
    for row in rows:
        for table, column in (("wants", "job"), ("jobs", "id"), ("submitters", "id")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (row["id"],))
    return len(rows)


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
        f" AND NOT {wanted('stages.key', ACTIVE_JOB)}",
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

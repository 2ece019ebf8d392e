"""Changes of jobs by people: name, tags, notes, star, archive; cancel, delete and restore."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import shortened
from pruning_core.common.formatting import format_count
from pruning_core.common.names import run_name, run_notes, run_tag
from pruning_core.settings.spec import describe, from_json
from pruning_core.storage.database import TYPED, Database, label_origin
from pruning_core.storage.job_record import Job, job_row
from pruning_core.storage.stage_queue import ACTIVE_JOB, marks, wanted

# So long a deletion can be undone.
UNDO_SECONDS = 86_400.0


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


class JobEdits(Database):
    """The changes that people make to the jobs of one cache."""

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

    def cancel(self, job: str) -> None:
        """Cancel a job and its stages that no other job wants; finished stages stay."""
        with self._write() as db:
            cancel_job(db, job)

    def delete(self, *jobs: str) -> None:
        """Cancel jobs and remove them from all lists. `undelete` brings them back for a day.

        Their results stay in the store; see `purge`.
        """
        now = time.time()
        with self._write() as db:
            purge_jobs(db, now - UNDO_SECONDS)
            for job in jobs:
                cancel_job(db, job)
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
            return purge_jobs(db, time.time() - seconds)


def cancel_job(db: sqlite3.Connection, job: str) -> None:
    """Cancel an unfinished job and its waiting and running stages that no other job wants."""
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


def purge_jobs(db: sqlite3.Connection, until: float) -> int:
    """Remove the jobs for good that were deleted until a time. Returns their number."""
    rows = db.execute("SELECT id FROM jobs WHERE deleted <= ?", (until,)).fetchall()
    for row in rows:
        for table, column in (("wants", "job"), ("jobs", "id"), ("submitters", "id")):
            db.execute(f"DELETE FROM {table} WHERE {column} = ?", (row["id"],))
    return len(rows)


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

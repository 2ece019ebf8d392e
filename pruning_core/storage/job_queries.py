"""Which jobs there are: by id, by state and by time, and the stages that they want."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pruning_core.storage.database import Database
from pruning_core.storage.job_record import Job, job_row
from pruning_core.storage.stage_queue import Row, marks, stage_row, wanted

STARTED = (
    "EXISTS (SELECT 1 FROM wants w JOIN stages s ON s.key = w.key WHERE"
    " w.job = jobs.id AND s.kind = 'baseline' AND s.status = 'done')"
    # A sensitivity analysis alone has no model beside the baseline.
    " AND (json_extract(jobs.spec, '$.one_shot.amounts') != '[]'"
    " OR json_extract(jobs.spec, '$.iterative.enabled')"
    " OR json_extract(jobs.spec, '$.structured.enabled'))"
)
# The + keeps the query planner from reading all finished stages for each job.
PRUNED = (
    "EXISTS (SELECT 1 FROM json_each(jobs.outline, '$.models') m JOIN stages s"
    " ON s.key = json_extract(m.value, '$.key') WHERE +s.status = 'done'"
    " AND json_extract(m.value, '$.target') > 0)"
)
LAST_CHARACTER = chr(0x10FFFF)
LISTED = "deleted IS NULL AND NOT archived"


def jobs_with(status: str) -> str:
    """The ids of the jobs that want a stage whose status is so, as in "= 'failed'", in SQL."""
    return f"SELECT w.job FROM stages s JOIN wants w ON w.key = s.key WHERE s.status {status}"


_QUEUED, RUNNING, FAILED = (jobs_with(f"= '{name}'") for name in ("queued", "running", "failed"))
# Indexes lead from the unfinished stages to their jobs. Each + hides a column from the query
# planner, which would scan all jobs instead. The stages after a failed one stay queued for ever.
UNFINISHED = (
    "+status IN ('planning', 'active') AND deleted IS NULL"
    f" AND id IN (SELECT id FROM jobs WHERE status = 'planning' UNION {_QUEUED} UNION {RUNNING})"
    f" AND (+status = 'planning' OR id IN ({RUNNING}) OR id NOT IN ({FAILED}))"
)


class JobQueries(Database):
    """The jobs of one cache, and the stages that they want, to read."""

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

    def planning(self) -> list[Job]:
        """Jobs whose plan is not complete, the oldest first."""
        query = "SELECT * FROM jobs WHERE status = 'planning' AND deleted IS NULL ORDER BY created"
        rows = self._all(query)
        return [job_row(row) for row in rows]

    def unfinished(self, limit: int) -> list[Job]:
        """Jobs that are planned, wait or run: those that run first, then the newest first."""
        query = f"SELECT * FROM jobs WHERE {UNFINISHED} ORDER BY id IN ({RUNNING})"
        return [job_row(row) for row in self._all(f"{query} DESC, +created DESC LIMIT ?", limit)]

    def unfinished_counts(self) -> tuple[int, int]:
        """How many jobs run, and how many others are planned or wait."""
        running = f"SUM(id IN ({RUNNING})) AS running"
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

    def pruned(self, limit: int) -> list[Job]:
        """Comparisons with a finished pruned model, the newest first, without archived ones."""
        return self._where(PRUNED, limit)

    def started_labels(self, limit: int) -> dict[str, str]:
        """The labels of the jobs in `started`, by id."""
        query = f"SELECT id, label FROM jobs WHERE {LISTED} AND {STARTED}"
        query += " ORDER BY created DESC LIMIT ?"
        return {row["id"]: row["label"] for row in self._all(query, limit)}

    def submitted_since(self, seconds: float, limit: int) -> dict[str, str]:
        """The labels by id of the newest jobs that were submitted since a time."""
        query = "SELECT id, label FROM jobs WHERE created >= ? AND deleted IS NULL"
        rows = self._all(f"{query} ORDER BY created DESC LIMIT ?", seconds, limit)
        return {row["id"]: row["label"] for row in rows}

    def _where(self, condition: str, limit: int) -> list[Job]:
        query = f"SELECT * FROM jobs WHERE {LISTED} AND {condition} ORDER BY created DESC LIMIT ?"
        return [job_row(row) for row in self._all(query, limit)]

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

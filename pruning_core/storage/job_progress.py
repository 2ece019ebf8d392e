"""How far a job is, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pruning_core.planning.stage import Outline
from pruning_core.storage.jobs import Job, Queue
from pruning_core.storage.stage_queue import Row

ACTIVE = ("planning", "queued", "running")


@dataclass(frozen=True)
class JobProgress:
    """How far a job is. `state` is planning, running, done, failed, refused or cancelled."""

    job: Job
    rows: list[Row]
    state: str

    @property
    def outline(self) -> Outline:
        """The job's points; none before its plan is complete."""
        return Outline.from_json(self.job.outline)

    @property
    def fraction(self) -> float:
        """From 0 to 1, by stages."""
        return fraction(self.rows) if self.job.status != "planning" else 0.0


def fraction(rows: list[Row]) -> float:
    """How far stages are together, from 0 to 1; each counts the same."""
    parts = [1.0 if row.status == "done" else row.progress.get("fraction", 0.0) for row in rows]
    return sum(parts) / max(len(parts), 1)


def job_progress(queue: Queue, job_id: str) -> JobProgress:
    """Where a job stands now. Raises `KeyError` where there is no such job."""
    job = queue.job(job_id)
    if job is None:
        raise KeyError(f"There is no job {job_id}.")
    rows = queue.stages_of(job.id)
    return JobProgress(job, rows, job_state(job, [row.status for row in rows]))


def job_state(job: Job, statuses: list[str]) -> str:
    """A job's state from its own status and those of its stages.

    It has failed once a stage has failed and nothing that can still run is left: what waits
    for a failed stage will never start.
    """
    if job.status in ("cancelled", "refused", "planning"):
        return job.status
    if all(status == "done" for status in statuses):
        return "done"
    if "running" in statuses:
        return "running"
    return "failed" if "failed" in statuses else "queued"


def job_states(queue: Queue, jobs: Iterable[Job]) -> dict[str, str]:
    """The state of many jobs with one query."""
    known = {job.id: job for job in jobs}
    counts = queue.counts(known)
    return {name: job_state(job, list(counts[name])) for name, job in known.items()}

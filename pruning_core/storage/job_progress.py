"""The state of a job and how far it is, computed from its stages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pruning_core.planning.stage import Outline, stage_inputs
from pruning_core.storage.cluster_record import training_cores
from pruning_core.storage.job_record import Job
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row

# The states in which a job can still change.
ACTIVE = ("planning", "queued", "running")
# The work of a stage without training, in epochs.
MIN_STAGE_WORK = 0.2


@dataclass(frozen=True)
class JobProgress:
    """A job with its stages, parents first.

    `state` is one of planning, queued, running, done, failed, refused and cancelled. `cores` are
    those that its stages run on.
    """

    job: Job
    rows: list[Row]
    state: str
    cores: int

    @property
    def outline(self) -> Outline:
        """The models of the job; none before its plan is complete."""
        return Outline.from_json(self.job.outline)

    @property
    def fraction(self) -> float:
        """From 0 to 1, by the work of the stages; 0 before the job is planned."""
        return fraction(self.rows) if self.job.status != "planning" else 0.0

    @property
    def skipped(self) -> set[str]:
        """The keys of the waiting stages that never start, because one before them has failed."""
        failed = {row.key for row in self.rows if row.status == "failed"}
        skipped: set[str] = set()
        for row in self.rows:  # inputs come before the stages that read them
            inputs = set(stage_inputs(row.parent, row.settings))
            if row.status == "queued" and inputs & (failed | skipped):
                skipped.add(row.key)
        return skipped


def stage_work(epochs: float | None) -> float:
    """The work of a stage with so many epochs, in epochs; None for a stage that does not train."""
    return max(epochs or 0.0, MIN_STAGE_WORK)


def fraction(rows: list[Row]) -> float:
    """How much of these stages is done, from 0 to 1, by their work; 0 for no stages."""
    parts = [1.0 if row.status == "done" else row.progress.get("fraction", 0.0) for row in rows]
    work = [stage_work(row.settings.get("epochs")) for row in rows]
    done = sum(size * part for size, part in zip(work, parts, strict=True))
    return done / sum(work) if rows else 0.0


def job_progress(queue: Queue, job_id: str) -> JobProgress:
    """The present progress of a job. Raises `KeyError` for an unknown id."""
    job = queue.job(job_id)
    if job is None:
        raise KeyError(f"There is no job {job_id}.")
    rows = queue.stages_of(job.id)
    state = job_state(job, [row.status for row in rows])
    return JobProgress(job, rows, state, training_cores(queue.path))


def job_state(job: Job, statuses: list[str]) -> str:
    """The state of a job, from its own status and those of its stages.

    A job with a failed stage has failed once none of its stages runs: the children of a failed
    stage never start.
    """
    if job.status in ("cancelled", "refused", "planning"):
        return job.status
    if all(status == "done" for status in statuses):
        return "done"
    if "running" in statuses:
        return "running"
    return "failed" if "failed" in statuses else "queued"


def job_states(queue: Queue, jobs: Iterable[Job]) -> dict[str, str]:
    """The states of many jobs by id, with one query."""
    jobs_by_id = {job.id: job for job in jobs}
    counts = queue.counts(jobs_by_id)
    return {name: job_state(job, list(counts[name])) for name, job in jobs_by_id.items()}

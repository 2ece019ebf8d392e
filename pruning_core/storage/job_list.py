"""The list of jobs, a page at a time, with the progress of each."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from pruning_core.storage.database import Database
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_state
from pruning_core.storage.jobs import Job

# The work of a stage without training, in epochs.
MIN_STAGE_WORK = 0.2
# Below this fraction the pace of a run, or of a stage, is too uncertain for an estimate.
MIN_FRACTION = 0.1
# Finished runs had taken 0.75 to 1.5 times the remaining time that their pace had promised, and
# more where another program began to use the machine.
REMAINING_ERROR = (0.75, 1.5)

# Newest first, by an index. The first page also holds jobs that can run now, and each page holds
# the wanted job, however old these are.
QUERY = """
WITH page AS (SELECT id FROM jobs ORDER BY created DESC LIMIT :limit OFFSET :offset),
active AS (
    SELECT DISTINCT w.job AS id FROM stages s JOIN wants w ON w.key = s.key
    JOIN jobs j ON j.id = w.job
    WHERE :offset = 0 AND j.status IN ('planning', 'active') AND s.status IN ('queued', 'running')
    AND (s.status = 'running' OR s.parent = '' OR EXISTS
        (SELECT 1 FROM stages p WHERE p.key = s.parent AND p.status = 'done'))
    LIMIT :limit),
shown AS (SELECT id FROM page UNION SELECT id FROM active UNION SELECT :wanted)
SELECT j.*, j.id IN (SELECT id FROM page) AS paged, (SELECT json_group_array(json_array(
    s.status, json_extract(s.settings, '$.epochs'), json_extract(s.progress, '$.fraction'),
    s.started, s.finished)) FROM wants w JOIN stages s ON s.key = w.key WHERE w.job = j.id) AS steps
FROM jobs j WHERE j.id IN (SELECT id FROM shown) ORDER BY j.created DESC
"""


@dataclass(frozen=True)
class StageProgress:
    """How much of a stage is done.

    `work` is in epochs, `fraction` from 0 to 1; the times are seconds since 1970.
    """

    status: str
    work: float
    fraction: float
    started: float | None
    finished: float | None

    @property
    def times(self) -> tuple[float, float]:
        """Start and end; a running stage ends now, a stage that has not started is (0, 0)."""
        end = time.time() if self.status == "running" else self.finished
        if self.status == "queued" or not self.started or not end:
            return 0.0, 0.0
        return self.started, max(end, self.started)

    def remaining_seconds(self, pace: float) -> float:
        """The remaining seconds of a running stage.

        By its own progress; in its beginning by `pace`, the seconds for an epoch of the run.
        """
        if self.fraction < MIN_FRACTION:
            return pace * self.work * (1 - self.fraction)
        return (self.times[1] - self.times[0]) * (1 / self.fraction - 1)


@dataclass(frozen=True)
class Run:
    """A job in the list. `state` is one of those of `JobProgress`."""

    job: Job
    state: str
    steps: tuple[StageProgress, ...]

    @property
    def active(self) -> bool:
        """Whether the job can still change."""
        return self.state in ACTIVE

    @property
    def done(self) -> int:
        """The number of finished stages."""
        return sum(step.status == "done" for step in self.steps)

    @property
    def fraction(self) -> float:
        """From 0 to 1, by the work of the stages; 0 before the job is planned."""
        work = sum(step.work for step in self.steps)
        planned = work > 0 and self.state != "planning"
        return sum(step.work * step.fraction for step in self.steps) / work if planned else 0.0

    @property
    def seconds_spent(self) -> float:
        """Seconds in which at least one stage ran; stages that overlap count once."""
        spent, end = 0.0, 0.0
        for start, stop in sorted(step.times for step in self.steps):
            spent += max(stop - max(start, end), 0.0)
            end = max(end, stop)
        return spent

    def remaining_seconds(self, cores: int) -> float | None:
        """Remaining seconds, by the pace of the stages so far; None while that is unknown.

        A stage without epochs, such as a correction, may take seconds or minutes: where most of
        the waiting stages are such, the time is unknown.
        """
        started = [step for step in self.steps if step.status in ("done", "running")]
        work = sum(step.work * step.fraction for step in started)
        if self.state != "running" or self.fraction < MIN_FRACTION or not work:
            return None
        pace = sum(step.times[1] - step.times[0] for step in started) / work
        running = [step.remaining_seconds(pace) for step in self.steps if step.status == "running"]
        queued = [step.work for step in self.steps if step.status == "queued"]
        if sum(work <= MIN_STAGE_WORK for work in queued) > len(queued) / 2:
            return None
        return sum(running) / max(len(running), 1) + pace * sum(queued) / max(cores, 1)

    def remaining_range(self, cores: int) -> tuple[float, float] | None:
        """The lowest and highest remaining seconds that are likely; None while unknown."""
        seconds = self.remaining_seconds(cores)
        low, high = REMAINING_ERROR
        return None if seconds is None else (low * seconds, high * seconds)


def run_from_progress(progress: JobProgress) -> Run:
    """The same job as an entry of the list."""
    steps = [
        _step(r.status, r.settings.get("epochs"), r.progress.get("fraction"), r.started, r.finished)
        for r in progress.rows
    ]
    return Run(progress.job, progress.state, tuple(steps))


class JobList(Database):
    """The jobs of one cache, a page at a time."""

    def page(self, size: int, number: int = 1, wanted: str = "") -> tuple[list[Run], bool]:
        """The runs of a page, the active ones first, then the newest; and whether more follow.

        The first page also holds older runs that are active, and each page holds the `wanted`
        one. It is one query, whose cost depends on the runs shown, not on all runs.
        """
        values = {"limit": size + 1, "offset": size * (number - 1), "wanted": wanted}
        with self._connect() as db:
            rows = [dict(row) for row in db.execute(QUERY, values)]
        paged = [row["id"] for row in rows if row.pop("paged")]
        runs = [_run(row) for row in rows]
        shown = [r for r in runs if r.active or r.job.id in (*paged[:size], wanted)]
        return sorted(shown, key=lambda run: not run.active), len(paged) > size


def _run(row: dict[str, Any]) -> Run:
    steps = tuple(_step(*values) for values in json.loads(row.pop("steps")))
    job = Job(**row)
    return Run(job, job_state(job, [step.status for step in steps]), steps)


def _step(
    status: str,
    epochs: float | None,
    fraction: float | None,
    started: float | None,
    finished: float | None,
) -> StageProgress:
    done = 1.0 if status == "done" else fraction or 0.0
    return StageProgress(status, max(epochs or 0.0, MIN_STAGE_WORK), done, started, finished)

"""The list of jobs: searched, filtered and sorted, a page at a time, with the progress of each."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import check
from pruning_core.storage.database import Database
from pruning_core.storage.job_progress import (
    ACTIVE,
    MIN_STAGE_WORK,
    JobProgress,
    job_state,
    stage_work,
)
from pruning_core.storage.jobs import Job, job_row

# Below this fraction the pace of a run, or of a stage, is too uncertain for an estimate.
MIN_FRACTION = 0.1
# Finished runs had taken 0.75 to 1.5 times the remaining time that their pace had promised, and
# more where another program began to use the machine.
REMAINING_ERROR = (0.75, 1.5)

# Which jobs a list shows, in SQL.
SHOWN = {
    "current": "j.deleted IS NULL AND NOT j.archived",
    "archived": "j.deleted IS NULL AND j.archived",
    "all": "j.deleted IS NULL",
    "deleted": "j.deleted IS NOT NULL",
}
NEWEST = "newest"
# The orders of a list, in SQL. Equal values are sorted by time.
SORTS = {
    NEWEST: "",
    "oldest": "j.created,",
    "name": "casefold(j.label),",
    "dataset": "casefold(j.dataset),",
    "model": "casefold(j.model),",
    "starred": "j.starred DESC,",
}


def _with_stage(condition: str) -> str:
    return (
        "j.id IN (SELECT w.job FROM stages s JOIN wants w ON w.key = s.key"
        f" WHERE s.status {condition})"
    )


# As `job_state` computes them. The index of the stages leads to the jobs that are not finished.
_RUNNING, _FAILED = _with_stage("= 'running'"), _with_stage("= 'failed'")
_UNFINISHED = _with_stage("IN ('queued', 'running', 'failed', 'cancelled')")
STATES = {
    "planning": "j.status = 'planning'",
    "queued": f"j.status = 'active' AND {_UNFINISHED} AND NOT {_RUNNING} AND NOT {_FAILED}",
    "running": f"j.status = 'active' AND {_RUNNING}",
    "done": f"j.status = 'active' AND NOT {_UNFINISHED}",
    "failed": f"j.status = 'active' AND {_FAILED} AND NOT {_RUNNING}",
    "refused": "j.status = 'refused'",
    "cancelled": "j.status = 'cancelled'",
}
_TAGS = "coalesce((SELECT group_concat(t.value, char(10)) FROM json_each(j.tags) t), '')"
_TEXTS = ("j.label", _TAGS, "j.notes", "j.dataset", "j.model")
LONGEST_SEARCH = 300  # SQLite limits the depth of a condition
SHORTEST_ID = 4  # a shorter word would begin the id of many jobs by chance
SEARCHED = f"casefold({' || char(10) || '.join(_TEXTS)})"


# Newest first, by an index. Of these, the first page also holds jobs that can run now, however old
# they are. The settings of the job before show what a job has changed.
QUERY = """
WITH page AS (SELECT j.id FROM jobs j WHERE {where} ORDER BY {order} j.created DESC
    LIMIT :limit OFFSET :offset),
active AS (
    SELECT DISTINCT j.id FROM stages s JOIN wants w ON w.key = s.key JOIN jobs j ON j.id = w.job
    WHERE :first AND j.status IN ('planning', 'active') AND s.status IN ('queued', 'running')
    AND (s.status = 'running' OR s.parent = '' OR EXISTS
        (SELECT 1 FROM stages p WHERE p.key = s.parent AND p.status = 'done'))
    AND {where} LIMIT :limit),
shown AS (SELECT id FROM page UNION SELECT id FROM active)
SELECT j.*, j.id IN (SELECT id FROM page) AS paged,
(SELECT p.spec FROM jobs p WHERE p.created < j.created AND p.deleted IS NULL
    ORDER BY p.created DESC LIMIT 1) AS spec_before,
(SELECT json_group_array(json_array(
    s.status, json_extract(s.settings, '$.epochs'), json_extract(s.progress, '$.fraction'),
    s.started, s.finished)) FROM wants w JOIN stages s ON s.key = w.key WHERE w.job = j.id) AS steps
FROM jobs j WHERE j.id IN (SELECT id FROM shown) ORDER BY {order} j.created DESC
"""
NAMES_QUERY = """
SELECT 'dataset' AS kind, dataset AS name FROM jobs WHERE dataset != '' GROUP BY dataset
UNION SELECT 'model', model FROM jobs WHERE model != '' GROUP BY model
UNION SELECT 'tag', t.value FROM jobs j, json_each(j.tags) t WHERE j.tags != '[]'
ORDER BY name
"""


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows, and in which order; empty texts select all jobs.

    Each word of `search` is in the name, a tag, the notes, the data set or the model, or begins the
    id.
    `state` is one of `STATES`, `show` one of `SHOWN`, `sort` one of `SORTS`.
    """

    search: str = ""
    state: str = ""
    tag: str = ""
    dataset: str = ""
    model: str = ""
    starred: bool = False
    show: str = "current"
    sort: str = NEWEST

    @property
    def selective(self) -> bool:
        """Whether it leaves out jobs that are neither archived nor deleted."""
        return self != JobFilter(show=self.show, sort=self.sort)

    def __post_init__(self) -> None:
        """Raises `SpecError` where the search is too long."""
        message = "the search has {length} characters; give at most {most}."
        length = len(self.search)
        check(length <= LONGEST_SEARCH, "search", message, length=length, most=LONGEST_SEARCH)

    def where(self) -> tuple[str, dict[str, str]]:
        """The condition in SQL, and its values by name."""
        conditions, values = [SHOWN[self.show]], {}
        for number, word in enumerate(dict.fromkeys(self.search.split())):
            name = f"word{number}"
            id_start = f"substr(j.id, 1, max(length(:{name}), {SHORTEST_ID})) = :{name}"
            conditions.append(f"instr({SEARCHED}, :{name}) > 0 OR {id_start}")
            values[name] = word.casefold()
        for name in ("dataset", "model"):
            if value := getattr(self, name):
                conditions.append(f"j.{name} = :{name}")
                values[name] = value
        if self.tag:
            conditions.append("EXISTS (SELECT 1 FROM json_each(j.tags) WHERE value = :tag)")
            values["tag"] = self.tag
        if self.state:
            conditions.append(STATES[self.state])
        if self.starred:
            conditions.append("j.starred")
        return " AND ".join(f"({condition})" for condition in conditions), values


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
    """A job in the list. `state` is one of those of `JobProgress`.

    `spec_before` are the settings of the job that was submitted before it, as JSON; "" for none.
    """

    job: Job
    state: str
    steps: tuple[StageProgress, ...]
    spec_before: str = ""

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
        """Seconds in which at least one stage ran; stages that overlap count once.

        What ran before the job was submitted does not count: it was read from the cache.
        """
        spent, end = 0.0, self.job.created
        for start, stop in sorted(step.times for step in self.steps):
            spent += max(stop - max(start, end), 0.0)
            end = max(end, stop)
        return spent

    def remaining_seconds(self, cores: int) -> float | None:
        """Remaining seconds, by the pace of the stages so far; None while that is unknown.

        A stage without epochs, such as a correction, may take seconds or minutes: where most of
        the waiting stages are such, the time is unknown.
        """
        # A stage that this queue has not run has no time, so it tells nothing about the pace.
        started = [step for step in self.steps if step.times[1]]
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

    def page(
        self, size: int, number: int = 1, jobs: JobFilter = JobFilter()
    ) -> tuple[list[Run], bool]:
        """The runs of a page in the order of the filter, and whether more follow.

        The newest first means: active runs come before others, and the first page also holds
        older runs that are active. It is one query, whose cost then depends on the runs shown,
        not on all runs.
        """
        where, values = jobs.where()
        newest = jobs.sort == NEWEST
        query = QUERY.format(where=where, order=SORTS[jobs.sort])
        bounds = {"limit": size + 1, "offset": size * (number - 1), "first": newest and number == 1}
        with self._connect() as db:
            db.create_function("casefold", 1, str.casefold, deterministic=True)
            rows = [dict(row) for row in db.execute(query, {**values, **bounds})]
        paged = [row["id"] for row in rows if row.pop("paged")]
        runs = [_run(row) for row in rows]
        # The row behind the last one only tells that more follow.
        behind = set(paged[size:])
        shown = [run for run in runs if run.job.id not in behind]
        if newest:
            shown.sort(key=lambda run: not run.active)
        return shown, len(paged) > size

    def names(self) -> dict[str, list[str]]:
        """The data sets, models and tags of all jobs, sorted, by "dataset", "model" and "tag"."""
        names: dict[str, list[str]] = {"dataset": [], "model": [], "tag": []}
        for row in self._all(NAMES_QUERY):
            names[row["kind"]].append(row["name"])
        return names


def _run(row: dict[str, Any]) -> Run:
    steps = tuple(_step(*values) for values in json.loads(row.pop("steps")))
    before = row.pop("spec_before") or ""
    job = job_row(row)
    return Run(job, job_state(job, [step.status for step in steps]), steps, before)


def _step(
    status: str,
    epochs: float | None,
    fraction: float | None,
    started: float | None,
    finished: float | None,
) -> StageProgress:
    done = 1.0 if status == "done" else fraction or 0.0
    return StageProgress(status, stage_work(epochs), done, started, finished)

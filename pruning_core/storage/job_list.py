"""The list of jobs: searched, filtered and sorted, a page at a time, with the progress of each."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import check
from pruning_core.storage.cluster_record import training_cores
from pruning_core.storage.database import Database
from pruning_core.storage.job_progress import (
    ACTIVE,
    MIN_STAGE_WORK,
    JobProgress,
    job_state,
    stage_work,
)
from pruning_core.storage.job_queries import FAILED, RUNNING, jobs_with
from pruning_core.storage.job_record import Job, job_row

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

# As `job_state` computes them. The index of the stages leads to the jobs that are not finished.
_RUNNING, _FAILED, _UNFINISHED = (
    f"j.id IN ({jobs})"
    for jobs in (RUNNING, FAILED, jobs_with("IN ('queued', 'running', 'failed', 'cancelled')"))
)
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


# The columns of a list that are no columns of the jobs, in SQL.
_CASES = (f"WHEN {condition} THEN {number}" for number, condition in enumerate(STATES.values()))
BY_STATE = f"CASE {' '.join(_CASES)} END"
SPEC_BEFORE = (
    "(SELECT p.spec FROM jobs p WHERE p.created < j.created AND p.deleted IS NULL"
    " ORDER BY p.created DESC LIMIT 1)"
)
STEPS = (
    "(SELECT json_group_array(json_array(s.status, json_extract(s.settings, '$.epochs'),"
    " json_extract(s.progress, '$.fraction'), s.started, s.finished,"
    " s.threads))"
    " FROM wants w JOIN stages s ON s.key = w.key WHERE w.job = j.id)"
)
BY_TIME_SPENT = f"seconds_spent({STEPS}, j.created, j.status)"

# Newest first, by an index. Of these, the first page also holds jobs that can run now, however old
# they are. The settings of the job before show what a job has changed.
QUERY = f"""
WITH page AS (SELECT j.id FROM jobs j WHERE {{where}} ORDER BY {{order}} j.created DESC
    LIMIT :limit OFFSET :offset),
active AS (
    SELECT DISTINCT j.id FROM stages s JOIN wants w ON w.key = s.key JOIN jobs j ON j.id = w.job
    WHERE :first AND j.status IN ('planning', 'active') AND s.status IN ('queued', 'running')
    AND (s.status = 'running' OR s.parent = '' OR EXISTS
        (SELECT 1 FROM stages p WHERE p.key = s.parent AND p.status = 'done'))
    AND {{where}} LIMIT :limit),
shown AS (SELECT id FROM page UNION SELECT id FROM active)
SELECT j.*, j.id IN (SELECT id FROM page) AS paged,
{SPEC_BEFORE} AS spec_before, {STEPS} AS steps
FROM jobs j WHERE j.id IN (SELECT id FROM shown) ORDER BY {{order}} j.created DESC
"""
NAMES_QUERY = """
SELECT 'dataset' AS kind, dataset AS name FROM jobs j WHERE dataset != '' AND {shown}
    GROUP BY dataset
UNION SELECT 'model', model FROM jobs j WHERE model != '' AND {shown} GROUP BY model
UNION SELECT 'tag', t.value FROM jobs j, json_each(j.tags) t WHERE j.tags != '[]' AND {shown}
ORDER BY name
"""
MODELS_QUERY = """
SELECT j.id, j.outline, (SELECT COUNT(*) FROM wants w JOIN stages s ON s.key = w.key
    WHERE w.job = j.id AND s.status = 'done') AS done FROM jobs j WHERE {where}
"""


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a list shows; empty texts select all jobs.

    Each word of `search` is in the name, a tag, the notes, the data set or the model, or begins the
    id.
    `state` is one of `STATES`, `show` one of `SHOWN`.
    """

    search: str = ""
    state: str = ""
    tag: str = ""
    dataset: str = ""
    model: str = ""
    starred: bool = False
    show: str = "current"

    @property
    def selective(self) -> bool:
        """Whether it leaves out jobs that are neither archived nor deleted."""
        return self != JobFilter(show=self.show)

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
class Order:
    """The order of a list: by an expression in SQL over the job `j`, else the newest first.

    Jobs without a value (NULL) come last in both directions, equal ones newest first. `value` is
    the function `value` of the expression, with one argument or two.
    """

    expression: str = ""
    descending: bool = False
    value: Callable[..., Any] | None = None

    @property
    def newest(self) -> bool:
        """Whether the newest jobs come first."""
        return not self.expression

    @property
    def sql(self) -> str:
        """What ORDER BY has before the time."""
        direction = "DESC" if self.descending else "ASC"
        return f"{self.expression} {direction} NULLS LAST," if self.expression else ""


NEWEST_FIRST = Order()


@dataclass(frozen=True)
class JobModels:
    """What the results of a job follow from: its models, and how many stages are done."""

    id: str
    outline: str
    done: int


@dataclass(frozen=True)
class StageProgress:
    """How much of a stage is done.

    `work` is in epochs, `fraction` from 0 to 1; the times are seconds since 1970. It runs on so
    many `cores`.
    """

    status: str
    work: float
    fraction: float
    started: float | None
    finished: float | None
    cores: int = 1

    @property
    def times(self) -> tuple[float, float]:
        """Start and end; a running stage ends now, a stage that has not started is (0, 0)."""
        end = time.time() if self.status == "running" else self.finished
        if self.status == "queued" or not self.started or not end:
            return 0.0, 0.0
        return self.started, max(end, self.started)

    def remaining_seconds(self, pace: float) -> float:
        """The remaining seconds of a running stage.

        By its own progress; in its beginning by `pace`, the seconds for an epoch on one core.
        """
        if self.fraction < MIN_FRACTION:
            return pace * self.work * (1 - self.fraction) / self.cores
        return (self.times[1] - self.times[0]) * (1 / self.fraction - 1)


@dataclass(frozen=True)
class Run:
    """A job in the list. `state` is one of those of `JobProgress`.

    `cores` are those that its stages run on. `spec_before` are the settings of the job that was
    submitted before it, as JSON; "" for none.
    """

    job: Job
    state: str
    steps: tuple[StageProgress, ...]
    cores: int
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
    def models(self) -> JobModels:
        """What the results of the job follow from."""
        return JobModels(self.job.id, self.job.outline, self.done)

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
        return seconds_spent(self.steps, self.job.created)

    def remaining_seconds(self) -> float | None:
        """Remaining seconds, by the pace of the stages so far; None while that is unknown.

        A stage without epochs, such as a correction, may take seconds or minutes: where most of
        the waiting stages are such, the time is unknown.
        """
        # A stage that this queue has not run has no time, so it tells nothing about the pace.
        started = [step for step in self.steps if step.times[1]]
        work = sum(step.work * step.fraction for step in started)
        if self.state != "running" or self.fraction < MIN_FRACTION or not work:
            return None
        pace = sum(step.cores * (step.times[1] - step.times[0]) for step in started) / work
        running = [step.remaining_seconds(pace) for step in self.steps if step.status == "running"]
        queued = [step.work for step in self.steps if step.status == "queued"]
        if sum(work <= MIN_STAGE_WORK for work in queued) > len(queued) / 2:
            return None
        return sum(running) / max(len(running), 1) + pace * sum(queued) / max(self.cores, 1)

    def remaining_range(self) -> tuple[float, float] | None:
        """The lowest and highest remaining seconds that are likely; None while unknown."""
        seconds = self.remaining_seconds()
        low, high = REMAINING_ERROR
        return None if seconds is None else (low * seconds, high * seconds)


def seconds_spent(steps: Iterable[StageProgress], created: float) -> float:
    """As `Run.seconds_spent`, of a job that was submitted at the time `created`."""
    spent, end = 0.0, created
    for start, stop in sorted(step.times for step in steps):
        spent += max(stop - max(start, end), 0.0)
        end = max(end, stop)
    return spent


def run_from_progress(progress: JobProgress) -> Run:
    """The same job as an entry of the list."""
    steps = [
        _step(
            row.status,
            row.settings.get("epochs"),
            row.progress.get("fraction"),
            row.started,
            row.finished,
            row.threads,
        )
        for row in progress.rows
    ]
    return Run(progress.job, progress.state, tuple(steps), progress.cores)


class JobList(Database):
    """The jobs of one cache, a page at a time."""

    def page(
        self,
        size: int,
        number: int = 1,
        jobs: JobFilter = JobFilter(),
        order: Order = NEWEST_FIRST,
    ) -> tuple[list[Run], bool]:
        """The runs of a page, and whether more follow.

        The newest first means: active runs come before others, and the first page also holds
        older runs that are active. It is one query, whose cost then depends on the runs shown,
        not on all runs.
        """
        where, values = jobs.where()
        query = QUERY.format(where=where, order=order.sql)
        first = order.newest and number == 1
        bounds = {"limit": size + 1, "offset": size * (number - 1), "first": first}
        with self._connect() as db:
            _add_functions(db, order)
            rows = [dict(row) for row in db.execute(query, {**values, **bounds})]
        paged = [row["id"] for row in rows if row.pop("paged")]
        cores = training_cores(self.path)
        runs = [_run(row, cores) for row in rows]
        # The row behind the last one only tells that more follow.
        behind = set(paged[size:])
        shown = [run for run in runs if run.job.id not in behind]
        if order.newest:
            shown.sort(key=lambda run: not run.active)
        return shown, len(paged) > size

    def models(self, jobs: JobFilter) -> list[JobModels]:
        """What the results of all jobs of the list follow from."""
        where, values = jobs.where()
        with self._connect() as db:
            _add_functions(db, NEWEST_FIRST)
            rows = db.execute(MODELS_QUERY.format(where=where), values).fetchall()
        return [JobModels(**dict(row)) for row in rows]

    def names(self, show: str = "all") -> dict[str, list[str]]:
        """The data sets, models and tags of the jobs, sorted, by "dataset", "model" and "tag".

        `show` is one of `SHOWN`. Deleted jobs have names of their own: those of "deleted".
        """
        names: dict[str, list[str]] = {"dataset": [], "model": [], "tag": []}
        shown = SHOWN["deleted" if show == "deleted" else "all"]
        for row in self._all(NAMES_QUERY.format(shown=shown)):
            names[row["kind"]].append(row["name"])
        return names


def _add_functions(db: sqlite3.Connection, order: Order) -> None:
    """The functions in SQL of the filters and the orders."""

    def spent(steps: str, created: float, status: str) -> float | None:
        if status == "refused":
            return None
        return seconds_spent((_step(*values) for values in json.loads(steps)), created) or None

    db.create_function("casefold", 1, str.casefold, deterministic=True)
    db.create_function("seconds_spent", 3, spent)
    if order.value:
        db.create_function("value", -1, order.value)


def _run(row: dict[str, Any], cores: int) -> Run:
    steps = tuple(_step(*values) for values in json.loads(row.pop("steps")))
    before = row.pop("spec_before") or ""
    job = job_row(row)
    return Run(job, job_state(job, [step.status for step in steps]), steps, cores, before)


def _step(
    status: str,
    epochs: float | None,
    fraction: float | None,
    started: float | None,
    finished: float | None,
    cores: int,
) -> StageProgress:
    done = 1.0 if status == "done" else fraction or 0.0
    return StageProgress(status, stage_work(epochs), done, started, finished, cores)

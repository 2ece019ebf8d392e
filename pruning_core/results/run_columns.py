"""The columns of the list of runs, described once for the page Runs and the command `jobs`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_percent, format_seconds, format_time_range
from pruning_core.results.labels import changes
from pruning_core.results.run_summary import RunSummary
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_list import BY_STATE, BY_TIME_SPENT, SPEC_BEFORE, Order, Run

STAR = "★"
STATE_TITLES = {
    "planning": "Preparing",
    "queued": "Waiting",
    "running": "Running",
    "done": "Finished",
    "failed": "Failed",
    "refused": "Cannot run",
    "cancelled": "Cancelled",
    "skipped": "Skipped",
}


@dataclass(frozen=True)
class RunColumn:
    """A column of the list of runs.

    `text` is the cell of a run with its summary. The list is sorted by `order`, an expression of
    `Order`; of a column with results this is "value(j.id)", and `value` gives the number in a
    summary. `descending` is the direction of a first click on the title, which `first` names.
    `width` is in pixels of a page.
    """

    title: str
    text: Callable[[Run, RunSummary], str]
    order: str
    first: str = "A to Z"
    descending: bool = False
    help: str = ""
    width: int = 110
    value: Callable[[RunSummary], float | None] | None = None


def time_text(run: Run) -> str:
    """The remaining time of an active run: "2 to 5 min left"; else the time spent: "3 min"."""
    if run.active:
        remaining = run.remaining_range()
        return f"{format_time_range(*remaining)} left" if remaining else ""
    spent = 0.0 if run.state == "refused" else run.seconds_spent
    return format_seconds(spent) if spent else ""


def _state(run: Run, summary: RunSummary) -> str:
    fraction = f", {format_percent(run.fraction, 0)}" if run.state == "running" else ""
    return STATE_TITLES[run.state] + fraction


def _time(run: Run, summary: RunSummary) -> str:
    """A time without its year, or in an earlier year the day without the time."""
    submitted, now = time.localtime(run.job.created), time.localtime()
    this_year = submitted.tm_year == now.tm_year
    return time.strftime("%d %b %H:%M" if this_year else "%d %b %Y", submitted)


@functools.lru_cache(maxsize=5000)
def _changes(spec: str, before: str | None) -> str:
    """What a run has changed, cached for all pages."""
    try:
        return changes(_settings(spec), _settings(before)) if before else ""
    except SpecError:  # settings of another version
        return ""


def _result_column(
    title: str,
    text: Callable[[RunSummary], str],
    value: Callable[[RunSummary], float | None],
    first: str,
    help: str,
) -> RunColumn:
    """A column of the results, which a first click sorts by the highest `value`."""
    return RunColumn(
        title,
        lambda _, summary: text(summary),
        "value(j.id)",
        first,
        descending=True,
        help=help,
        width=130,
        value=value,
    )


# The settings of a run, which are compared with those before and after it.
_settings = functools.lru_cache(maxsize=100)(from_json)

# By their names in the address and on the command line, in their order.
COLUMNS: Mapping[str, RunColumn] = {
    "star": RunColumn(
        "Star",
        lambda run, _: STAR * run.job.starred,
        "j.starred",
        "starred first",
        descending=True,
        width=45,
    ),
    "name": RunColumn("Name", lambda run, _: run.job.label, "casefold(j.label)", width=210),
    "state": RunColumn("State", _state, BY_STATE, "preparing, waiting, running, finished"),
    "tags": RunColumn(
        "Tags",
        lambda run, _: ", ".join(run.job.tags),
        "nullif(casefold(j.tags), '[]')",
    ),
    "dataset": RunColumn(
        "Data set", lambda run, _: run.job.dataset, "nullif(casefold(j.dataset), '')", width=90
    ),
    "model": RunColumn(
        "Model", lambda run, _: run.job.model, "nullif(casefold(j.model), '')", width=120
    ),
    "changes": RunColumn(
        "Changed settings",
        lambda run, _: _changes(run.job.spec, run.spec_before),
        f"nullif(value(j.spec, {SPEC_BEFORE}), '')",
        help="The settings that differ from those of the run that was submitted before.",
        width=230,
    ),
    "best": _result_column(
        "Best within goal",
        lambda summary: summary.best,
        lambda summary: summary.sparsity,
        "sparsest first",
        "The sparsity and the size of the sparsest model that meets the goal. Set the goal in "
        "Sort and columns, on the command line with --max-drop and --max-mb.",
    ),
    "accuracy": _result_column(
        "Accuracy at target",
        lambda summary: summary.accuracy,
        lambda summary: summary.test_accuracy,
        "highest first",
        "Test accuracy at the target sparsity: of the iterative model, else of the sparsest "
        "one-shot or structured model; the mean over the seeds.",
    ),
    "started": RunColumn(
        "Started",
        _time,
        "j.created",
        "newest first",
        descending=True,
        help="When the run was submitted.",
    ),
    "took": RunColumn(
        "Took",
        lambda run, _: time_text(run),
        BY_TIME_SPENT,
        "longest first",
        descending=True,
        help="The time of the stages that ran for this run. Stages from the cache do not count.",
        width=100,
    ),
    "notes": RunColumn(
        "Notes",
        lambda run, _: " ".join(run.job.notes.split()),
        "nullif(casefold(j.notes), '')",
        width=200,
    ),
}
STARTED = "started"  # the column by which the list is sorted at first


def order_of(
    name: str, reverse: bool = False, summaries: Mapping[str, RunSummary] | None = None
) -> Order:
    """The order of the list by a column, or the reverse order.

    `summaries` are those of the jobs by id, for a column with results (see `needs_results`).
    """
    column = COLUMNS[name]
    if name == STARTED and not reverse:
        return Order()
    value: Callable[..., Any] = _changes
    if read := column.value:
        numbers = {job: read(summary) for job, summary in (summaries or {}).items()}
        value = numbers.get
    return Order(column.order, column.descending != reverse, value)


def needs_results(name: str) -> bool:
    """Whether the order by a column follows from the results of all runs of the list."""
    return COLUMNS[name].value is not None

"""The commands `jobs`, `show` and `cancel`: list, change and run jobs again, show or stop one."""

from __future__ import annotations

import argparse
import dataclasses
import json
import signal
import textwrap
import time

from rich.markup import escape
from rich.table import Column, Table

from pruning_core.cli.arguments import count, folder, limit, names
from pruning_core.cli.output import (
    BAD_INPUT,
    INTERRUPTED,
    OK,
    add_excel,
    check_out,
    failure_message,
    report_failure,
    say,
    write_results,
)
from pruning_core.cli.progress import Terminal, check_worker, follow_job, is_planned
from pruning_core.cli.selection import (
    add_job,
    add_several,
    find_job,
    find_jobs,
    listed_models,
)
from pruning_core.common.errors import SpecError, check
from pruning_core.common.formatting import format_count
from pruning_core.common.paths import Cache
from pruning_core.common.terminal import one_line
from pruning_core.planning.stage import Outline
from pruning_core.results.goal import Goal
from pruning_core.results.run_columns import COLUMNS, STARTED, needs_results, order_of
from pruning_core.results.run_summary import RunSummary, run_summary
from pruning_core.settings.messages import for_command_line
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.job_list import (
    STATES,
    JobFilter,
    JobList,
    JobModels,
    Run,
    run_from_progress,
)
from pruning_core.storage.job_progress import ACTIVE, job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store

WIDTH = 80
SHOW_OPTIONS = {
    "archived": "list the archived jobs instead of the current ones",
    "all": "list the archived jobs, too",
    "deleted": "list the deleted jobs instead of the current ones",
}
ACTIONS = {
    "retry": "Run failed and refused jobs again, and resume cancelled ones.",
    "cancel": "Cancel jobs. Finished stages are kept.",
    "edit": "Change the name, tags, notes, star or archive of jobs.",
    "delete": "Cancel and delete jobs. They can be restored for a day.",
    "undelete": "Restore deleted jobs.",
    "purge": "Remove all deleted jobs for good.",
}
ALIASES = {"retry": ("resume",)}  # the page has a button for each word
EDIT_OPTIONS = {"name": "--name", "notes": "--notes", "tag": "--add-tag"}


def add_jobs_options(command: argparse.ArgumentParser) -> None:
    """The filters and the order of the list, and the actions that change jobs."""
    _add_filters(command)
    actions = command.add_subparsers(
        title="actions",
        description="Without an action, the jobs are listed.",
        dest="action",
        metavar="ACTION",
    )
    for name, help_text in ACTIONS.items():
        action = actions.add_parser(
            name,
            aliases=ALIASES.get(name, ()),
            help=help_text,
            description=help_text,
            allow_abbrev=False,
            formatter_class=command.formatter_class,
        )
        action.set_defaults(action=name)
        # As for the list. Without it here, the folder that was given before the action stays.
        text = "folder of results, queue and downloads (default: the project's cache)"
        action.add_argument(
            "--cache-dir", type=folder, default=argparse.SUPPRESS, metavar="DIR", help=text
        )
        if name != "purge":
            add_several(action)
    _add_changes(actions.choices["edit"])


def _add_filters(command: argparse.ArgumentParser) -> None:
    text = "words in the name, tags, notes, data set or model, or the beginning of an id"
    command.add_argument("--search", default="", metavar="WORDS", help=text)
    text = f"only jobs in this state: {', '.join(STATES)}"
    command.add_argument("--state", default="", choices=STATES, metavar="STATE", help=text)
    for name, noun in (("tag", "tag"), ("dataset", "data set"), ("model", "model")):
        text = f"only jobs with this {noun}"
        command.add_argument(f"--{name}", default="", metavar="NAME", help=text)
    command.add_argument("--starred", action="store_true", help="only jobs with a star")
    shown = command.add_mutually_exclusive_group()
    for name, text in SHOW_OPTIONS.items():
        shown.add_argument(
            f"--{name}", action="store_const", const=name, default="current", dest="show", help=text
        )
    orders = ", ".join(f"{name} ({column.first})" for name, column in COLUMNS.items())
    text = f"order of the list, by a column: {orders} (default: {STARTED})"
    command.add_argument("--sort", default=STARTED, choices=COLUMNS, metavar="COLUMN", help=text)
    command.add_argument("--reverse", action="store_true", help="reverse the order")
    text = (
        "print a table with these columns instead of a line for each job: names as for --sort, "
        "separated by commas, or all"
    )
    columns = names([*COLUMNS, "all"], "column")
    command.add_argument("--columns", type=columns, default=(), metavar="A,B", help=text)
    text = "accuracy drop that the best model may have, in percentage points, or none (default: 1)"
    command.add_argument("--max-drop", type=limit, default=1.0, metavar="POINTS", help=text)
    text = "size that the file of the best model may have, in megabytes, or none (default: none)"
    command.add_argument("--max-mb", type=limit, default=None, metavar="MB", help=text)
    text = "number of jobs to list (default: 20)"
    command.add_argument("--limit", type=count, default=20, metavar="N", help=text)


def _add_changes(command: argparse.ArgumentParser) -> None:
    text = "name of the job on lists, charts and in files; '' gives the default name"
    command.add_argument("--name", metavar="NAME", help=text)
    for name, verb in (("add-tag", "add"), ("remove-tag", "remove")):
        text = f"{verb} a tag; may be given several times"
        command.add_argument(f"--{name}", action="append", default=None, metavar="TAG", help=text)
    command.add_argument("--notes", metavar="TEXT", help="notes; '' removes them")
    text = "give the job a star, or remove it"
    command.add_argument("--star", action=argparse.BooleanOptionalAction, help=text)
    text = "archive the job, or bring it back: archived jobs are left out of lists"
    command.add_argument("--archive", action=argparse.BooleanOptionalAction, help=text)


def jobs(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """List jobs, change some, or run some again."""
    actions = {
        "retry": retry,
        "cancel": cancel,
        "edit": edit,
        "delete": delete,
        "undelete": undelete,
        "purge": purge,
    }
    return actions.get(options.action, list_jobs)(options, cache, queue)


def list_jobs(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the jobs that the filters select: id, time, state, progress, name, tags and notes.

    Or a table with the chosen columns, which are those of the page Runs.
    """
    fields = [field.name for field in dataclasses.fields(JobFilter)]
    selected = JobFilter(**{name: getattr(options, name) for name in fields})
    listing = JobList(queue.path)
    megabytes, points = options.max_mb, options.max_drop
    goal = Goal(
        None if points is None else points / 100, None if megabytes is None else megabytes * 1e6
    )

    def summary(job: JobModels) -> RunSummary:
        return run_summary(Outline.from_json(job.outline), Store(cache), goal)

    every = listing.models(selected) if needs_results(options.sort) else []
    order = order_of(options.sort, options.reverse, {job.id: summary(job) for job in every})
    runs, more = listing.page(options.limit, 1, selected, order)
    if options.columns and runs:
        chosen = list(COLUMNS) if "all" in options.columns else options.columns
        rows = [(run, summary(run.models)) for run in runs[: options.limit]]
        Terminal().print(_table(rows, chosen))
    else:
        for run in runs[: options.limit]:
            print(_line(run))
    if not runs and (selected.selective or selected.show != JobFilter().show):
        say(OK, "No job matches.")
    if more:
        say(OK, f"More jobs match; to list them, give a --limit above {options.limit}.")
    return OK


def _table(runs: list[tuple[Run, RunSummary]], columns: list[str]) -> Table:
    """The jobs with these columns. The ids and the names of columns are never cut."""
    shown = [COLUMNS[name] for name in dict.fromkeys(columns)]
    headings = [Column(column.title, overflow="fold") for column in shown]
    table = Table(Column("Job", no_wrap=True), *headings)
    for run, summary in runs:
        cells = [column.text(run, summary) for column in shown]
        table.add_row(run.job.id, *map(escape, map(one_line, cells)))
    return table


def _line(run: Run) -> str:
    """A job in a line of at most 80 characters; a longer text continues below its beginning."""
    job = run.job
    created = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
    begin = f"{job.id}  {created}  {run.state:9}  {run.fraction:4.0%}  "
    parts = ["*"] * job.starred + [one_line(job.label), *(f"[{one_line(tag)}]" for tag in job.tags)]
    parts += [f"({one_line(' '.join(job.notes.split()))})"] * bool(job.notes)
    text = " ".join(parts).replace(" %", "\N{NO-BREAK SPACE}%")
    indent = " " * len(begin)
    lines = textwrap.fill(text, WIDTH, initial_indent=begin, subsequent_indent=indent)
    return lines.replace("\N{NO-BREAK SPACE}", " ")


def retry(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Run jobs again that failed, were refused or cancelled, until their first checks have passed.

    They go on in the background. Raises `CacheError` and `WorkerError` before a job is started.
    """
    stopped = []
    for job in find_jobs(queue, options.jobs):
        state = job_progress(queue, job.id).state
        if state in (*ACTIVE, "done"):
            print(f"Job {job.id} is not run again: it is {state}.")
        else:
            stopped.append(job.id)
    if not stopped:
        return OK
    cache.prepare()
    check_worker(cache)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        queue.retry(*stopped)
        return max(_start(cache, queue, job) for job in stopped)
    except KeyboardInterrupt:
        for name in stopped:
            queue.cancel(name)
        noun = "job is" if len(stopped) == 1 else "jobs are"
        return say(INTERRUPTED, f"Interrupted: the {noun} cancelled, finished results are kept.")


def _start(cache: Cache, queue: Queue, job: str) -> int:
    """Wait until a job is planned, and say what became of it. Returns the exit code."""
    progress = follow_job(cache, queue, job, Terminal(stderr=True), is_planned)
    if progress.state not in ("done", *ACTIVE):
        return report_failure(progress, cache)
    print(f"Job {job} is {progress.state}. To see it: python -m pruning_core show {job}")
    return OK


def cancel(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Cancel jobs; stages that no other job wants stop within two seconds."""
    for job in find_jobs(queue, options.jobs):
        state = job_progress(queue, job.id).state
        if state in ACTIVE:
            queue.cancel(job.id)
            print(f"Job {job.id} is cancelled; its finished stages are kept.")
        else:
            print(f"Job {job.id} has ended already: {state}.")
    return OK


def edit(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Change jobs."""
    jobs = find_jobs(queue, options.jobs)
    message = "it is for one job, not for {number}."
    check(options.name is None or len(jobs) == 1, "--name", message, number=len(jobs))
    try:
        change = Edit(
            name=options.name,
            notes=options.notes,
            starred=options.star,
            archived=options.archive,
            add_tags=tuple(options.add_tag or ()),
            remove_tags=tuple(options.remove_tag or ()),
        )
    except SpecError as error:
        return say(BAD_INPUT, for_command_line(error, EDIT_OPTIONS[error.field]))
    if change == Edit():
        return say(BAD_INPUT, "JOB: no change is given; see python -m pruning_core jobs edit -h.")
    notes = queue.edit([job.id for job in jobs], change)
    for run in map(job_progress, [queue] * len(jobs), [job.id for job in jobs]):
        print(_line(run_from_progress(run)))
    for note in notes:
        say(OK, one_line(note))
    return OK


def delete(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Delete jobs."""
    ids = [job.id for job in find_jobs(queue, options.jobs)]
    queue.delete(*ids)
    print(f"Deleted. To restore within a day: python -m pruning_core jobs undelete {' '.join(ids)}")
    return OK


def undelete(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Restore deleted jobs."""
    jobs = find_jobs(queue, options.jobs, deleted=True)
    queue.undelete(*(job.id for job in jobs))
    for job in jobs:
        print(f"Job {job.id} is restored: {one_line(job.label)}")
    stopped = [job for job in jobs if job.status == "cancelled"]
    if stopped:
        what = "It stays" if len(jobs) == 1 else f"{len(stopped)} of {len(jobs)} stay"
        ids = " ".join(job.id for job in stopped)
        print(f"{what} cancelled. To resume: python -m pruning_core jobs resume {ids}")
    return OK


def purge(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Remove deleted jobs for good."""
    removed = format_count(queue.purge(), "deleted job")
    print(f"Removed {removed} for good. `cache clean` removes the results that no job uses.")
    return OK


def add_show_options(command: argparse.ArgumentParser) -> None:
    """The options of `show`."""
    add_job(command)
    command.add_argument("--show-spec", action="store_true", help="also print the settings")
    text = "also write the results as files into this folder"
    command.add_argument("--out", type=folder, metavar="DIR", help=text)
    add_excel(command)


def show(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the stages and models of a job and, when it is done, its results."""
    progress = job_progress(queue, find_job(queue, options.job).id)
    print(f"{one_line(progress.job.label)}: {progress.state}")
    skipped = progress.skipped
    for row in progress.rows:
        detail = one_line(_detail(row))
        status = "skipped" if row.key in skipped else row.status
        print(f"  {row.key[:12]}  {row.kind:15}  {status:9}  {detail}".rstrip())
    if names := listed_models(progress.job):
        print("Models, by their numbers for --index:")
        for number, name in enumerate(names):
            print(f"  {number:3}  {one_line(name)}")
    if options.show_spec:
        print(json.dumps(json.loads(progress.job.spec), indent=2))
    if options.out:
        check_out(options.out)
    if progress.state == "done":
        return write_results(progress, cache, queue, options.out, options.excel)
    return report_failure(progress, cache) if progress.state in ("failed", "refused") else OK


def _detail(row: Row) -> str:
    """What a running stage is doing, or why a stage failed or was queued again."""
    if row.status == "running":
        return str(row.progress.get("message", ""))
    return failure_message(row.field, row.error) if row.error else ""

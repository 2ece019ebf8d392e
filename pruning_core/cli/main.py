"""The command line: `python -m pruning_core`."""

from __future__ import annotations

import argparse
import functools
import json
import logging
import math
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pruning_core.cli.benchmark import add_bench, bench
from pruning_core.cli.cache import add_cache, cache_command
from pruning_core.cli.export import add_export, export
from pruning_core.cli.latency import add_measure, measure
from pruning_core.cli.options import add_options, given_settings, spec_from
from pruning_core.cli.output import (
    BAD_INPUT,
    FAILED,
    INTERRUPTED,
    OK,
    check_out,
    complain,
    say,
    unusable,
    write_results,
)
from pruning_core.cli.progress import ended, follow, planned
from pruning_core.cli.search import add_recipes, recipes
from pruning_core.cli.sensitivity import add_propose, check_proposable, write_scan
from pruning_core.common.errors import SpecError, brief, shortened
from pruning_core.common.files import place
from pruning_core.common.paths import Cache, CacheError, cache_at
from pruning_core.planning.plan import plan
from pruning_core.planning.pruned import recovery_notes
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.settings.messages import for_command_line
from pruning_core.settings.relevance import notes_on_unread
from pruning_core.settings.spec import Spec, describe
from pruning_core.storage.job_progress import ACTIVE, JobProgress, job_progress
from pruning_core.storage.jobs import Queue, job_id
from pruning_core.storage.store import Store
from pruning_core.worker.start import WorkerError

MOST = 10**6
WRITERS = ("compare", "sensitivity", "recipes", "worker", "export", "measure", "bench")
Teller = Callable[[JobProgress, Cache, Queue, Path | None], int]
OUT = Path("outputs") / "pruning_comparison"


def folder(text: str) -> Path:
    """A folder as an option's value."""
    if not text:
        raise argparse.ArgumentTypeError("name a folder")
    return place(text)


def count(text: str) -> int:
    """A whole number from 0 to a million as an option's value."""
    if not text.isdecimal() or int(text[:8]) > MOST:
        raise argparse.ArgumentTypeError(f"{shortened(text)} is not a whole number up to {MOST:,}")
    return int(text)


def seconds(text: str) -> float:
    """A time as an option's value."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"{shortened(text)} is not a number of seconds")
    return value


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        text = message.removeprefix("argument ")
        if text.endswith("expected one argument"):
            text += ", written --name=VALUE where it begins with a dash"
        self.exit(BAD_INPUT, brief(f"{text}; see {self.prog} --help.") + "\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="python -m pruning_core", description="Prune networks and compare.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, add, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--cache-dir", type=folder, metavar="DIR", help="results and downloads"
        )
        add(command)
        command.set_defaults(function=function)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0, 1 failed, 2 bad input, 130 interrupted."""
    options = parser().parse_args(arguments)
    for name, value in vars(options).items():
        if value == []:  # what Python before 3.13 makes of --name=--
            return say(BAD_INPUT, f"--{name.replace('_', '-')}: '--' is not a value.")
    cache = cache_at(options.cache_dir)
    try:
        _prepare(cache, options.command)
        return int(options.function(options, cache, Queue(cache.queue)))
    except SpecError as error:
        return say(BAD_INPUT, for_command_line(error))
    except CacheError as error:
        return say(BAD_INPUT, f"--cache-dir: {error}")
    except sqlite3.Error as error:
        return say(FAILED, unusable(cache, error))
    except WorkerError as error:
        return say(FAILED, str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        where, why = error.filename or cache.root, error.strerror or error
        return say(FAILED, f"{where} cannot be used ({why}). What is finished is kept.")
    except KeyboardInterrupt:
        return say(INTERRUPTED, "Interrupted.")


def _prepare(cache: Cache, command: str) -> None:
    """Make the cache's folders. On a full or read-only disk results can still be looked at."""
    try:
        cache.prepare()
    except CacheError as error:
        if command in WRITERS or not cache.queue.is_file():
            raise
        say(OK, f"Note: {error}")


def compare(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Submit a comparison, watch it, print and write what it found."""
    return run(spec_from(options), options, cache, queue, write_results)


def scan(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """The same for a sensitivity scan of the spec's baseline."""
    tell, spec = (
        functools.partial(write_scan, total=options.propose),
        sensitivity_only(spec_from(options)),
    )
    check_proposable(spec, options.propose)
    return run(spec, options, cache, queue, tell)


def run(spec: Spec, options: argparse.Namespace, cache: Cache, queue: Queue, tell: Teller) -> int:
    """Submit a spec, watch it, and tell what it found."""
    plan(spec, Store(cache))
    for remark in (*notes_on_unread(given_settings(options), spec), *recovery_notes(spec)):
        say(OK, f"Note: {remark}")
    if not options.detach:
        check_out(options.out)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        job = queue.submit(spec, describe(spec))
        until = planned if options.detach else ended
        now = follow(cache, queue, job, Console(stderr=True), until)
    except KeyboardInterrupt:
        queue.cancel(job_id(spec))
        return say(INTERRUPTED, "Interrupted; the job is cancelled, what was finished is kept.")
    if now.state not in ("done", *ACTIVE):
        return complain(now, cache)
    if options.detach:
        print(f"Job {job} is queued. Look at it with: python -m pruning_core show {job}")
        return OK
    return tell(now, cache, queue, options.out)


def list_jobs(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the newest jobs, one a line."""
    for job in queue.jobs(options.limit):
        now = job_progress(queue, job.id)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
        print(f"{job.id}  {when}  {now.state:9}  {now.fraction:4.0%}  {job.label}")
    return OK


def show(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print a job's stages and, when it is done, its tables; write files with --out."""
    now = _find(queue, options.job)
    print(f"{now.job.label}: {now.state}")
    for row in now.rows:
        lines = row.error.strip().splitlines()[-1:]
        extra = row.progress.get("message", "") if row.status == "running" else "".join(lines)
        print(f"  {row.key[:12]}  {row.kind:13}  {row.status:9}  {extra}".rstrip())
    if options.show_spec:
        print(json.dumps(json.loads(now.job.spec), indent=2))
    if options.out:
        check_out(options.out)
    if now.state == "done":
        return write_results(now, cache, queue, options.out)
    return complain(now, cache) if now.state in ("failed", "refused") else OK


def cancel(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Cancel a job; what no other job wants stops within two seconds."""
    now = _find(queue, options.job)
    if now.state not in ACTIVE:
        print(f"Job {now.job.id} has ended already: {now.state}.")
        return OK
    queue.cancel(now.job.id)
    print(f"Job {now.job.id} is cancelled; its finished stages are kept.")
    return OK


def worker(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Run stages until idle."""
    from pruning_core.worker.supervisor import Supervisor

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    Supervisor(cache, options.idle_seconds, options.cores).run()
    return OK


def _find(queue: Queue, start: str) -> JobProgress:
    job = queue.job(start)
    if job is None:
        raise SpecError("JOB", f"there is no job (or more than one) whose name begins {start!r}.")
    return job_progress(queue, job.id)


def _add_compare(command: argparse.ArgumentParser) -> None:
    add_options(command)
    command.add_argument("--out", type=folder, default=OUT, metavar="DIR", help=f"files ({OUT})")
    command.add_argument("--detach", action="store_true", help="leave it to the worker")


def _add_jobs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--limit", type=count, default=20, metavar="N", help="how many (20)")


def _add_job(command: argparse.ArgumentParser) -> None:
    command.add_argument("job", metavar="JOB", help="a job's name or how it begins")


def _add_scan(command: argparse.ArgumentParser) -> None:
    _add_compare(command)
    add_propose(command)


def _add_show(command: argparse.ArgumentParser) -> None:
    _add_job(command)
    command.add_argument("--show-spec", action="store_true", help="print the spec too")
    command.add_argument("--out", type=folder, metavar="DIR", help="write the files there")


def _add_worker(command: argparse.ArgumentParser) -> None:
    command.add_argument("--idle-seconds", type=seconds, default=600.0, metavar="N")
    command.add_argument("--cores", type=count, default=0, metavar="N", help="0: all")


Function = Callable[[argparse.Namespace, Cache, Queue], int]
COMMANDS: dict[str, tuple[Function, Callable[[argparse.ArgumentParser], None], str]] = {
    "compare": (compare, _add_compare, "Compare one-shot and iterative pruning."),
    "sensitivity": (scan, _add_scan, "Cut each layer of the baseline alone and see what it costs."),
    "recipes": (recipes, add_recipes, "Find the recipe that loses least, and report it."),
    "jobs": (list_jobs, _add_jobs, "List the jobs, newest first."),
    "show": (show, _add_show, "Show a job: stages, tables, findings."),
    "cancel": (cancel, _add_job, "Cancel a job."),
    "worker": (worker, _add_worker, "Run queued stages."),
    "export": (export, add_export, "A finished model as files, each measured."),
    "measure": (measure, add_measure, "A finished model timed beside its baseline."),
    "bench": (bench, add_bench, "Measure this machine against the plain script."),
    "cache": (cache_command, add_cache, "Size, check or clean the cache."),
}

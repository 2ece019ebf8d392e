"""The command line: `python -m pruning_core`."""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from pruning_core import spec as specs
from pruning_core.follow import follow
from pruning_core.options import add_options, flag_of, spec_from
from pruning_core.paths import Cache, CacheError, cache_at
from pruning_core.plan import describe, plan
from pruning_core.queue.jobs import Queue
from pruning_core.queue.standing import Standing, standing
from pruning_core.spec import SpecError
from pruning_core.store import Store
from pruning_core.text import format_bytes

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
OUT = Path("outputs") / "pruning_comparison"


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="python -m pruning_core", description="Prune networks and compare.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (function, add, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--cache-dir", type=Path, metavar="DIR", help="results and downloads")
        add(command)
        command.set_defaults(function=function)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: 0, 1 failed, 2 bad input, 130 interrupted."""
    options = parser().parse_args(arguments)
    try:
        cache = cache_at(options.cache_dir)
        cache.prepare()
        return int(options.function(options, cache, Queue(cache.queue)))
    except SpecError as error:
        print(f"{flag_of(error.field)}: {error.message}", file=sys.stderr)
        return BAD_INPUT
    except CacheError as error:
        print(f"--cache-dir: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("Interrupted; the job is cancelled, what was finished is kept.", file=sys.stderr)
        return INTERRUPTED


def compare(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Submit a comparison, watch it, print and write what it found."""
    spec = spec_from(options)
    plan(spec, Store(cache))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    job = queue.submit(spec, describe(spec))
    if options.detach:
        from pruning_core.worker.supervisor import ensure_worker

        ensure_worker(cache)
        print(f"Job {job} is queued. Look at it with: python -m pruning_core show {job}")
        return OK
    now = follow(cache, queue, job, Console(stderr=True))
    if now.state != "done":
        return complain(now, cache)
    return write_results(now, cache, options.out)


def write_results(now: Standing, cache: Cache, out: Path) -> int:
    """Print the two tables, write the files, and say where they are."""
    from pruning_core import report, results
    from pruning_core.findings import findings
    from pruning_core.images import ImageError

    spec = specs.from_json(now.job.spec)
    frame = results.points(now.outline, Store(cache), now.job.label, now.job.id)
    print(report.summary_tables(frame))
    for finding in findings(frame):
        print(f"- {finding.text}")
    failed = []
    try:
        written = report.write_all(frame, {now.job.id: spec}, out)
    except ImageError as error:
        written, failed = [out], [str(error)]
    for path in written:
        print(f"Wrote {path}")
    for note in [*frame["notes"].iloc[0], *report.missing_chrome(), *failed]:
        print(f"Note: {note}")
    return OK


def complain(now: Standing, cache: Cache) -> int:
    """Say on standard error why a job has no result. Returns the exit code."""
    if now.state == "cancelled":
        print(f"Job {now.job.id} was cancelled.", file=sys.stderr)
        return FAILED
    failed = [row for row in now.rows if row.status == "failed"]
    field, error = now.job.field, now.job.error
    if failed and not error:
        field, error = failed[0].field, failed[0].error
    if field:
        print(f"{flag_of(field)}: {error}", file=sys.stderr)
        return BAD_INPUT
    print(error, file=sys.stderr)
    logs = ", ".join(str(cache.log(row.key)) for row in failed)
    print(f"Job {now.job.id} failed. Log: {logs}", file=sys.stderr)
    return FAILED


def list_jobs(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the newest jobs, one a line."""
    for job in queue.jobs(options.limit):
        now = standing(queue, job.id)
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
        print(f"{job.id}  {when}  {now.state:9}  {now.fraction:4.0%}  {job.label}")
    return OK


def show(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print a job's stages and, when it is done, its tables; write files with --out."""
    now = _find(queue, options.job)
    print(f"{now.job.label}: {now.state}")
    for row in now.rows:
        extra = row.progress.get("message", "") if row.status == "running" else row.error[:200]
        print(f"  {row.key[:12]}  {row.kind:13}  {row.status:9}  {extra}")
    if options.show_spec:
        print(json.dumps(json.loads(now.job.spec), indent=2))
    if now.state == "done":
        return write_results(now, cache, options.out)
    return complain(now, cache) if now.state in ("failed", "refused") else OK


def cancel(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Cancel a job; what no other job wants stops within two seconds."""
    job = _find(queue, options.job).job
    queue.cancel(job.id)
    print(f"Job {job.id} is cancelled; its finished stages are kept.")
    return OK


def worker(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Run stages until idle."""
    from pruning_core.worker.supervisor import Supervisor

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    Supervisor(cache, options.idle_seconds, options.cores).run()
    return OK


def cache_command(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the size, check every file, or remove what no job uses."""
    store = Store(cache)
    if options.action == "size":
        total = sum(path.stat().st_size for path in cache.root.rglob("*") if path.is_file())
        print(f"{cache.root}: {format_bytes(total)}, {len(store.finished())} stages.")
    elif options.action == "verify":
        damaged = [key for key in store.finished() if not store.verify(key)]
        whole = len(store.finished())
        print(f"{whole} stages are whole, {len(damaged)} were damaged and set aside.")
        return FAILED if damaged else OK
    else:
        unused = sorted(set(store.finished()) - queue.wanted_keys())
        for key in unused:
            store.remove(key)
            queue.lost(key)
        print(f"{len(unused)} stages that no job uses were removed.")
    return OK


def _find(queue: Queue, start: str) -> Standing:
    job = queue.job(start)
    if job is None:
        raise SpecError("JOB", f"there is no job (or more than one) whose name begins {start!r}.")
    return standing(queue, job.id)


def _add_compare(command: argparse.ArgumentParser) -> None:
    add_options(command)
    command.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"files ({OUT})")
    command.add_argument("--detach", action="store_true", help="leave it to the worker")


def _add_jobs(command: argparse.ArgumentParser) -> None:
    command.add_argument("--limit", type=int, default=20, metavar="N", help="how many (20)")


def _add_job(command: argparse.ArgumentParser) -> None:
    command.add_argument("job", metavar="JOB", help="a job's name or how it begins")


def _add_show(command: argparse.ArgumentParser) -> None:
    _add_job(command)
    command.add_argument("--show-spec", action="store_true", help="print the spec too")
    command.add_argument("--out", type=Path, default=OUT, metavar="DIR", help=f"files ({OUT})")


def _add_worker(command: argparse.ArgumentParser) -> None:
    command.add_argument("--idle-seconds", type=float, default=600.0, metavar="N")
    command.add_argument("--cores", type=int, default=0, metavar="N", help="0: all")


def _add_cache(command: argparse.ArgumentParser) -> None:
    command.add_argument("action", choices=("size", "verify", "clean"))


Function = Callable[[argparse.Namespace, Cache, Queue], int]
COMMANDS: dict[str, tuple[Function, Callable[[argparse.ArgumentParser], None], str]] = {
    "compare": (compare, _add_compare, "Compare one-shot and iterative pruning."),
    "jobs": (list_jobs, _add_jobs, "List the jobs, newest first."),
    "show": (show, _add_show, "Show a job: stages, tables, findings."),
    "cancel": (cancel, _add_job, "Cancel a job."),
    "worker": (worker, _add_worker, "Run queued stages."),
    "cache": (cache_command, _add_cache, "Size, check or clean the cache."),
}

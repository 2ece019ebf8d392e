"""The commands `jobs`, `show` and `cancel`: list jobs, show one, stop one."""

from __future__ import annotations

import argparse
import json
import time

from pruning_core.cli.arguments import count, folder
from pruning_core.cli.output import (
    OK,
    add_excel,
    check_out,
    failure_message,
    report_failure,
    write_results,
)
from pruning_core.cli.selection import add_job, find_job, listed_models
from pruning_core.common.paths import Cache
from pruning_core.common.terminal import one_line
from pruning_core.storage.job_progress import ACTIVE, job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row


def add_jobs_options(command: argparse.ArgumentParser) -> None:
    """The option of `jobs`."""
    text = "number of jobs to list (default: 20)"
    command.add_argument("--limit", type=count, default=20, metavar="N", help=text)


def list_jobs(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the newest jobs, one in a line: id, time, state, progress, label."""
    for job in queue.jobs(options.limit):
        progress = job_progress(queue, job.id)
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(job.created))
        state = f"{progress.state:9}  {progress.fraction:4.0%}"
        print(f"{job.id}  {created}  {state}  {one_line(job.label)}")
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


def cancel(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Cancel a job; stages that no other job wants stop within two seconds."""
    progress = job_progress(queue, find_job(queue, options.job).id)
    if progress.state not in ACTIVE:
        print(f"Job {progress.job.id} has ended already: {progress.state}.")
        return OK
    queue.cancel(progress.job.id)
    print(f"Job {progress.job.id} is cancelled; its finished stages are kept.")
    return OK

"""Which job a command is about, and which of its models."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

from pruning_core.common.errors import SpecError
from pruning_core.planning.stage import Outline, PlannedModel
from pruning_core.results.models import titles
from pruning_core.storage.job_record import Job
from pruning_core.storage.jobs import Queue

JOB_HELP = "the id of a job, or its first characters"


def add_job(command: argparse.ArgumentParser) -> None:
    """The argument that names a job."""
    command.add_argument("job", metavar="JOB", help=JOB_HELP)


def add_several(command: argparse.ArgumentParser) -> None:
    """The argument that names one job or several."""
    command.add_argument("jobs", nargs="+", metavar="JOB", help=JOB_HELP)


def add_index(command: argparse.ArgumentParser) -> None:
    """The option that names one of the job's models."""
    text = "number of the model in the list that `show` prints; -1 is the last (default: -1)"
    command.add_argument("--index", type=int, default=-1, metavar="N", help=text)


def find_job(queue: Queue, start: str, deleted: bool = False) -> Job:
    """The job whose id begins with `start`. Raises `SpecError` unless exactly one does.

    With `deleted` it is one that was deleted, without it one that was not.
    """
    job = queue.job(start, deleted)
    if job is None and not deleted and (other := queue.job(start, deleted=True)):
        message = "{id} was deleted; `jobs undelete {id}` restores it."
        raise SpecError("JOB", message, id=other.id)
    noun, command = ("deleted job", "jobs --deleted") if deleted else ("job", "jobs")
    message = "the id {start} matches no {noun} or several {noun}s; `{command}` lists the ids."
    if job is None:
        raise SpecError("JOB", message, start=repr(start), noun=noun, command=command)
    return job


def find_jobs(queue: Queue, starts: Iterable[str], deleted: bool = False) -> list[Job]:
    """The jobs whose ids begin with these, each once; see `find_job`."""
    jobs = [find_job(queue, start, deleted) for start in starts]
    return list({job.id: job for job in jobs}.values())


def find_model(queue: Queue, job: Job, index: int, option: str = "--index") -> PlannedModel:
    """A finished model of a job by its number; negative numbers count from the end.

    Raises `SpecError`, naming the option, where there is no such model or it is not finished.
    """
    models, names = Outline.from_json(job.outline).models, listed_models(job)
    listed = "; ".join(f"{number} {name}" for number, name in enumerate(names))
    known = f"The models of the job are: {listed}." if models else "The job has no models yet."
    if not -len(models) <= index < len(models):
        raise SpecError(option, f"there is no model {index}. {known}")
    row = queue.stage(models[index].key)
    if row is None or row.status != "done":
        raise SpecError(option, f"{names[index]} is not finished. {known}")
    return models[index]


def listed_models(job: Job) -> list[str]:
    """The names of a job's models, in the order of their numbers."""
    outline = Outline.from_json(job.outline)
    title_of = titles(outline)
    return [title_of[model.key][0] for model in outline.models]

"""Which job a command is about, and which of its models."""

from __future__ import annotations

import argparse

from pruning_core.common.errors import SpecError
from pruning_core.planning.stage import Outline, PlannedModel
from pruning_core.results.models import titles
from pruning_core.storage.jobs import Job, Queue


def add_job(command: argparse.ArgumentParser) -> None:
    """The argument that names a job."""
    command.add_argument("job", metavar="JOB", help="the id of a job, or its first characters")


def add_index(command: argparse.ArgumentParser) -> None:
    """The option that names one of the job's models."""
    text = "number of the model in the list that `show` prints; -1 is the last (default: -1)"
    command.add_argument("--index", type=int, default=-1, metavar="N", help=text)


def find_job(queue: Queue, start: str) -> Job:
    """The job whose id begins with `start`. Raises `SpecError` unless exactly one does."""
    job = queue.job(start)
    if job is None:
        raise SpecError(
            "JOB", f"the id {start!r} matches no job or several jobs; `jobs` lists the ids."
        )
    return job


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

"""`python -m pruning_core export`: a finished point as files, with a table of what they are."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Column, Table

from pruning_core.cli.output import FAILED, OK, check_out, say
from pruning_core.cli.progress import finish
from pruning_core.common.errors import SpecError
from pruning_core.common.files import place
from pruning_core.common.paths import Cache
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline, PlannedModel, Stage
from pruning_core.results import exported_files
from pruning_core.results.exported_files import available, not_offered, notes_told
from pruning_core.results.models import titles
from pruning_core.storage.bundle import BUNDLE as PASSPORT
from pruning_core.storage.bundle import BUNDLE_FORMATS, bundle_stage
from pruning_core.storage.jobs import Job, Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store

CSV = "files.csv"
OUT = Path("outputs") / "export"


def add_export(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("job", metavar="JOB", help="a job's name or how it begins")
    add_point(command)
    command.add_argument(
        "--formats",
        type=_formats,
        default=list(FILE_FORMATS),
        metavar="F,F",
        help=f"of {', '.join(FILE_FORMATS)} (all)",
    )
    text = "pack a passport of one of the files too: a zip that verify.py in it checks"
    command.add_argument("--passport", choices=BUNDLE_FORMATS, metavar="FORMAT", help=text)
    command.add_argument("--out", type=place, default=OUT, metavar="DIR", help=f"files ({OUT})")


def add_point(command: argparse.ArgumentParser) -> None:
    """The option that names one of a job's points."""
    text = "which of the job's points, from 0 (the last)"
    command.add_argument("--point", type=int, default=-1, metavar="N", help=text)


def _formats(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in FILE_FORMATS]
    if unknown:
        message = f"{unknown[0]!r} is no format; there are {', '.join(FILE_FORMATS)}"
        raise argparse.ArgumentTypeError(message)
    return names


def export(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Make the files, tell what they are, and copy them out."""
    job, point = find_point(queue, options.job, options.point)
    check_out(options.out)
    packed = [options.passport] if options.passport else []
    names, left = available(dict.fromkeys([*options.formats, *packed]))
    stages = [export_stage(point.key, name) for name in names]
    if options.passport in names:
        stages.append(bundle_stage(job, point.key, options.passport, Store(cache)))
    rows = finish(cache, queue, stages, Console(stderr=True))
    dense = Outline.from_json(job.outline).dense_of(point)
    frame = exported_files.ladder(point, dense, Store(cache), names)
    Console().print(_table(job, point, frame))
    unfit = {row["key"]: why for row in frame.to_dict("records") if (why := not_offered(row))}
    packs = [stage for stage in stages if stage.kind == PASSPORT]
    for note in [*left, *notes_told(frame), *_notes(Store(cache), packs), *unfit.values()]:
        print(f"Note: {note}")
    failed = [row for row in rows if row.status != "done"]
    kept = [stage for stage in stages if stage.key not in unfit]
    written = _copy(Store(cache), kept, options.out)
    (options.out / CSV).write_text(exported_files.to_csv(frame), encoding="utf-8")
    for path in [*written, options.out / CSV]:
        print(f"Wrote {path}")
    return complain(failed)


def complain(failed: Iterable[Row]) -> int:
    """Say why stages have no result. Returns the exit code."""
    code = OK
    for row in failed:
        lines = row.error.strip().splitlines() or ["it gave no reason"]
        code = say(FAILED, f"{row.settings.get('format', row.kind)} failed: {lines[-1]}")
    return code


def find_point(queue: Queue, start: str, number: int) -> tuple[Job, PlannedModel]:
    """A job's finished point by its number, negative from the end. Raises `SpecError`."""
    job = queue.job(start)
    if job is None:
        raise SpecError("JOB", f"there is no job (or more than one) whose name begins {start!r}.")
    outline = Outline.from_json(job.outline) if job.outline else Outline()
    names = titles(outline)
    done = {p.key for p in outline.models if (r := queue.stage(p.key)) and r.status == "done"}
    if not -len(outline.models) <= number < len(outline.models):
        raise SpecError("--point", f"there is no point {number}. {_points(outline, names)}")
    point = outline.models[number]
    if point.key not in done:
        name = names[point.key][0]
        raise SpecError("--point", f"{name} is not finished. {_points(outline, names)}")
    return job, point


def _points(outline: Outline, names: dict[str, tuple[str, str]]) -> str:
    if not outline.models:
        return "The job has no points yet."
    told = [f"{i} {names[point.key][0]}" for i, point in enumerate(outline.models)]
    return f"The job's points are: {'; '.join(told)}."


def _notes(store: Store, stages: Iterable[Stage]) -> list[str]:
    """What is to be known of the files that were made."""
    made = [store.read(stage.key) for stage in stages if store.exists(stage.key)]
    return [f"{found['file']}: {note}" for found in made for note in found["notes"]]


def _copy(store: Store, stages: Iterable[Stage], out: Path) -> list[Path]:
    written = []
    for stage in stages:
        if store.exists(stage.key):
            made = store.read(stage.key)
            beside = [] if made.get("images_inside", True) else [made["images"]]
            paths = [store.file(stage.key, name) for name in (made["file"], *beside)]
            written += [Path(shutil.copyfile(path, out / path.name)) for path in paths]
    return written


def _table(job: Job, point: PlannedModel, frame: pd.DataFrame) -> Table:
    name = titles(Outline.from_json(job.outline))[point.key][0]
    told = exported_files.readable(frame)
    first, *others = told.columns
    drawn = Table(Column(first, no_wrap=True), *others, caption=f"{job.label}, {name}")
    for row in told.itertuples(index=False):
        drawn.add_row(*map(str, row))
    return drawn

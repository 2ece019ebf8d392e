"""The command `export`: a finished model as files, with a table of their size and accuracy."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
from rich.table import Column, Table

from pruning_core.cli.arguments import add_names, folder
from pruning_core.cli.output import FAILED, OK, check_out, failure_message, say
from pruning_core.cli.progress import Terminal, run_stages
from pruning_core.cli.selection import add_index, add_job, find_job, find_model
from pruning_core.common.paths import Cache
from pruning_core.common.terminal import one_line
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.measurement_types import BundleResult, ExportResult
from pruning_core.planning.stage import Outline, Stage, read_result
from pruning_core.results import exported_files
from pruning_core.results.exported_files import (
    available_formats,
    file_notes,
    files_frame,
    files_table,
    why_not_offered,
)
from pruning_core.results.models import titles
from pruning_core.storage.bundle import BUNDLE, BUNDLE_FORMATS, bundle_stage
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store

CSV = "files.csv"
OUT = Path("outputs") / "export"


def add_export_options(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_job(command)
    add_index(command)
    add_names(command, "--formats", FILE_FORMATS)
    text = (
        "also build a reproducibility bundle with the file in this format: a zip with everything "
        f"that is needed to verify it, of {', '.join(BUNDLE_FORMATS)}"
    )
    command.add_argument("--bundle", choices=BUNDLE_FORMATS, metavar="NAME", help=text)
    text = f"folder for the files (default: {OUT})"
    command.add_argument("--out", type=folder, default=OUT, metavar="DIR", help=text)


def export(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Make the files, print a table of them, and copy them into the output folder."""
    job = find_job(queue, options.job)
    model, outline = find_model(queue, job, options.index), Outline.from_json(job.outline)
    check_out(options.out)
    store = Store(cache)
    bundled = [options.bundle] if options.bundle else []
    formats, notes = available_formats(dict.fromkeys([*options.formats, *bundled]))
    stages = [export_stage(model.key, name) for name in formats]
    if options.bundle in formats:
        stages.append(bundle_stage(job, model.key, options.bundle, store))
    rows = run_stages(cache, queue, stages, Terminal(stderr=True))
    frame = files_frame(model, outline.dense_of(model), store, formats)
    Terminal().print(_table(frame, f"{job.label}, {titles(outline)[model.key][0]}"))
    # A file that loses too much accuracy is measured, but not handed out.
    refused = {row["key"]: why for row in frame.to_dict("records") if (why := why_not_offered(row))}
    for note in [*notes, *file_notes(frame), *_bundle_notes(store, stages), *refused.values()]:
        print(f"Note: {one_line(note)}")
    written = _copy(store, [stage for stage in stages if stage.key not in refused], options.out)
    (options.out / CSV).write_text(exported_files.to_csv(frame), encoding="utf-8", newline="")
    for path in [*written, options.out / CSV]:
        print(f"Wrote {path}")
    return report_failed_stages(row for row in rows if row.status != "done")


def report_failed_stages(rows: Iterable[Row]) -> int:
    """Print to standard error why these stages have no result. Returns the exit code."""
    code = OK
    for row in rows:
        name = row.settings.get("format", row.kind)
        code = say(FAILED, f"{name} failed: {failure_message(row.field, row.error)}")
    return code


def _bundle_notes(store: Store, stages: Iterable[Stage]) -> list[str]:
    """The notes on the reproducibility bundle, if there is one."""
    bundles = [s for s in stages if s.kind == BUNDLE and store.exists(s.key)]
    results = [read_result(store, stage.key, BundleResult) for stage in bundles]
    return [note for result in results for note in result.notes]


def _copy(store: Store, stages: Iterable[Stage], out: Path) -> list[Path]:
    """Copy the files of the finished stages, with test images that are not inside a bundle."""
    written = []
    for stage in stages:
        if store.exists(stage.key):
            paths = [store.file(stage.key, name) for name in _file_names(store, stage)]
            written += [Path(shutil.copyfile(path, out / path.name)) for path in paths]
    return written


def _file_names(store: Store, stage: Stage) -> list[str]:
    if stage.kind != BUNDLE:
        return [read_result(store, stage.key, ExportResult).file]
    bundle = read_result(store, stage.key, BundleResult)
    return [bundle.file] if bundle.images_inside else [bundle.file, bundle.images]


def _table(frame: pd.DataFrame, caption: str) -> Table:
    texts = files_table(frame)
    first, *others = texts.columns
    table = Table(Column(first, no_wrap=True), *others, caption=caption)
    for row in texts.itertuples(index=False):
        table.add_row(*map(str, row))
    return table

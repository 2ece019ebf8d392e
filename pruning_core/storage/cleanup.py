"""Maintenance of a cache: its size, the check of every file, and the removal of unused files."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from pruning_core.common.formatting import format_count
from pruning_core.common.paths import KEY, Cache
from pruning_core.planning.stage import Missing
from pruning_core.planning.stage_kinds import INSPECTIONS, STAGE_KINDS
from pruning_core.storage.job_edits import UNDO_SECONDS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord

DERIVED_KINDS = tuple(name for name, kind in STAGE_KINDS.items() if kind.derived)
# A younger upload may belong to a run that is still being set up.
FRESH_SECONDS = 3600.0


class CleanError(RuntimeError):
    """The cache is not cleaned; the message is a sentence."""


def size(cache: Cache) -> int:
    """The bytes of all files in the cache; files deleted meanwhile do not count."""
    return sum(sizes(cache).values())


def sizes(cache: Cache) -> dict[str, int]:
    """The bytes of each folder of the cache (stages, uploads, logs, ...), the largest first.

    Files in no folder count as "queue".
    """
    counter: Counter[str] = Counter()
    for folder, _, names in os.walk(cache.root):
        part = next(iter(Path(folder).relative_to(cache.root).parts), "queue")
        for name in names:
            try:
                counter[part] += os.lstat(os.path.join(folder, name)).st_size
            except OSError:
                continue
    return dict(counter.most_common())


def unreadable(cache: Cache) -> dict[str, str]:
    """The folders of the cache that cannot be listed or entered, each with the reason."""
    reasons: dict[str, str] = {}

    def keep(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            reasons[str(error.filename)] = error.strerror or str(error)

    for folder, _, names in os.walk(cache.root, onerror=keep):
        if names:
            try:
                os.lstat(os.path.join(folder, names[0]))
            except OSError as error:
                error.filename = folder
                keep(error)
    return reasons


def verify(store: Store, queue: Queue) -> tuple[list[str], list[str]]:
    """Check every file of every stage, and that each finished result of a job is there.

    Returns the keys of damaged stages, which are set aside, and of missing ones. Those that a job
    wants are queued again, so the worker recomputes them; a deleted job wants none. Folders that
    cannot be read are not checked; see `unreadable`.
    """
    closed = [Path(folder) for folder in unreadable(store.cache)]
    missing = [
        key
        for key in queue.finished_keys()
        if not store.exists(key) and not any(map(store.cache.stage(key).is_relative_to, closed))
    ]
    damaged = [key for key in store.finished() if not store.verify(key)]
    wanted, kept = queue.wanted_keys(), queue.wanted_keys(deleted=True)
    for key in damaged:
        if key in wanted:
            queue.lost(key)
        elif key not in kept:  # Compare computes that of a restored job again
            queue.forget(key)
    for key in missing:
        queue.lost(key)
    return damaged, missing


def clean(store: Store, queue: Queue, everything: bool = False) -> list[str]:
    """Remove what no job uses: stages, checkpoints, uploads, logs and unfinished stage folders.

    Exported files and latencies of a kept model stay. Reproducibility bundles are removed,
    because packing them again takes seconds. Only what the project made, by its name, is removed.
    A deleted job uses its results while its deletion can be undone. Returns the keys of the removed
    stages.

    Raises `CleanError`, before anything is removed, where the folder is not marked as a cache.
    Without `everything` also where the queue does not know finished stages or has no job: it was
    moved away or replaced, and does not say what is used.
    """
    if not store.cache.marker.is_file():
        raise CleanError(
            f"{store.cache.root} is not marked as a cache of Pruning Lab. Nothing was removed. If "
            "it is a cache, run the command `jobs` with it first, which marks it."
        )
    queue.purge(UNDO_SECONDS)
    stages, files = _unused_stages(store, queue), _unused_files(store, queue)
    if not everything:
        _check_queue(store, queue, stages, files)
    for key in stages:
        store.remove(key)
        queue.forget(key)
    for path in files:
        _delete(path)
    return stages


def _check_queue(store: Store, queue: Queue, stages: list[str], files: list[Path]) -> None:
    """Raise `CleanError` where the queue does not say what is used."""
    finished, known = store.finished(), queue.known_keys()
    unknown = [key for key in stages if key not in known]
    advice = "Nothing was removed. To remove what no job uses, run `cache clean --all`."
    if unknown:
        results = format_count(len(unknown), "finished result")
        raise CleanError(
            f"The queue {store.cache.queue} does not know {results} of {len(finished):,}: it was "
            f"moved away or replaced. Put the former queue back to keep them. {advice}"
        )
    if not queue.jobs(1) and not queue.deleted() and (stages or files):
        raise CleanError(
            f"The queue {store.cache.queue} has no job, so that nothing in this cache is used: "
            f"{format_count(len(stages), 'finished result')} and "
            f"{format_count(len(files), 'other file')}. {advice}"
        )


def _unused_stages(store: Store, queue: Queue) -> list[str]:
    """The finished stages that no job wants and that do not run.

    A job that waits for its plan may want any inspection.
    """
    wanted = _with_derived(store, queue.wanted_keys(deleted=True))
    stages = set(store.finished()) - wanted - queue.running()
    if queue.planning():
        stages = {key for key in stages if _kind(store, key) not in INSPECTIONS}
    return sorted(key for key in stages if store.cache.made(store.cache.stage(key)))


def _unused_files(store: Store, queue: Queue) -> list[Path]:
    """Leftovers, uploads and logs that no job uses."""
    running, wanted = queue.running(), queue.wanted_keys(deleted=True)
    files = []
    for path in store.leftovers():
        key = path.name.partition(".")[0]
        resumable = path.suffix == ".ckpt" and key in wanted and not store.exists(key)
        if key not in running and not resumable:
            files.append(path)
    files += [*_unused_uploads(store.cache, queue), *_unused_logs(store.cache, queue)]
    return [path for path in files if store.cache.made(path)]


def _with_derived(store: Store, wanted: set[str]) -> set[str]:
    """The stages that jobs want, and the finished stages derived from these."""
    sources = {key: _source(store, key) for key in store.finished()}
    kept = set(wanted)
    while more := {key for key, source in sources.items() if source in kept} - kept:
        kept |= more
    return kept


def _kind(store: Store, key: str) -> str:
    """The kind of a stage; "" for a damaged one."""
    try:
        return str(store.settings(key)["kind"])
    except Missing:
        return ""


def _source(store: Store, key: str) -> str:
    """The model or file that a stage is derived from; "" for other and for damaged stages."""
    try:
        stage = store.settings(key)
    except Missing:
        return ""
    return str(stage["parent"]) if stage["kind"] in DERIVED_KINDS else ""


def _unused_uploads(cache: Cache, queue: Queue) -> list[Path]:
    """Uploaded files that no job and no waiting stage uses."""
    used = {os.path.realpath(path) for path in queue.named_files()}
    entries = _files(cache.uploads)
    inside = [file for entry in entries if entry.is_dir() for file in _files(entry)]
    uploads = [path for path in (*entries, *inside) if path.is_file() and not _fresh(path)]
    return [path for path in uploads if os.path.realpath(path) not in used]


def _unused_logs(cache: Cache, queue: Queue) -> list[Path]:
    """Logs of stages that no job wants, and the worker's log while no worker is alive."""
    used = queue.wanted_keys(deleted=True) | queue.running()
    if WorkerRecord(cache.queue).current():
        used.add(cache.worker_log.stem)
    return [path for path in _files(cache.logs) if path.stem not in used]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _fresh(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < FRESH_SECONDS
    except FileNotFoundError:
        return False


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
        if re.fullmatch(KEY, path.parent.name):  # the folder of an upload, whose name is a digest
            with suppress(OSError):
                path.parent.rmdir()

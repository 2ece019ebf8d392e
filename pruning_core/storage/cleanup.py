"""Maintenance of a cache: its size, the check of every file, and the removal of unused files."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path

from pruning_core.common.paths import Cache
from pruning_core.planning.stage import Missing
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord

DERIVED_KINDS = tuple(name for name, kind in STAGE_KINDS.items() if kind.derived)
# A younger upload may belong to a run that is still being set up.
FRESH_SECONDS = 3600.0


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
            except FileNotFoundError:
                continue
    return dict(counter.most_common())


def verify(store: Store, queue: Queue) -> list[str]:
    """Check every file of every stage. Returns the keys of damaged stages, which are set aside.

    Stages that a job wants are queued again, so the worker recomputes them.
    """
    damaged = [key for key in store.finished() if not store.verify(key)]
    wanted = queue.wanted_keys()
    for key in damaged:
        queue.lost(key) if key in wanted else queue.forget(key)
    return damaged


def clean(store: Store, queue: Queue) -> list[str]:
    """Remove what no job uses: stages, checkpoints, uploads, logs and unfinished stage folders.

    Exported files and latencies of a kept model stay. Reproducibility bundles are removed,
    because packing them again takes seconds. Returns the keys of the removed stages.
    """
    leftovers = store.leftovers()
    running, wanted = queue.running(), _with_derived(store, queue.wanted_keys())
    unused = sorted(set(store.finished()) - wanted - running)
    for key in unused:
        store.remove(key)
        queue.forget(key)
    for path in leftovers:
        key = path.name.partition(".")[0]
        resumable = path.suffix == ".ckpt" and key in wanted and not store.exists(key)
        if key not in running and not resumable:
            _delete(path)
    for path in [*_unused_uploads(store.cache, queue), *_unused_logs(store.cache, queue)]:
        _delete(path)
    return unused


def _with_derived(store: Store, wanted: set[str]) -> set[str]:
    """The stages that jobs want, and the finished stages derived from these."""
    sources = {key: _source(store, key) for key in store.finished()}
    kept = set(wanted)
    while more := {key for key, source in sources.items() if source in kept} - kept:
        kept |= more
    return kept


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
    uploads = [path for path in _files(cache.uploads) if not _fresh(path)]
    return [path for path in uploads if os.path.realpath(path) not in used]


def _unused_logs(cache: Cache, queue: Queue) -> list[Path]:
    """Logs of stages that no job wants, and the worker's log while no worker is alive."""
    used = queue.wanted_keys() | queue.running()
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

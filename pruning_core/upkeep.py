"""The upkeep of a cache: how large it is, whether it is whole, and what can go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from pruning_core.paths import Cache
from pruning_core.queue.jobs import Queue
from pruning_core.store import Store


def size(cache: Cache) -> int:
    """The bytes of all files in the cache; those that vanish meanwhile do not count."""
    total = 0
    for folder, _, names in os.walk(cache.root):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


def verify(store: Store, queue: Queue) -> list[str]:
    """Check every file of every stage. Returns the keys that were damaged and set aside.

    Those that a job wants are queued again, so that the worker makes them anew.
    """
    damaged = [key for key in store.finished() if not store.verify(key)]
    wanted = queue.wanted_keys()
    for key in damaged:
        queue.lost(key) if key in wanted else queue.forget(key)
    return damaged


def clean(store: Store, queue: Queue) -> list[str]:
    """Remove what no job uses: stages, checkpoints, and what is half built or damaged.

    Returns the keys of the stages removed.
    """
    leftovers = store.leftovers()
    running, wanted = queue.running(), queue.wanted_keys()
    unused = sorted(set(store.finished()) - wanted - running)
    for key in unused:
        store.remove(key)
        queue.forget(key)
    for path in leftovers:
        key = path.name.partition(".")[0]
        resumable = path.suffix == ".ckpt" and key in wanted and not store.exists(key)
        if key not in running and not resumable:
            _delete(path)
    return unused


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)

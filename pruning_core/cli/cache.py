"""The command `cache`: its size, the check of every file, and the removal of unused files."""

from __future__ import annotations

import argparse

from pruning_core.cli.output import FAILED, OK, say
from pruning_core.common.formatting import format_bytes, format_count
from pruning_core.common.paths import Cache
from pruning_core.results.cluster import store_sentence
from pruning_core.storage import cleanup
from pruning_core.storage.connections import SHARED_STORE, Connections
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store


def add_cache_options(command: argparse.ArgumentParser) -> None:
    """The argument of the command."""
    text = (
        "size: print the size of each part; verify: check every file against its digest; "
        "clean: remove what no job uses"
    )
    command.add_argument("action", choices=("size", "verify", "clean"), help=text)
    text = "with clean: also remove results that the queue does not list, after it was replaced"
    command.add_argument("--all", action="store_true", help=text)


def maintain_cache(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Print the size, check every file, or remove what no job uses."""
    store, code = Store(cache), OK
    if options.action == "size":
        stages = format_count(len(store.finished()), "stage")
        sizes = cleanup.sizes(cache)
        print(f"{cache.root}: {format_bytes(sum(sizes.values()))}, {stages}.")
        for part, size in sizes.items():
            print(f"  {part:12} {format_bytes(size)}")
        print(store_sentence(Connections(cache.queue).get(SHARED_STORE)))
    elif options.action == "verify":
        damaged, missing = cleanup.verify(store, queue)
        stages = format_count(len(store.finished()), "stage")
        print(f"Verified: {stages} intact, {len(damaged)} damaged and set aside.")
        if missing:
            results = format_count(len(missing), "finished result")
            say(FAILED, f"Missing: {results} of jobs. The worker computes them again.")
        code = FAILED if damaged or missing else OK
    else:
        before = cleanup.size(cache)
        try:
            stages = format_count(len(cleanup.clean(store, queue, options.all)), "stage")
        except cleanup.CleanError as error:
            return say(FAILED, str(error))
        freed = format_bytes(max(before - cleanup.size(cache), 0))
        print(f"Removed {stages} that no job uses: {freed}.")
        if deleted := queue.deleted():
            jobs = format_count(len(deleted), "deleted job")
            print(f"{jobs} can be restored for a day, so the results are kept.")
            print("`jobs purge` removes deleted jobs for good.")
    for folder, reason in cleanup.unreadable(cache).items():
        code = say(FAILED, f"{folder} cannot be read ({reason}): its files are not included.")
    return code

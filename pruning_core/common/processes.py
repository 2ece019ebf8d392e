"""Starting processes of the project: the command line of the worker, and their environment."""

from __future__ import annotations

import sys

from pruning_core.common.paths import Cache

# Threads that spin long while they wait take the core from each other on a busy machine; ones
# that do not spin at all sleep and wake at each of a thousand small operations a second.
# And memory that glibc gives back after each step costs 10,000 page faults in the next one,
# a quarter of its time. Neither changes a bit of a result.
ENVIRONMENT = {
    "GOMP_SPINCOUNT": "1000",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**26),
}


IDLE_SECONDS = 600.0


def worker_command(cache: Cache, idle_seconds: float = IDLE_SECONDS, cores: int = 0) -> list[str]:
    """The command line that starts the worker of a cache; 0 cores are all there are."""
    options = ["--cache-dir", str(cache.root), "--idle-seconds", str(idle_seconds)]
    options += ["--cores", str(cores)]
    return [sys.executable, "-m", "pruning_core", "worker", *options]

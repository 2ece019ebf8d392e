"""How the project starts Python processes: their environment, and the worker's command line.

The worker and the benchmark share it, so that a benchmark measures what a worker runs.
"""

from __future__ import annotations

import hashlib
import sys

from pruning_core.common.paths import PROJECT, Cache

# OpenMP threads that spin long while they wait take the cores from each other on a busy machine;
# threads that do not spin sleep and wake at each of a thousand small operations per second.
# Memory that glibc returns to the system after each step costs 10,000 page faults in the next
# step, a quarter of its time. No setting changes a bit of a result.
ENVIRONMENT = {
    "GOMP_SPINCOUNT": "1000",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
    "MALLOC_TOP_PAD_": str(2**26),
}
IDLE_SECONDS = 600.0  # a worker without work ends after this time


def code_digest() -> str:
    """The SHA-256 of the source files of this package, as they are on disk now."""
    digest = hashlib.sha256()
    for path in sorted((PROJECT / "pruning_core").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def worker_command(cache: Cache, idle_seconds: float = IDLE_SECONDS, cores: int = 0) -> list[str]:
    """The command line that starts the worker of a cache; 0 cores means all cores."""
    options = ["--cache-dir", str(cache.root), "--idle-seconds", str(idle_seconds)]
    options += ["--cores", str(cores)]
    return [sys.executable, "-m", "pruning_core", "worker", *options]

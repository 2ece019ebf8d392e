"""A process that runs stages, one after another, as the supervisor sends them.

It loads the engine, then reads one line of JSON per stage (key and token) from standard input, and
ends when standard input closes. While a stage runs, all output goes to the log file of the stage.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pruning_core.common.paths import Cache
from pruning_core.common.terminal import printable_output
from pruning_core.storage.jobs import Queue
from pruning_core.worker.execute import execute, load_engine

# The exit code of a process whose stage was taken away.
STAGE_LOST = 3


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Append standard output and error to a file, including the output of C libraries."""
    path.parent.mkdir(parents=True, exist_ok=True)
    saved = [os.dup(1), os.dup(2)]
    with path.open("ab", buffering=0) as file:
        for handle in (1, 2):
            os.dup2(file.fileno(), handle)
    try:
        yield
    finally:
        sys.stdout.flush()
        for handle, old in zip((1, 2), saved, strict=True):
            os.dup2(old, handle)
            os.close(old)


def main(root: str, supervisor: int) -> None:
    """Run stages of the cache at `root` for the supervisor with this process id."""
    with printable_output():
        _run_stages(Cache(Path(root)), supervisor)


def _run_stages(cache: Cache, supervisor: int) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    queue = Queue(cache.queue)
    load_engine()
    for line in sys.stdin:
        order = json.loads(line)
        row = queue.stage(order["key"])
        # The stage may have been cancelled since it was sent.
        if row is None or row.token != order["token"]:
            continue
        with output_to(cache.log(row.key)):
            execute(cache, queue, row, lost=lambda: os._exit(STAGE_LOST), parent=supervisor)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

"""The command `worker`: run the queued stages of a cache.

Other commands and the pages start it when they need it.
"""

from __future__ import annotations

import argparse
import logging
import sys

from pruning_core.cli.arguments import count, seconds
from pruning_core.cli.output import OK
from pruning_core.common.paths import Cache
from pruning_core.common.processes import IDLE_SECONDS
from pruning_core.storage.jobs import Queue


def add_worker_options(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "--idle-seconds",
        type=seconds,
        default=IDLE_SECONDS,
        metavar="N",
        help=f"exit after this many seconds without work (default: {IDLE_SECONDS:g})",
    )
    text = "CPU threads of all stages together; 0 means all cores (default: 0)"
    command.add_argument("--cores", type=count, default=0, metavar="N", help=text)


def worker(options: argparse.Namespace, cache: Cache, queue: Queue) -> int:
    """Run queued stages until the queue has been empty for a while."""
    from pruning_core.worker.supervisor import Supervisor

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    Supervisor(cache, options.idle_seconds, options.cores).run()
    return OK

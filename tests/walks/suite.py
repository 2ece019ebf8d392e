"""Walk at random through the pages in a browser, and compare what they show with what they must.

    python -m tests.walks.suite --walks 200

See `walk` for the steps of a walk. The cache holds two finished runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pruning_core.common.paths import Cache
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage.jobs import Queue
from tests.helpers.browser import ARGUMENTS, CHROME, served
from tests.helpers.project import suite_parser
from tests.helpers.workers import ONE_CUT, SHARED_VARIABLE, finished_run, serve
from tests.walks.walk import Violation, Walk


def runs(folder: Path) -> Cache:
    """A cache with two finished runs."""
    spec = replace(ONE_CUT, one_shot=OneShotSpec((0.5, 0.9), 0.5))
    cache = finished_run(folder, spec, "First run")
    Queue(cache.queue).submit(replace(spec, seeds=(1,)), "Second run")
    serve(cache)
    return cache


def walk(cache: Cache, walks: int, steps: int, seed: int) -> Counter[str]:
    """Make so many walks. Returns the number of steps of each kind. Raises `Violation`."""
    from playwright.sync_api import sync_playwright

    counts: Counter[str] = Counter()
    with served(cache) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        for number in range(walks):
            one = Walk(browser, url, cache, seed + number)
            try:
                one.run(steps)
            except Violation as violation:
                raise Violation(f"Walk {seed + number}: {violation}") from None
            counts += one.counts
        browser.close()
    return counts


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = suite_parser("tests.walks.suite", __doc__)
    options.add_argument("--walks", type=int, default=200, help="number of walks")
    options.add_argument("--steps", type=int, default=12, help="steps of each walk")
    options.add_argument("--seed", type=int, default=0, help="seed of the first walk")
    return options


def main() -> int:
    """Run the suite. Returns 1 where a page showed something else."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ.setdefault(SHARED_VARIABLE, str(folder / "shared"))
        try:
            counts = walk(runs(folder / "cache"), options.walks, options.steps, options.seed)
        except Violation as violation:
            print(violation)
            return 1
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    print(f"{options.walks} walks ({kinds}): every page showed its state.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Walk at random through the pages in a browser, and compare what they show with what they must.

    python -m tests.walks.suite --walks 200

See `walk` for the steps of a walk. The cache holds three finished runs, one of them archived.
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
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.jobs import Queue
from tests.helpers.browser import ARGUMENTS, CHROME, served
from tests.helpers.project import suite_parser
from tests.helpers.workers import ONE_CUT, SHARED_VARIABLE, serve
from tests.walks.controls import CONTROLS
from tests.walks.walk import Violation, Walk

PROGRESS = 10  # walks after which the suite says how far it is


def runs(folder: Path) -> Cache:
    """A cache with two finished runs, and an archived one, which needs no stages of its own."""
    spec = replace(ONE_CUT, one_shot=OneShotSpec((0.5, 0.9), 0.5))
    cache = Cache(folder)
    cache.prepare()
    queue = Queue(cache.queue)
    small = queue.submit(replace(spec, one_shot=OneShotSpec((0.5,), 0.5)), "Archived run")
    first = queue.submit(spec, "First run")
    queue.submit(replace(spec, seeds=(0, 1)), "Second run")
    queue.edit([small], Edit(archived=True))
    queue.edit([first], Edit(starred=True, add_tags=("small",)))
    serve(cache)
    return cache


def walk(
    cache: Cache, walks: int, steps: int, seed: int, screenshots: Path | None = None
) -> tuple[Counter[str], set[str], list[str]]:
    """Make so many walks.

    Returns the number of steps of each kind, the controls that were set, and what pages showed
    wrongly.

    The page of a walk that failed is photographed into the folder `screenshots`.
    """
    from playwright.sync_api import Error, sync_playwright

    counts: Counter[str] = Counter()
    controls: set[str] = set()
    violations = []
    with served(cache) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        for number in range(walks):
            one = Walk(browser, url, cache, seed + number)
            try:
                one.run(steps)
            except (Violation, Error) as violation:
                violations.append(f"Walk {seed + number}, {one.steps[-3:]}: {violation}")
                print(violations[-1], flush=True)
                if screenshots:
                    screenshots.mkdir(parents=True, exist_ok=True)
                    one.page.screenshot(path=screenshots / f"walk-{seed + number}.png")
            finally:
                one.context.close()
            counts += one.counts
            if (number + 1) % PROGRESS == 0:
                print(f"{number + 1} of {walks} walks, {len(violations)} failed", flush=True)
            controls |= one.controls
        browser.close()
    return counts, controls, violations


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = suite_parser("tests.walks.suite", __doc__)
    options.add_argument("--walks", type=int, default=200, help="number of walks")
    options.add_argument("--steps", type=int, default=12, help="steps of each walk")
    options.add_argument("--seed", type=int, default=0, help="seed of the first walk")
    options.add_argument("--screenshots", type=Path, help="folder for pages of failed walks")
    return options


def main() -> int:
    """Run the suite. Returns 1 where a page showed something else."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ.setdefault(SHARED_VARIABLE, str(folder / "shared"))
        counts, controls, violations = walk(
            runs(folder / "cache"), options.walks, options.steps, options.seed, options.screenshots
        )
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    failed = f"{len(violations)} failed" if violations else "every page showed its state"
    every = {f"{page}: {one.label}" for page, several in CONTROLS.items() for one in several}
    print(f"{options.walks} walks ({kinds}; {len(controls)} of {len(every)} controls): {failed}.")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

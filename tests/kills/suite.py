"""Kill the processes of a run again and again, at their file operations, and check what is left.

    python -m tests.kills.suite --kills 500

Each round submits a run, serves it with a worker and cleans the cache, as separate processes, one
of which dies by SIGKILL. A stub engine replays finished stages (see `stub_engine`), so a round
takes a fraction of a second. After each round every finished stage must have the bytes of the run
that was never killed, and no finished stage may be missing.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from pruning_core.common.paths import Cache
from pruning_core.settings.spec import Spec
from pruning_core.storage import cleanup
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.worker.supervisor import Supervisor
from tests.helpers.project import suite_parser
from tests.helpers.stages import SMALL
from tests.helpers.workers import SHARED_VARIABLE, finished_run
from tests.kills import stub_engine
from tests.kills.stub_engine import Fork, Killer

ROLES = ("submit", "worker", "stage", "clean")
IDLE_SECONDS = 0.05


class Violation(AssertionError):
    """After a kill something was lost, damaged or different."""


class Suite:
    """Runs of `spec` in `folder`, whose processes are killed; `donor` holds the finished run."""

    def __init__(self, folder: Path, donor: Cache, spec: Spec, seed: int) -> None:
        self.folder, self.donor, self.spec = folder, donor, spec
        self.draw = random.Random(seed)
        self.killer = Killer(ROLES, root=str(folder))
        self.killer.install()
        stub_engine.use(self.killer, donor)
        self.finished: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.cache = self._new_cache()

    def run(self, kills: int) -> None:
        """Kill so many processes. Raises `Violation`."""
        self._round("", 0)  # counts the operations of each role
        while self.counts["kills"] < kills:
            role = self.draw.choice(ROLES)
            operation = self.draw.randint(1, max(1, self.killer.operations(role)))
            try:
                self._round(role, operation)
            except Violation as violation:
                raise Violation(f"{violation} ({role} killed at operation {operation})") from None

    def report(self) -> str:
        """What was done, in one line."""
        roles = ", ".join(f"{role} {self.counts[role]}" for role in ROLES)
        return (
            f"{self.counts['kills']} kills ({roles}); {self.counts['runs']} runs finished with "
            f"{self.counts['stages']} stages compared, {self.counts['retries']} retries; "
            "nothing lost, nothing different."
        )

    def _round(self, role: str, operation: int) -> None:
        self.killer.arm(role, operation)
        reading, writing = os.pipe()  # at its end when no process of this round is alive
        for name, call in (
            ("submit", self._submit),
            ("worker", self._work),
            ("clean", self._clean),
        ):
            code = Fork(self.killer, name, call).wait()
            if code not in (0, -9):
                raise Violation(f"the {name} process ended with exit code {code}")
        os.close(writing)
        os.read(reading, 1)
        os.close(reading)
        if self.killer.killed:
            self.counts.update(("kills", role))
        self._check()

    def _submit(self) -> None:
        self.cache.prepare()
        Queue(self.cache.queue).submit(self.spec, "killed")

    def _work(self) -> None:
        Supervisor(self.cache, IDLE_SECONDS, cores=2).run()

    def _clean(self) -> None:
        cleanup.clean(Store(self.cache), Queue(self.cache.queue))

    def _check(self) -> None:
        finished = self._compared()
        if lost := self.finished - finished:
            raise Violation(f"{len(lost)} finished stages are missing")
        self.finished = finished
        if self.cache.damaged.is_dir() and any(self.cache.damaged.iterdir()):
            raise Violation("a finished stage was damaged")
        queue = Queue(self.cache.queue)
        for job in queue.jobs():
            rows = queue.stages_of(job.id)
            if missing := {r.key for r in rows if r.status == "done"} - finished:
                raise Violation(f"{len(missing)} stages are done in the queue, but not stored")
            state = job_progress(queue, job.id).state
            if state == "failed":
                self.counts["retries"] += 1
                queue.retry(job.id)
            if state == "done":
                self._end_run()

    def _compared(self) -> set[str]:
        """The finished stages, each equal to the stage of the run that was never killed."""
        store = Store(self.cache)
        finished = set(store.finished())
        for key in finished:
            folder, expected = self.cache.stage(key), self.donor.stage(key)
            names = {path.name for path in expected.iterdir()}
            if {path.name for path in folder.iterdir()} != names or any(
                (folder / name).read_bytes() != (expected / name).read_bytes() for name in names
            ):
                raise Violation(f"stage {key[:12]} differs from that of an undisturbed run")
        return finished

    def _end_run(self) -> None:
        self.counts["runs"] += 1
        self.counts["stages"] += len(self.finished)
        if left := [path.name for path in self.cache.building.iterdir()]:
            raise Violation(f"the finished run keeps unfinished files: {left}")
        shutil.rmtree(self.cache.root)
        self.cache, self.finished = self._new_cache(), set()

    def _new_cache(self) -> Cache:
        cache = Cache(self.folder / str(self.counts["runs"]))
        cache.prepare()
        return cache


def parser() -> argparse.ArgumentParser:
    """The options of the command."""
    options = suite_parser("tests.kills.suite", __doc__)
    options.add_argument("--kills", type=int, default=500, help="processes to kill")
    options.add_argument("--seed", type=int, default=0, help="seed of the order of the kills")
    options.add_argument("--donor", type=Path, help="a cache with the finished run")
    return options


def main() -> int:
    """Run the suite. Returns 1 where something was lost or different."""
    options = parser().parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ.setdefault(SHARED_VARIABLE, str(folder / "shared"))
        donor = Cache(options.donor) if options.donor else finished_run(folder / "donor", SMALL)
        suite = Suite(folder / "killed", donor, SMALL, options.seed)
        try:
            suite.run(options.kills)
        except Violation as violation:
            print(f"After {suite.counts['kills']} kills, seed {options.seed}: {violation}.")
            return 1
        print(suite.report())
    return 0


if __name__ == "__main__":
    sys.exit(main())

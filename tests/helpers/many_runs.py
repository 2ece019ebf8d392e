"""A cache with many finished runs, and how long the pages take with it.

`python -m tests.helpers.many_runs 1000` makes one in a temporary folder and prints, for each page,
the median and the 95th percentile of the milliseconds in which it answers a control, and those in
which a cached comparison opens. An empty page tells how much of that is Streamlit's and its
test's own: a page that opens is first compiled, which a server does once.
"""

from __future__ import annotations

import base64
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import DATA, MODEL, Facts
from tests.helpers.project import ROOT
from tests.helpers.results import result

ROUNDS = 20
TEST_IMAGES = 1000
Answer = Callable[[AppTest, int], object]


def fill(cache: Cache, runs: int) -> list[str]:
    """Finished runs with figures made up, ten or so stages each. Returns the jobs' ids."""
    cache.prepare()
    store, queue = Store(cache), Queue(cache.queue)
    with mock.patch("pruning_core.common.files.write_through"):
        return [_run(store, queue, number) for number in range(runs)]


def _run(store: Store, queue: Queue, number: int) -> str:
    spec = replace(QUICKSTART, seeds=(number,), label=f"Run {number}")
    made = plan(spec, Facts(spec))
    random = np.random.default_rng(number)
    for stage in made.stages:
        if not store.exists(stage.key):
            _publish(store, made, stage.key, random)
    job = queue.submit(spec, spec.label)
    queue.expand(job, made, [stage.key for stage in made.stages])
    return job


def _publish(store: Store, made: Plan, key: str, random: np.random.Generator) -> None:
    stage = next(stage for stage in made.stages if stage.key == key)
    found = {"inspect_dataset": DATA, "inspect_model": MODEL, "dataset": {}}.get(stage.kind)
    if found is None:
        asked = next(point.asked for point in made.models if point.key == key)
        found = _measured(asked, random)
    with store.building(key) as folder:
        settings = stage.settings
        store.publish(
            key, folder, kind=stage.kind, parent=stage.parent, settings=settings, result=found
        )


def _measured(asked: float, random: np.random.Generator) -> dict[str, object]:
    right = random.random(TEST_IMAGES) < 0.95 - 0.3 * asked
    accuracy = float(right.mean())
    epoch = {"epoch": 1, "loss": 1.0, "validation_loss": 1.0, "accuracy": accuracy, "lr": 0.1}
    return {
        **result(round(80 * asked), accuracy, 2, 4),
        "right": int(right.sum()),
        "test_images": TEST_IMAGES,
        "correct": base64.b64encode(np.packbits(right).tobytes()).decode(),
        "history": [{**epoch, "epoch": i + 1, "seconds": i + 1.0} for i in range(10)],
    }


EMPTY = "import streamlit as st\n\nst.write('empty')\n"
CONTROLS: dict[str, Answer] = {
    "app.py": lambda test, i: test.run(),
    "pages/1_Tune.py": lambda test, i: (
        test.slider(key="w.iterative.target").set_value(50.0 + i).run()
    ),
    "pages/2_Runs.py": lambda test, i: test.run(),
    "pages/3_Compare.py": lambda test, i: test.slider(key="tolerance").set_value(0.1 * i).run(),
}


def answers(page: str, job: str = "") -> list[float]:
    """Seconds of a page's answers to a control that is moved again and again."""
    test = AppTest.from_file(str(ROOT / page), default_timeout=60)
    if job:
        test.query_params["runs" if "Compare" in page else "job"] = job
    test.run()
    assert not test.exception
    return _answered(test, CONTROLS[page])


def _answered(test: AppTest, move: Answer) -> list[float]:
    move(test, 0)
    return [_seconds(lambda i=i: move(test, i)) for i in range(1, ROUNDS + 1)]


def _seconds(job: Callable[[], object]) -> float:
    started = time.perf_counter()
    job()
    return time.perf_counter() - started


def opened(job: str) -> float:
    """Seconds in which Compare first shows a cached run."""
    test = AppTest.from_file(str(ROOT / "pages/3_Compare.py"), default_timeout=60)
    test.query_params["runs"] = job
    return _seconds(test.run)


def _told(name: str, seconds: list[float]) -> str:
    found = sorted(1000 * part for part in seconds)
    late = found[int(0.95 * len(found)) - 1]
    return f"{name:20} median {statistics.median(found):.0f} ms, 95 % {late:.0f} ms"


def main(runs: int) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = folder
        jobs = fill(Cache(Path(folder).resolve()), runs)
        with mock.patch("pruning_core.worker.start.ensure_worker", return_value=""):
            for page in CONTROLS:
                print(_told(page, answers(page)))
            empty = [AppTest.from_string(EMPTY, default_timeout=60) for _ in range(5)]
            print(_told("an empty page", _answered(empty[0].run(), lambda test, i: test.run())))
            cold = [opened(job) for job in jobs[:: max(1, len(jobs) // 5)][:5]]
            print(f"a cached comparison opens in {1000 * statistics.median(cold):.0f} ms,")
            bare = [_seconds(test.run) for test in empty]
            print(f"an empty page in {1000 * statistics.median(bare):.0f} ms")
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"most memory held: {held:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

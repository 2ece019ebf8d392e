"""A cache with many finished runs, and the response times of the pages with it.

`python -m tests.helpers.many_runs 1000` fills a temporary folder and prints for each page the
median and the 95th percentile of its response times to a control in milliseconds, and the time in
which a cached comparison opens. The times of an empty page show the part of Streamlit and its
test: the test compiles a page when it opens it, which a server does once.
"""

from __future__ import annotations

import base64
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.planning.model_types import LAYERS_FILE
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import DATA, MODEL, Facts
from tests.helpers.project import ROOT
from tests.helpers.results import result

ROUNDS = 20
TEST_IMAGES, LAYERS = 1000, 53
Control = Callable[[AppTest, int], object]


def fill(cache: Cache, runs: int) -> list[str]:
    """Finished runs of about ten stages each, with invented results. Returns the job ids."""
    cache.prepare()
    store, queue = Store(cache), Queue(cache.queue)
    with mock.patch("pruning_core.common.files.write_through"):
        return [_run(store, queue, number) for number in range(runs)]


def _run(store: Store, queue: Queue, number: int) -> str:
    spec = replace(QUICKSTART, seeds=(number,), label=f"Run {number}")
    planned = plan(spec, Facts(spec))
    random = np.random.default_rng(number)
    for stage in planned.stages:
        if not store.exists(stage.key):
            _publish(store, planned, stage, random)
    job = queue.submit(spec, spec.label)
    queue.expand(job, planned, [stage.key for stage in planned.stages])
    return job


def _publish(store: Store, planned: Plan, stage: Stage, random: np.random.Generator) -> None:
    inspections = {"inspect_dataset": DATA, "inspect_model": MODEL, "dataset": {}}
    value = inspections.get(stage.kind)
    if value is None:
        target = next(model.target for model in planned.models if model.key == stage.key)
        value = _invented(target, random)
    with store.building(stage.key) as folder:
        if stage.kind not in inspections:
            (folder / LAYERS_FILE).write_text(json.dumps(_layers()), encoding="utf-8")
        store.publish(
            stage.key,
            folder,
            kind=stage.kind,
            parent=stage.parent,
            settings=stage.settings,
            result=value,
        )


def _layers() -> list[dict[str, Any]]:
    """Invented statistics of as many layers as a MobileNetV2 has."""
    layer = {"kind": "conv", "role": "", "size": 900, "zeros": 90, "channels": 30}
    bins = {"zero_channels": 1, "largest": 1.0, "counts": list(range(60))}
    return [{"name": f"features.{i}.weight", **layer, **bins} for i in range(LAYERS)]


def _invented(target: float, random: np.random.Generator) -> dict[str, Any]:
    """An invented result of a model with this sparsity."""
    correct = random.random(TEST_IMAGES) < 0.95 - 0.3 * target
    accuracy = float(correct.mean())
    epoch = {"epoch": 1, "loss": 1.0, "validation_loss": 1.0, "accuracy": accuracy, "lr": 0.1}
    return {
        **result(round(80 * target), accuracy, 2, 4),
        "right": int(correct.sum()),
        "test_images": TEST_IMAGES,
        "correct": base64.b64encode(np.packbits(correct).tobytes()).decode(),
        "history": [{**epoch, "epoch": i + 1, "seconds": i + 1.0} for i in range(10)],
    }


EMPTY = "import streamlit as st\n\nst.write('empty')\n"
CONTROLS: dict[str, Control] = {
    "app.py": lambda test, i: test.run(),
    "pages/1_Tune.py": lambda test, i: (
        test.slider(key="w.iterative.target").set_value(50.0 + i).run()
    ),
    "pages/2_Runs.py": lambda test, i: test.run(),
    "pages/3_Compare.py": lambda test, i: (
        test.text_input(key="Compare.max_drop").set_value(f"{0.1 * i:.1f}").run()
    ),
    "pages/4_Layers.py": lambda test, i: test.run(),
    "pages/5_Export.py": lambda test, i: (
        test.text_input(key="Export.max_drop").set_value(f"{0.1 * i:.1f}").run()
    ),
}


def response_times(page: str, job: str = "") -> list[float]:
    """The response times in seconds of a page to a control that is moved many times."""
    test = AppTest.from_file(str(ROOT / page), default_timeout=60)
    if job:
        test.query_params["runs" if "Compare" in page else "job"] = job
    test.run()
    assert not test.exception
    return _times(test, CONTROLS[page])


def _times(test: AppTest, move: Control) -> list[float]:
    move(test, 0)  # the first response compiles the page
    return [_seconds(partial(move, test, i)) for i in range(1, ROUNDS + 1)]


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def opening_time(job: str) -> float:
    """The seconds in which Compare opens with a cached run."""
    test = AppTest.from_file(str(ROOT / "pages/3_Compare.py"), default_timeout=60)
    test.query_params["runs"] = job
    return _seconds(test.run)


def _line(name: str, seconds: list[float]) -> str:
    times = sorted(1000 * value for value in seconds)
    percentile = times[int(0.95 * len(times)) - 1]
    return f"{name:20} median {statistics.median(times):.0f} ms, 95 % {percentile:.0f} ms"


def main(runs: int) -> None:
    """Print the response times."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[CACHE_VARIABLE] = folder
        jobs = fill(Cache(Path(folder).resolve()), runs)
        with mock.patch("pruning_core.worker.start.ensure_worker", return_value=""):
            for page in CONTROLS:
                print(_line(page, response_times(page)))
            guide = AppTest.from_file(str(ROOT / "pages/6_Guide.py"), default_timeout=60)
            print(_line("pages/6_Guide.py", _times(guide.run(), lambda test, i: test.run())))
            empty = [AppTest.from_string(EMPTY, default_timeout=60) for _ in range(5)]
            print(_line("an empty page", _times(empty[0].run(), lambda test, i: test.run())))
            cold = [opening_time(job) for job in jobs[:: max(1, len(jobs) // 5)][:5]]
            print(f"a cached comparison opens in {1000 * statistics.median(cold):.0f} ms,")
            bare = [_seconds(test.run) for test in empty]
            print(f"an empty page in {1000 * statistics.median(bare):.0f} ms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:.0f} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)

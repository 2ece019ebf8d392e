"""The number of stages that run at once changes no bit of their results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pruning_core.common.paths import Cache
from pruning_core.storage.jobs import Queue
from tests.helpers.workers import TINY, bits, end_of, worker

SPEC = replace(TINY, seeds=(4,), baseline_epochs=1)


def test_one_core_and_two_give_the_same_bits(tmp_path: Path) -> None:
    results = []
    for cores in ("1", "2"):
        cache = Cache(tmp_path / cores)
        cache.prepare()
        queue = Queue(cache.queue)
        job = queue.submit(SPEC, "test")
        with worker(cache, "--cores", cores):
            assert end_of(queue, job).state == "done"
        results.append(bits(cache, SPEC))
    assert results[0] == results[1]

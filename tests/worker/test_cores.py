"""How many stages run at once changes no bit of any of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pruning_core.common.paths import Cache
from pruning_core.storage.jobs import Queue
from tests.helpers.workers import TINY, bits, end_of, worker

SPEC = replace(TINY, seeds=(4,), baseline_epochs=1)


def test_one_core_and_two_give_the_same_bits(tmp_path: Path) -> None:
    found = []
    for cores in ("1", "2"):
        cache = Cache(tmp_path / cores)
        cache.prepare()
        queue = Queue(cache.queue)
        job = queue.submit(SPEC, "test")
        with worker(cache, "--cores", cores):
            assert end_of(queue, job).state == "done"
        found.append(bits(cache, SPEC))
    assert found[0] == found[1]

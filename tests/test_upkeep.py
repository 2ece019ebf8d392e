"""What `cache clean` and `cache verify` touch, and what they leave alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from pruning_core import upkeep
from pruning_core.paths import Cache
from pruning_core.plan import Stage, plan
from pruning_core.queue.jobs import Queue
from pruning_core.store import Store
from tests.facts import Facts
from tests.workers import TINY


def publish(store: Store, key: str) -> str:
    with store.building(key) as folder:
        (folder / "file").write_bytes(b"content")
        store.publish(key, folder, kind="data", parent="", settings={}, result={})
    return key


@pytest.fixture
def wanted(queue: Queue) -> list[str]:
    """The keys of a job whose stages are all queued."""
    job = queue.submit(TINY, "test")
    made = plan(TINY, Facts(TINY))
    queue.expand(job, made, [])
    return [stage.key for stage in made.stages]


def test_clean_keeps_what_a_job_wants(store: Store, queue: Queue, wanted: list[str]) -> None:
    """What a page had inspected, and no job wants, is gone and does not run again."""
    stage = Stage("inspect_data", "", {"name": "mnist"})
    used, unused = publish(store, wanted[-1]), publish(store, stage.key)
    queue.add([stage], done=[unused])
    assert upkeep.clean(store, queue) == [unused]
    assert store.finished() == [used]
    assert queue.stage(unused) is None


def test_clean_keeps_the_checkpoints_that_a_job_can_go_on_from(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    done, waiting = publish(store, wanted[0]), wanted[1]
    for key in (done, waiting, "f" * 64):
        cache.checkpoint(key).write_bytes(b"x")
    part = cache.checkpoint(waiting).with_suffix(".123.part")
    part.write_bytes(b"x")
    upkeep.clean(store, queue)
    assert list(part.parent.iterdir()) == [cache.checkpoint(waiting)]


def test_clean_leaves_a_running_stage_alone(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    row = queue.claim("token", 8)
    assert row
    mine, other = cache.building / f"{row.key}.one", cache.building / f"{wanted[-1]}.two"
    for folder in (mine, other, cache.damaged / f"{wanted[-1]}.three"):
        folder.mkdir(parents=True)
    upkeep.clean(store, queue)
    assert list(cache.building.iterdir()) == [mine]
    assert list(cache.damaged.iterdir()) == []


def test_verify_has_only_what_a_job_wants_made_anew(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    row = queue.claim("token", 8)
    assert row
    for key in (row.key, wanted[1], "f" * 64):
        publish(store, key)
    queue.finish(row.key, "token")
    for key in (row.key, "f" * 64):
        (cache.stage(key) / "file").write_bytes(b"changed")
    assert set(upkeep.verify(store, queue)) == {row.key, "f" * 64}
    assert store.finished() == [wanted[1]]
    again = queue.stage(row.key)
    assert again
    assert again.status == "queued"
    assert queue.stage("f" * 64) is None


def test_size_counts_every_byte(cache: Cache, tmp_path: Path) -> None:
    before = upkeep.size(cache)
    (cache.root / "a").write_bytes(b"x" * 1000)
    (cache.stages / "link").symlink_to(tmp_path / "nowhere")
    assert 1000 < upkeep.size(cache) - before < 1200

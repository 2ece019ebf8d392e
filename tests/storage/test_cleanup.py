"""Which files `cache clean` and `cache verify` remove, and which they keep."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Stage
from pruning_core.storage import cleanup
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord
from tests.helpers.inspections import Facts
from tests.helpers.workers import TINY


def publish(store: Store, key: str) -> str:
    with store.building(key) as folder:
        (folder / "file").write_bytes(b"content")
        store.publish(key, folder, kind="dataset", parent="", settings={}, result={})
    return key


@pytest.fixture
def wanted(queue: Queue) -> list[str]:
    """The keys of a job whose stages are all queued."""
    job = queue.submit(TINY, "test")
    job_plan = plan(TINY, Facts(TINY))
    queue.expand(job, job_plan, [])
    return [stage.key for stage in job_plan.stages]


def test_clean_keeps_what_a_job_wants(store: Store, queue: Queue, wanted: list[str]) -> None:
    """The inspection of a page, which no job wants, is removed and does not run again."""
    stage = Stage("inspect_dataset", "", {"name": "mnist"})
    used, unused = publish(store, wanted[-1]), publish(store, stage.key)
    queue.add([stage], done=[unused])
    assert cleanup.clean(store, queue) == [unused]
    assert store.finished() == [used]
    assert queue.stage(unused) is None


def test_clean_keeps_the_stages_derived_from_the_model_of_a_job(
    store: Store, queue: Queue, wanted: list[str]
) -> None:
    model, other = wanted[-1], "e" * 64
    file, lone = export_stage(model, "onnx"), export_stage(other, "onnx")
    packed, timed = Stage("bundle", file.key, {}), Stage("latency", model, {})
    sparse = Stage("sparse_speedup", model, {})
    publish(store, model)
    for stage in (file, lone, packed, timed, sparse):
        with store.building(stage.key) as folder:
            store.publish(
                stage.key, folder, kind=stage.kind, parent=stage.parent, settings={}, result={}
            )
    assert cleanup.clean(store, queue) == sorted([lone.key, packed.key])
    assert set(store.finished()) == {model, file.key, timed.key, sparse.key}


def test_clean_keeps_the_checkpoints_from_which_a_job_can_continue(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    done, waiting = publish(store, wanted[0]), wanted[1]
    for key in (done, waiting, "f" * 64):
        cache.checkpoint(key).write_bytes(b"x")
    part = cache.checkpoint(waiting).with_suffix(".123.part")
    part.write_bytes(b"x")
    cleanup.clean(store, queue)
    assert list(part.parent.iterdir()) == [cache.checkpoint(waiting)]


def test_clean_leaves_a_running_stage_alone(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    row = queue.claim("token", 8)
    assert row
    mine, other = cache.building / f"{row.key}.one", cache.building / f"{wanted[-1]}.two"
    for folder in (mine, other, cache.damaged / f"{wanted[-1]}.three"):
        folder.mkdir(parents=True)
    cleanup.clean(store, queue)
    assert list(cache.building.iterdir()) == [mine]
    assert list(cache.damaged.iterdir()) == []


def test_verify_queues_only_stages_that_a_job_wants(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    row = queue.claim("token", 8)
    assert row
    for key in (row.key, wanted[1], "f" * 64):
        publish(store, key)
    queue.finish(row.key, "token")
    for key in (row.key, "f" * 64):
        (cache.stage(key) / "file").write_bytes(b"changed")
    assert set(cleanup.verify(store, queue)) == {row.key, "f" * 64}
    assert store.finished() == [wanted[1]]
    again = queue.stage(row.key)
    assert again
    assert again.status == "queued"
    assert queue.stage("f" * 64) is None


def test_size_counts_every_byte(cache: Cache, tmp_path: Path) -> None:
    before = cleanup.size(cache)
    (cache.root / "a").write_bytes(b"x" * 1000)
    (cache.stages / "link").symlink_to(tmp_path / "nowhere")
    assert 1000 < cleanup.size(cache) - before < 1200


def old(path: Path) -> Path:
    """A file that was written more than an hour ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    os.utime(path, (0, 0))
    return path


def test_clean_keeps_the_uploads_that_a_job_names(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    """And a recent one, because its run may still be set up."""
    images, weights = old(cache.upload("a", "zip")), old(cache.upload("b", "safetensors"))
    unused, part = old(cache.upload("c", "zip")), old(cache.uploads / "d.1234.part")
    young = old(cache.upload("e", "zip"))
    os.utime(young)
    data = replace(TINY.data, name="images", path=str(images))
    queue.submit(replace(TINY, data=data), "images")
    queue.submit(replace(TINY, model=replace(TINY.model, weights=str(weights))), "weights")
    cleanup.clean(store, queue)
    assert set(cache.uploads.iterdir()) == {images, weights, young}
    assert not unused.exists()
    assert not part.exists()


def test_clean_keeps_an_upload_that_a_page_has_asked_about(
    cache: Cache, store: Store, queue: Queue
) -> None:
    path = old(cache.upload("a", "zip"))
    queue.add([Stage("inspect_dataset", "", {"name": "images"}, {"path": str(path)})])
    cleanup.clean(store, queue)
    assert path.exists()


def test_clean_removes_the_logs_that_no_job_needs(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    kept, unused = old(cache.log(wanted[0])), old(cache.log("f" * 64))
    old(cache.worker_log)
    record = WorkerRecord(cache.queue)
    record.register("t", "code")
    cleanup.clean(store, queue)
    assert set(cache.logs.iterdir()) == {kept, cache.worker_log}
    assert not unused.exists()
    record.unregister("t")
    cleanup.clean(store, queue)
    assert list(cache.logs.iterdir()) == [kept]


def test_sizes_list_the_parts_and_add_up(cache: Cache) -> None:
    old(cache.upload("a", "zip"))
    old(cache.worker_log)
    old(cache.log("b"))
    (cache.root / "queue.sqlite").write_bytes(b"x" * 7)
    sizes = cleanup.sizes(cache)
    assert (sizes["uploads"], sizes["logs"], sizes["queue"]) == (100, 200, 7)
    assert cleanup.size(cache) == sum(sizes.values())
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)

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

HEX = "0123456789abcdef" * 2  # as a name of a temporary file ends


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


def test_clean_keeps_the_inspections_of_a_job_that_waits_for_its_plan(
    store: Store, queue: Queue
) -> None:
    """A job that is submitted again is planned again, and wants its inspections then."""
    job_plan = plan(TINY, Facts(TINY))
    queue.expand(queue.submit(TINY, "test"), job_plan, [])
    stage = next(stage for stage in job_plan.stages if stage.kind == "inspect_model")
    with store.building(stage.key) as folder:
        store.publish(stage.key, folder, kind=stage.kind, parent="", settings={}, result={})
    queue.submit(TINY, "test")
    assert cleanup.clean(store, queue) == []
    assert store.finished() == [stage.key]


def test_clean_keeps_the_stages_derived_from_the_model_of_a_job(
    store: Store, queue: Queue, wanted: list[str]
) -> None:
    model, other = wanted[-1], "e" * 64
    file, lone = export_stage(model, "onnx"), export_stage(other, "onnx")
    packed, timed = Stage("bundle", file.key, {}), Stage("latency", model, {})
    sparse = Stage("sparse_speedup", model, {})
    publish(store, model)
    stages = (file, lone, packed, timed, sparse)
    queue.add(stages, done=[stage.key for stage in stages])
    for stage in stages:
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
    mine, other = cache.building / f"{row.key}.{HEX}", cache.building / f"{wanted[-1]}.7.{HEX}"
    for folder in (mine, other, cache.damaged / f"{wanted[-1]}.{HEX[:8]}"):
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
    damaged, _ = cleanup.verify(store, queue)
    assert set(damaged) == {row.key, "f" * 64}
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
    a, b, c, d, e = (letter * 64 for letter in "abcde")
    images, weights = old(cache.upload(a, "zip")), old(cache.upload(b, "safetensors"))
    unused, part = old(cache.upload(c, "zip")), old(cache.uploads / f"{d}.{HEX}.part")
    young = old(cache.upload(e, "zip"))
    os.utime(young)
    data = replace(TINY.data, name="images", path=str(images))
    queue.submit(replace(TINY, data=data), "images")
    queue.submit(replace(TINY, model=replace(TINY.model, weights=str(weights))), "weights")
    cleanup.clean(store, queue)
    assert set(cache.uploads.glob("*/*")) == {images, weights, young}
    assert {path.name for path in cache.uploads.iterdir()} == {a, b, e}
    assert not unused.exists()
    assert not part.exists()


def test_clean_keeps_an_upload_that_a_page_has_asked_about(
    cache: Cache, store: Store, queue: Queue
) -> None:
    path = old(cache.upload("a" * 64, "zip"))
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
    cache.queue.write_bytes(b"x" * 7)
    cache.marker.write_bytes(b"x" * 5)
    sizes = cleanup.sizes(cache)
    assert (sizes["uploads"], sizes["logs"], sizes["queue"]) == (100, 200, 12)
    assert cleanup.size(cache) == sum(sizes.values())
    assert list(sizes.values()) == sorted(sizes.values(), reverse=True)


def foreign(cache: Cache, store: Store) -> set[Path]:
    """Files of the user below the cache, with names that the project does not give."""
    key = "a" * 64
    names = [
        *("notes.txt", key, f"{key[:-1]}.ckpt", f"{key}.ckpt.bak", f"x{key}.log", "b.zip", ".x"),
        *(f"{key.upper()}.log", f"{key}.{HEX}.{HEX}", f"{key}.png/nested", f"{key}.{HEX}x"),
    ]
    paths = {
        old(folder / name)
        for folder in cache.names()
        for name in names
        if not cache.made(folder / name)
    }
    paths |= {old(cache.root / "mine" / f"{key}.ckpt"), old(cache.stages / "aa" / "file")}
    for folder in (cache.checkpoint(key), cache.log(key), cache.upload(key, "zip")):
        assert cache.made(folder)
    return paths | {old(cache.stages / "b" / "c" / "manifest.json")}


@pytest.mark.parametrize("everything", [False, True])
def test_clean_removes_only_what_the_project_has_made(
    cache: Cache, store: Store, queue: Queue, wanted: list[str], everything: bool
) -> None:
    kept = foreign(cache, store)
    made = old(cache.checkpoint("b" * 64))
    cleanup.clean(store, queue, everything)
    assert not made.exists()
    assert {path for path in kept if not path.exists()} == set()


def test_clean_follows_no_link(
    cache: Cache, store: Store, queue: Queue, wanted: list[str], tmp_path: Path
) -> None:
    """Neither that of a whole folder, nor of a stage, nor of a file."""
    key, other = "a" * 64, Cache(tmp_path / "other")
    other.prepare()
    publish(Store(other), key)
    outside = [old(other.checkpoint(key)), old(other.upload(key, "zip")), old(other.log(key))]
    outside += [other.stage(key) / "file", old(other.building / f"{key}.{HEX}" / "file")]
    cache.checkpoints.rmdir()
    cache.checkpoints.symlink_to(other.checkpoints)
    cache.upload(key, "zip").parent.mkdir(parents=True)
    cache.upload(key, "zip").symlink_to(other.upload(key, "zip"))
    (cache.uploads / ("b" * 64)).symlink_to(other.upload(key, "zip").parent)
    (cache.building / f"{key}.{HEX}").symlink_to(other.building / f"{key}.{HEX}")
    (cache.stages / "aa").symlink_to(other.stages / "aa")
    cleanup.clean(store, queue, everything=True)
    assert all(path.exists() for path in outside)


def test_clean_needs_the_mark_of_a_cache(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    path = old(cache.log("f" * 64))
    cache.marker.unlink()
    with pytest.raises(cleanup.CleanError, match=r"not marked .* run the command `jobs`"):
        cleanup.clean(store, queue, everything=True)
    assert path.exists()
    cache.prepare()  # as every command does that uses a cache
    cleanup.clean(store, queue)
    assert not path.exists()


def test_clean_does_nothing_after_the_queue_was_moved_away(
    cache: Cache, store: Store, queue: Queue, wanted: list[str]
) -> None:
    """And nothing after a new queue has its first job; everything goes only if asked for."""
    publish(store, wanted[-1])
    files = [old(cache.checkpoint("f" * 64)), old(cache.upload("f" * 64, "zip"))]
    cache.queue.rename(cache.root / "moved")
    new = Queue(cache.queue)
    with pytest.raises(cleanup.CleanError, match="does not know 1 finished result of 1"):
        cleanup.clean(store, new)
    new.submit(TINY, "first")
    with pytest.raises(cleanup.CleanError, match="`cache clean --all`"):
        cleanup.clean(store, new)
    assert all(path.exists() for path in files)
    assert store.finished() == [wanted[-1]]
    assert cleanup.clean(store, new, everything=True) == [wanted[-1]]
    assert not any(path.exists() for path in files)


def test_clean_does_nothing_without_any_job(cache: Cache, store: Store, queue: Queue) -> None:
    path = old(cache.checkpoint("f" * 64))
    with pytest.raises(cleanup.CleanError, match="no job"):
        cleanup.clean(store, queue)
    assert path.exists()


def test_a_folder_that_cannot_be_read_is_named(
    cache: Cache, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = publish(store, "a" * 64)
    closed, scandir = cache.stage(key).parent, os.scandir
    assert cleanup.unreadable(cache) == {}

    def denied(path: str | Path = ".") -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert cleanup.unreadable(cache) == {str(closed): "Permission denied"}

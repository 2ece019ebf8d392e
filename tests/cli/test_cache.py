"""The command `cache`, and the folders that a cache may be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pruning_core.common.paths import Cache, CacheError
from pruning_core.storage import cleanup
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.many_runs import fill
from tests.helpers.refusals import ended, one_line


def run(cache: Cache, capfd: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    return ended(capfd, *words, "--cache-dir", str(cache.root))


@pytest.mark.parametrize("action", ["size", "verify", "clean"])
def test_a_folder_that_is_no_cache_is_refused_and_not_changed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], action: str
) -> None:
    upload = tmp_path / "uploads" / f"{'a' * 64}.zip"
    upload.parent.mkdir()
    upload.touch()
    code, out, error = run(Cache(tmp_path), capfd, "cache", action)
    assert (code, out) == (2, "")
    assert one_line(error) == f"--cache-dir: {tmp_path} is not a cache of Pruning Lab."
    assert sorted(tmp_path.rglob("*")) == [upload.parent, upload]


@pytest.mark.parametrize("name", ["checkpoints", "building", "damaged", "logs", "uploads"])
def test_a_folder_with_other_files_of_the_same_folder_is_not_made_a_cache(
    tmp_path: Path, name: str
) -> None:
    """`clean` would look into it."""
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").touch()
    with pytest.raises(CacheError, match=rf"{name} holds other files \(mine.txt\)"):
        Cache(tmp_path).prepare()
    assert not Cache(tmp_path).marker.exists()
    assert not Cache(tmp_path).stages.exists()


def test_an_earlier_cache_without_a_mark_is_marked_by_its_next_use(
    cache: Cache, capfd: pytest.CaptureFixture[str]
) -> None:
    job, _ = fill(cache, 2)
    Queue(cache.queue).delete(job)
    cache.marker.unlink()
    code, _, error = run(cache, capfd, "cache", "clean", "--all")
    assert code == 1
    assert "is not marked as a cache" in one_line(error)
    assert run(cache, capfd, "jobs")[0] == 0
    out = run(cache, capfd, "cache", "clean")[1]
    assert out.startswith("Removed 0 stages")
    assert "1 deleted job can be restored for a day, so the results are kept." in out
    assert run(cache, capfd, "jobs", "purge")[1].startswith("Removed 1 deleted job for good.")
    code, out, _ = run(cache, capfd, "cache", "clean")
    assert code == 0
    assert not out.startswith("Removed 0 stages")


def test_clean_says_that_the_queue_was_moved_away(
    cache: Cache, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(cache, 1)
    cache.queue.rename(cache.root / "moved")
    finished = Store(cache).finished()
    code, out, error = run(cache, capfd, "cache", "clean")
    assert (code, out) == (1, "")
    assert f"does not know {len(finished)} finished results" in one_line(error)
    assert Store(cache).finished() == finished
    assert run(cache, capfd, "cache", "clean", "--all")[0] == 0
    assert Store(cache).finished() == []


@pytest.mark.parametrize("action", ["size", "verify", "clean"])
def test_a_folder_that_cannot_be_read_is_a_failure(
    cache: Cache,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    action: str,
) -> None:
    closed = {f"{cache.stages}/aa": "Permission denied"}
    monkeypatch.setattr(cleanup, "unreadable", lambda _: closed)
    code, out, error = run(cache, capfd, "cache", action)
    assert code == 1
    assert out
    assert one_line(error).startswith(f"{cache.stages}/aa cannot be read (Permission denied)")


def test_verify_tells_finished_results_that_are_missing(
    cache: Cache, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody deleted a folder of the cache. One that cannot be read is not taken for missing."""
    fill(cache, 1)
    queue, store = Queue(cache.queue), Store(cache)
    code, _, _ = run(cache, capfd, "cache", "verify")
    assert code == 0
    key = queue.finished_keys()[-1]
    shutil.rmtree(cache.stage(key))
    monkeypatch.setattr(cleanup, "unreadable", lambda _: {str(cache.stage(key).parent): "closed"})
    assert cleanup.verify(store, queue) == ([], [])
    monkeypatch.undo()
    code, _, error = run(cache, capfd, "cache", "verify")
    assert code == 1
    assert one_line(error) == (
        "Missing: 1 finished result of jobs. The worker computes them again."
    )
    row = queue.stage(key)
    assert row is not None
    assert row.status == "queued"


def test_a_damaged_queue_is_told_with_the_way_out(
    cache: Cache, capfd: pytest.CaptureFixture[str]
) -> None:
    fill(cache, 1)
    finished = Store(cache).finished()
    cache.queue.write_bytes(b"no database at all, and longer than a header " * 40)
    for path in cache.root.glob(f"{cache.queue.name}-*"):
        path.unlink()
    code, _, error = run(cache, capfd, "jobs")
    assert code == 1
    assert "It is damaged. Move it" in one_line(error)
    cache.queue.rename(cache.root / "moved")
    assert run(cache, capfd, "jobs")[0] == 0
    assert Store(cache).finished() == finished

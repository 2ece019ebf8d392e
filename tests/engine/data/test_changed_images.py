"""Runs whose images change between two submissions, or between inspection and decoding."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pruning_core.common import files
from pruning_core.common.paths import Cache
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage import store
from pruning_core.storage.job_progress import JobProgress, job_progress
from pruning_core.storage.jobs import Queue
from tests.helpers.refusals import image_folder
from tests.helpers.workers import TINY, serve

BROKEN = "test/cat/0.png"


def spec_of(folder: Path) -> Spec:
    """A run that decodes and evaluates, and trains nothing."""
    return replace(
        TINY,
        data=DataSpec("images", str(folder)),
        model=ModelSpec(width=0.1),
        baseline_epochs=0,
        one_shot=OneShotSpec(amounts=(0.5,), epochs=0),
        iterative=IterativeSpec(enabled=False),
    )


def submitted(cache: Cache, folder: Path) -> JobProgress:
    """The job of a folder after its stages have run."""
    queue, spec = Queue(cache.queue), spec_of(folder)
    job = queue.submit(spec, "run")
    serve(cache)
    return job_progress(queue, job)


def reason(progress: JobProgress) -> str:
    return " ".join([progress.job.error, *(row.error for row in progress.rows)])


def write_back(file: Path, content: bytes) -> None:
    """Write a file of the same size in place, and restore its time."""
    old = file.stat()
    assert old.st_size == len(content)
    file.write_bytes(content)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))


def test_a_mended_folder_runs_at_once(cache: Cache, tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "images")
    whole = (folder / BROKEN).read_bytes()
    write_back(folder / BROKEN, whole[:-20] + bytes(20))
    progress = submitted(cache, folder)
    assert (progress.state, progress.job.field) == ("refused", "data.path")
    assert f'"name": "{BROKEN}"' in reason(progress)
    write_back(folder / BROKEN, whole)
    progress = submitted(cache, folder)
    assert progress.state == "done", reason(progress)


def test_a_run_leaves_out_broken_images_as_if_they_were_removed(
    cache: Cache, tmp_path: Path
) -> None:
    """The result is that of the folder without them, from the cache; a note names them."""
    folder = image_folder(tmp_path / "images")
    broken = [folder / name for name in (BROKEN, "train/cat/7.png")]
    for file in broken:
        file.write_bytes(b"broken")
    spec = spec_of(folder)
    queue, leave_out = Queue(cache.queue), replace(spec.data, leave_out_broken=True)
    job = queue.submit(replace(spec, data=leave_out), "run")
    serve(cache)
    progress = job_progress(queue, job)
    assert progress.state == "done", reason(progress)
    notes = [
        note for key in progress.outline.noted for note in store.Store(cache).read(key)["notes"]
    ]
    assert f"Images that cannot be read, left out: 2 ({BROKEN}, train/cat/7.png)." in notes
    for file in broken:
        file.unlink()
    other = submitted(cache, folder)
    assert other.outline.models == progress.outline.models
    dataset = next(row for row in other.rows if row.kind == "dataset")
    assert store.Store(cache).read(dataset.key)["train_images"] == 23


def test_other_images_of_equal_names_sizes_and_times_have_other_results(
    cache: Cache, tmp_path: Path
) -> None:
    folder = image_folder(tmp_path / "images")
    file = folder / BROKEN
    for value in (10, 200):
        Image.fromarray(np.full((40, 40, 3), value, np.uint8)).save(file)
        with file.open("ab") as stream:
            stream.write(bytes(500 - file.stat().st_size))
        os.utime(file, ns=(0, 10**18))
    first = submitted(cache, folder)
    same = submitted(cache, folder)
    Image.fromarray(np.full((40, 40, 3), 10, np.uint8)).save(file)
    with file.open("ab") as stream:
        stream.write(bytes(500 - file.stat().st_size))
    os.utime(file, ns=(0, 10**18))
    other = submitted(cache, folder)
    keys = [progress.outline.models[0].key for progress in (first, same, other)]
    assert keys[0] == keys[1] != keys[2]
    assert {progress.state for progress in (first, same, other)} == {"done"}


def test_an_inspection_of_other_images_is_not_relied_on_again(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system that shows no change, other images are refused once, not for ever."""
    monkeypatch.setattr(files, "_entry", lambda file, name: (name.encode(), 0.0))
    folder = image_folder(tmp_path / "images")
    whole = (folder / BROKEN).read_bytes()
    write_back(folder / BROKEN, whole[:-20] + bytes(20))
    for _ in range(2):
        assert "not a readable image" in reason(submitted(cache, folder))
    write_back(folder / BROKEN, whole)
    assert submitted(cache, folder).state == "done"
    write_back(folder / BROKEN, (folder / "test/cat/1.png").read_bytes())
    other_size = replace(spec_of(folder), data=DataSpec("images", str(folder), image_size=40))
    for expected in ("have changed since they were inspected. Run it again", ""):
        queue = Queue(cache.queue)
        job = queue.submit(other_size, "run")
        serve(cache)
        assert expected in reason(job_progress(queue, job))
    assert job_progress(queue, job).state == "done"


def test_images_that_change_all_the_time_are_refused(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the job would inspect them for ever."""
    count = itertools.count()
    monkeypatch.setattr(store, "fingerprint", lambda path: str(next(count)))
    progress = submitted(cache, image_folder(tmp_path / "images"))
    assert progress.state == "refused"
    assert "changed each time that they were inspected" in reason(progress)
    monkeypatch.undo()
    assert submitted(cache, tmp_path / "images").state == "done"

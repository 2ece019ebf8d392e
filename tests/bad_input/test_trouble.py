"""A full disk, a locked queue, a damaged stage, a dying worker: reported, and nothing is lost."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pruning_core.cli import progress
from pruning_core.cli.main import parser
from pruning_core.cli.options import spec_from
from pruning_core.common.paths import Cache
from pruning_core.engine import stage_training
from pruning_core.engine.data import decoding
from pruning_core.engine.training import checkpoint
from pruning_core.storage import database
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.job_record import job_id
from pruning_core.storage.jobs import Queue
from pruning_core.worker import start
from tests.helpers.refusals import ALL_IMAGES, contents, ended, image_folder, one_line, training
from tests.helpers.workers import TINY_OPTIONS


def test_a_full_disk_is_reported_and_the_same_command_continues(
    used: Cache,
    inline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The baseline is finished; the first pruned model has no space for its checkpoint."""
    before, trained = contents(used), training(used)
    options = [*TINY_OPTIONS, "--epochs", "2", "--amounts", "0.25", "--no-equal-budget"]
    options += ["--out", str(tmp_path)]
    command = ["compare", "--cache-dir", str(used.root), *options]

    def full(path: Path, state: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        code, _, error = ended(capfd, *command)
    assert code == 1
    assert f"The disk that holds {used.root} is full" in error
    assert "Traceback" not in error
    assert {name: contents(used).get(name) for name in before} == before
    assert not list(used.building.iterdir())
    assert ended(capfd, *command)[0] == 0
    assert (tmp_path / "pruning_comparison.csv").is_file()
    assert {key: training(used)[key] for key in trained} == trained


def test_a_training_that_diverges_is_reported_in_a_sentence(
    used: Cache,
    inline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    evaluate = stage_training.evaluate
    monkeypatch.setattr(
        stage_training,
        "evaluate",
        lambda *arguments: replace(evaluate(*arguments), loss=float("nan")),
    )
    code, _, error = ended(capfd, *usual(used, tmp_path), "--amounts", "0.15")
    assert code == 1
    assert error.startswith("The training diverged: ")
    assert "Traceback" not in error


def test_images_that_were_moved_after_a_failure_are_found(
    used: Cache,
    inline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The same content at another path is the same stage, which must use the new path."""

    def full(folder: Path, needed: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))

    def command(images: Path) -> list[str]:
        return [*usual(used, tmp_path / "out"), "--data", str(images), *ALL_IMAGES]

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "_check_disk_space", full)
        assert ended(capfd, *command(image_folder(tmp_path / "first")))[0] == 1
    (tmp_path / "first").rename(tmp_path / "second")
    code, _, error = ended(capfd, *command(tmp_path / "second"))
    assert (code, error) == (0, "")


def test_a_queue_that_cannot_be_written_is_reported(
    used: Cache,
    inline: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def full(*arguments: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(progress, "job_progress", full)
    code, _, error = ended(capfd, *usual(used, tmp_path))
    assert code == 1
    assert "cannot be used (database or disk is full)" in one_line(error)


def test_a_locked_queue_is_reported(
    used: Cache, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(database, "LOCK_SECONDS", 0.01)
    other = sqlite3.connect(used.queue, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    code, _, error = ended(capfd, "compare", "--cache-dir", str(used.root), "--detach")
    other.close()
    assert code == 1
    assert "database is locked" in one_line(error)


def test_a_queue_that_another_process_is_making_is_waited_for(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself does not wait while a new file is switched to WAL mode."""
    connect, calls = sqlite3.connect, []

    def busy(*arguments: Any, **options: Any) -> sqlite3.Connection:
        calls.append(arguments)
        if len(calls) < 3:
            raise sqlite3.OperationalError("database is locked")
        return connect(*arguments, **options)

    monkeypatch.setattr(database.sqlite3, "connect", busy)
    assert Queue(cache.queue).jobs() == []


def test_a_queue_that_is_no_database_is_reported(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Cache(tmp_path).queue.write_text("This is a letter. " * 100)
    code, _, error = ended(capfd, "jobs", "--cache-dir", str(tmp_path))
    assert code == 1
    assert "not a database" in one_line(error)


def test_a_worker_that_ends_each_time_is_given_up(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    started = []

    def broken(cache: Cache) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "raise SystemExit(1)"]))
        return started[-1]

    monkeypatch.setattr(start, "start_worker", broken)
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.0)
    code, _, error = ended(capfd, *usual(cache, tmp_path))
    assert code == 1
    assert str(cache.worker_log) in one_line(error)
    assert len(started) == start.MAX_STARTS


def usual(cache: Cache, out: Path) -> list[str]:
    """The comparison whose results the cache holds."""
    options = [*TINY_OPTIONS, "--amounts", "0.5", "--no-equal-budget", "--out", str(out)]
    return ["compare", "--cache-dir", str(cache.root), *options]


def job_of(command: list[str]) -> str:
    return job_id(spec_from(parser().parse_args(command)))


@pytest.mark.parametrize("kind", ["inspect_dataset", "inspect_model", "pruned"])
def test_a_damaged_stage_is_computed_again(
    used: Cache, inline: None, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    trained, command = training(used), usual(used, tmp_path)
    for row in Queue(used.queue).stages_of(job_of(command)):
        if row.kind == kind:
            (used.stage(row.key) / "manifest.json").write_text('{"seal": "broken"}')
    code, out, error = ended(capfd, *command)
    assert (code, error) == (0, "")
    assert f"Wrote {tmp_path / 'pruning_comparison.png'}" in out
    assert (tmp_path / "pruning_comparison.csv").read_text().count("\n") == 5
    if kind != "pruned":
        assert {key: training(used)[key] for key in trained} == trained


def test_a_result_that_was_damaged_meanwhile_is_reported(
    used: Cache, inline: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = usual(used, tmp_path)
    assert ended(capfd, *command)[0] == 0
    job = job_of(command)
    model = job_progress(Queue(used.queue), job).outline.models[-1]
    (used.stage(model.key) / "manifest.json").write_text("{}")
    code, out, error = ended(capfd, "show", job, "--cache-dir", str(used.root))
    assert code == 1
    assert "SUMMARY" not in out
    assert "1 result is damaged" in one_line(error)
    assert ended(capfd, *command)[0] == 0


def test_files_that_cannot_be_written_do_not_lose_the_run(
    used: Cache, inline: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pruning_comparison.csv").mkdir()
    code, out, error = ended(capfd, *usual(used, tmp_path))
    assert code == 1
    assert "SUMMARY" in out
    assert one_line(error).startswith(f"--out: {tmp_path / 'pruning_comparison.csv'} cannot")
    assert "python -m pruning_core show" in error

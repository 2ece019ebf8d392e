"""Fingerprints: whether the user's images may have changed, without reading them."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pruning_core.common import files
from pruning_core.common.files import fingerprint


def zip_of(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a/1.png"), content)
    return path


def folder_of(path: Path, content: bytes) -> Path:
    path.mkdir(exist_ok=True)
    (path / "1.png").write_bytes(content)
    return path


@pytest.mark.parametrize("make", [zip_of, folder_of])
@pytest.mark.parametrize("replaced", [False, True])
def test_other_content_of_equal_name_size_and_time(
    tmp_path: Path, make: Callable[[Path, bytes], Path], replaced: bool
) -> None:
    """Written in place, or moved over the old file, with the old time restored."""
    path = make(tmp_path / "set", b"one")
    file = path / "1.png" if path.is_dir() else path
    old, before = file.stat(), fingerprint(str(path))
    assert fingerprint(str(path)) == before
    other = make(tmp_path / "other", b"two")
    changed = other / "1.png" if other.is_dir() else other
    if replaced:
        os.utime(changed, ns=(old.st_atime_ns, old.st_mtime_ns))
        os.replace(changed, file)
    else:
        file.write_bytes(changed.read_bytes())
        os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert file.stat().st_size == old.st_size
    assert file.stat().st_mtime_ns == old.st_mtime_ns
    assert fingerprint(str(path)) != before


def test_the_table_of_contents_of_a_zip_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without inodes and times of change, the checksums differ."""
    monkeypatch.setattr(files, "_entry", lambda file, name: (b"the same", 0.0))
    first, second = (zip_of(tmp_path / name, name.encode()) for name in ("1.zip", "2.zip"))
    assert first.stat().st_size == second.stat().st_size
    assert fingerprint(str(first)) != fingerprint(str(second))
    shutil.copy(first, second)
    assert fingerprint(str(first)) == fingerprint(str(second))


def test_a_new_change_is_listed_again_after_a_tick_of_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second change within the tick would leave all times as they are."""
    path = folder_of(tmp_path / "set", b"one")
    first, pauses = fingerprint(str(path)), list[float]()

    def change(seconds: float) -> None:
        pauses.append(seconds)
        folder_of(path, b"another")

    changed = (path / "1.png").stat().st_ctime
    moments = [changed + 0.01, changed + 10]
    monkeypatch.setattr(files.time, "time", lambda: moments.pop(0))
    monkeypatch.setattr(files.time, "sleep", change)
    assert fingerprint(str(path)) != first
    assert pauses == [pytest.approx(files.CLOCK_TICK_SECONDS - 0.01)]


def test_hidden_files_do_not_count(tmp_path: Path) -> None:
    """Programs write them all the time, and no image is among them."""
    path = folder_of(tmp_path / "set", b"one")
    before = fingerprint(str(path))
    for name in (".cache/queue.sqlite", "Thumbs.db", "@eaDir/1.png"):
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_bytes(b"x")
    assert fingerprint(str(path)) == before
    (path / "2.png").write_bytes(b"x")
    assert fingerprint(str(path)) != before

"""The store holds a complete stage, or none."""

from __future__ import annotations

import errno
import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest

from pruning_core.planning.stage import Missing
from pruning_core.storage.store import MANIFEST, Store

KEY = "ab" * 32


def publish(store: Store, result: object = 7, content: bytes = b"weights") -> None:
    with store.building(KEY) as folder:
        (folder / "model").write_bytes(content)
        store.publish(KEY, folder, kind="pruned", parent="p", settings={"a": 1}, result=result)


def test_a_published_stage_is_read(store: Store) -> None:
    publish(store, {"accuracy": 0.5})
    assert store.exists(KEY)
    assert store.read(KEY) == {"accuracy": 0.5}
    assert store.settings(KEY) == {"kind": "pruned", "parent": "p", "settings": {"a": 1}}
    assert store.file(KEY, "model").read_bytes() == b"weights"
    assert store.finished() == [KEY]
    assert store.verify(KEY)


def test_an_unpublished_stage_is_missing(store: Store) -> None:
    with store.building(KEY) as folder:
        (folder / "model").write_bytes(b"half")
    assert not store.exists(KEY)
    assert not list(store.cache.building.iterdir())
    with pytest.raises(Missing):
        store.read(KEY)


def test_the_second_publisher_changes_nothing(store: Store) -> None:
    publish(store, 1)
    publish(store, 2)
    assert store.read(KEY) == 1


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"seal": 1}', b"\xff\xfe\x00"])
def test_a_damaged_manifest_is_set_aside(store: Store, damage: bytes) -> None:
    publish(store)
    (store.cache.stage(KEY) / MANIFEST).write_bytes(damage)
    with pytest.raises(Missing):
        store.read(KEY)
    assert not store.exists(KEY)
    assert len(list(store.cache.damaged.iterdir())) == 1


def test_a_changed_figure_is_noticed(store: Store) -> None:
    publish(store, {"accuracy": 0.5})
    path = store.cache.stage(KEY) / MANIFEST
    body = json.loads(path.read_text())
    body["result"]["accuracy"] = 0.9
    path.write_text(json.dumps(body))
    with pytest.raises(Missing):
        store.read(KEY)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(bytes(content))


def test_a_damaged_file_is_set_aside(store: Store) -> None:
    publish(store)
    flip(store.cache.stage(KEY) / "model")
    with pytest.raises(Missing):
        store.file(KEY, "model")
    assert not store.exists(KEY)


def test_a_manifest_that_is_no_file_is_damage_and_not_waited_for(store: Store) -> None:
    """A pipe would never end."""
    publish(store)
    manifest = store.cache.stage(KEY) / MANIFEST
    manifest.unlink()
    os.mkfifo(manifest)
    assert not store.intact(KEY)
    assert list(store.cache.damaged.iterdir())


def test_verify_finds_damage(store: Store) -> None:
    publish(store)
    flip(store.cache.stage(KEY) / "model")
    assert not store.verify(KEY)


def test_an_incomplete_folder_does_not_prevent_publishing(store: Store) -> None:
    target = store.cache.stage(KEY)
    target.mkdir(parents=True)
    (target / "model").write_bytes(b"half")
    assert not store.exists(KEY)
    publish(store, 3)
    assert store.read(KEY) == 3


def test_a_removed_stage_is_missing(store: Store) -> None:
    publish(store)
    store.remove(KEY)
    store.remove(KEY)
    assert not store.exists(KEY)


def test_the_stamp_changes_with_the_stages(store: Store) -> None:
    def stamp() -> tuple[int, ...] | None:
        """The stamp, when the last change is some time ago."""
        assert store.stamp() is None or not list(store.cache.stages.iterdir())
        for place, folder in enumerate(store.cache.stages.iterdir()):
            os.utime(folder, ns=(0, folder.stat().st_mtime_ns - 10**10 - place))
        return store.stamp()

    before = stamp()
    publish(store)
    with_stage = stamp()
    assert with_stage == store.stamp()
    store.remove(KEY)
    assert len({before, with_stage, stamp()}) == 3


def test_a_folder_is_verified_before_its_first_use(store: Store) -> None:
    """Large files are memory-mapped, so damage must be found before."""
    publish(store)
    flip(store.cache.stage(KEY) / "model")
    with pytest.raises(Missing):
        store.folder(KEY)
    assert not store.exists(KEY)


def test_damage_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    publish(store)
    flip(store.cache.stage(KEY) / "model")
    with caplog.at_level(logging.WARNING):
        assert not store.verify(KEY)
    assert KEY[:12] in caplog.text
    assert str(store.cache.damaged) in caplog.text


@pytest.mark.parametrize("name", [MANIFEST, "model"])
def test_an_unreadable_file_is_set_aside(
    store: Store, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    publish(store)
    opened = Path.open

    def broken(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return opened(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", broken)
        with pytest.raises(Missing):
            store.file(KEY, "model")
    assert not store.exists(KEY)
    assert len(list(store.cache.damaged.iterdir())) == 1


def test_too_many_open_files_is_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(store)

    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", busy)
        with pytest.raises(OSError, match="open files"):
            store.read(KEY)
    assert store.verify(KEY)


def test_only_the_unfinished_files_of_a_dead_process_are_deleted(store: Store) -> None:
    with store.building(KEY) as living:
        dead = living.with_name(f"{KEY}.999999.half")
        dead.mkdir()
        part = store.cache.checkpoint(KEY).with_suffix(".999999.part")
        part.write_bytes(b"half")
        store.discard(KEY, 999999)
        assert living.is_dir()
        assert not dead.exists()
        assert not part.exists()

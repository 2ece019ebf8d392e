"""A stage is in the store whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pruning_core.store import MANIFEST, Missing, Store

KEY = "ab" * 32


def publish(store: Store, result: object = 7, content: bytes = b"weights") -> None:
    with store.building(KEY) as folder:
        (folder / "model").write_bytes(content)
        store.publish(KEY, folder, kind="level", parent="p", settings={"a": 1}, result=result)


def test_what_is_published_is_read(store: Store) -> None:
    publish(store, {"accuracy": 0.5})
    assert store.exists(KEY)
    assert store.read(KEY) == {"accuracy": 0.5}
    assert store.settings(KEY) == {"kind": "level", "parent": "p", "settings": {"a": 1}}
    assert store.file(KEY, "model").read_bytes() == b"weights"
    assert store.finished() == [KEY]
    assert store.verify(KEY)


def test_what_was_not_published_is_missing(store: Store) -> None:
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


def test_verify_finds_damage(store: Store) -> None:
    publish(store)
    flip(store.cache.stage(KEY) / "model")
    assert not store.verify(KEY)


def test_a_half_written_folder_does_not_stand_in_the_way(store: Store) -> None:
    target = store.cache.stage(KEY)
    target.mkdir(parents=True)
    (target / "model").write_bytes(b"half")
    assert not store.exists(KEY)
    publish(store, 3)
    assert store.read(KEY) == 3


def test_removed_is_missing(store: Store) -> None:
    publish(store)
    store.remove(KEY)
    store.remove(KEY)
    assert not store.exists(KEY)


def test_a_folder_is_digested_before_its_first_use(store: Store) -> None:
    """Large files are mapped, not read: damage must be noticed before that."""
    publish(store)
    flip(store.cache.stage(KEY) / "model")
    with pytest.raises(Missing):
        store.folder(KEY)
    assert not store.exists(KEY)

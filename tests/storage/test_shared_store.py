"""Stages travel between caches as archives, through a folder or an S3 server."""

from __future__ import annotations

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.stage import Missing, Stage
from pruning_core.storage import shared_store
from pruning_core.storage.archive import pack, unpack
from pruning_core.storage.shared_store import SharedStore, SharedStoreError
from pruning_core.storage.store import MANIFEST, Damaged, Store
from tests.helpers.inspections import DATA

STAGE = Stage("inspect_dataset", "", {"images": 3, "share": 0.1})
BUCKET = "team"


def new_store(folder: Path) -> Store:
    cache = Cache(folder)
    cache.prepare()
    return Store(cache)


def publish(store: Store, content: bytes = b"weights") -> None:
    with store.building(STAGE.key) as folder:
        (folder / "model").write_bytes(content)
        (folder / "masks").write_bytes(b"")
        store.publish(
            STAGE.key, folder, kind=STAGE.kind, parent="", settings=STAGE.settings, result=DATA
        )


@pytest.fixture
def sender(tmp_path: Path) -> Store:
    """A cache that has the stage."""
    store = new_store(tmp_path / "sender")
    publish(store)
    return store


@pytest.fixture
def receiver(tmp_path: Path) -> Store:
    """A cache that lacks it."""
    return new_store(tmp_path / "receiver")


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    """The address of an S3 server on this machine, with an empty bucket."""
    server_module = pytest.importorskip("moto.server")
    s3fs = pytest.importorskip("s3fs")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem().mkdir(BUCKET)
        yield f"s3://{BUCKET}"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty shared store of each kind."""
    if request.param == "folder":
        return str(tmp_path / "shared")
    return f"{request.getfixturevalue('s3_server')}/{tmp_path.name}"


def test_one_cache_fills_a_store_and_another_reads_it(
    address: str, sender: Store, receiver: Store
) -> None:
    assert SharedStore(address).keys() == set()
    assert not SharedStore(address).fetch(receiver, STAGE.key)
    assert SharedStore(address).put(sender, STAGE.key)
    assert SharedStore(address).keys() == {STAGE.key}
    assert SharedStore(address).fetch(receiver, STAGE.key)
    assert receiver.verify(STAGE.key)
    folders = [store.cache.stage(STAGE.key) for store in (sender, receiver)]
    files = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert files[0] == files[1]
    assert not list(receiver.cache.building.iterdir())


def test_the_first_archive_of_a_stage_stays(
    address: str, sender: Store, receiver: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where both writers saw that there was none."""
    other = new_store(tmp_path / "other")
    publish(other, b"other bits")
    monkeypatch.setattr(Path, "exists", lambda path: False)
    assert SharedStore(address).put(sender, STAGE.key)
    assert not SharedStore(address).put(other, STAGE.key)
    monkeypatch.undo()
    assert SharedStore(address).fetch(receiver, STAGE.key)
    assert receiver.content(STAGE.key, "model") == b"weights"


def test_a_damaged_archive_is_set_aside_and_replaced(
    address: str, sender: Store, receiver: Store
) -> None:
    shared = SharedStore(address)
    shared.put(sender, STAGE.key)
    name = shared._name(STAGE.key)
    content = shared.files.cat_file(name)
    shared.files.pipe_file(name, content.replace(b"weights", b"Weights"))
    assert not SharedStore(address).fetch(receiver, STAGE.key)
    assert not receiver.exists(STAGE.key)
    assert SharedStore(address).keys() == set()
    assert SharedStore(address).put(sender, STAGE.key)
    assert SharedStore(address).fetch(receiver, STAGE.key)


def test_a_folder_without_hard_links_works(
    sender: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(path: Path, target: Path) -> None:
        raise OSError(shared_store.WITHOUT_LINKS[0], "no links here")

    monkeypatch.setattr(shared_store.os, "link", no_links)
    shared = SharedStore(str(tmp_path / "shared"))
    assert shared.put(sender, STAGE.key)
    assert not shared.put(sender, STAGE.key)
    assert [path.suffix for path in (tmp_path / "shared/archives").glob("*/*")] == [".zip"]


def test_a_server_that_is_gone_and_a_missing_package_are_errors_in_sentences(
    sender: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs").S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SharedStoreError, match=r"s3://team cannot be listed \(.*connect"):
        SharedStore("s3://team").keys()
    with pytest.raises(SharedStoreError, match="cannot be opened"):
        SharedStore("nonsense://team")
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SharedStoreError, match="cannot be written"):
        SharedStore(str(tmp_path / "file")).put(sender, STAGE.key)
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(SharedStoreError, match="pip install gcsfs"):
        SharedStore("gs://team")


def changed(
    archive: Path,
    change: Callable[[dict[str, bytes]], object],
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """A copy of an archive with other entries."""
    with zipfile.ZipFile(archive) as old:
        entries = {entry.filename: old.read(entry) for entry in old.infolist()}
    change(entries)
    path = archive.with_name("changed")
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, content in entries.items():
            new.writestr(name, content)
    return path


def other_result(entries: dict[str, bytes]) -> None:
    manifest = json.loads(entries[MANIFEST])
    manifest["result"]["classes"] = []
    entries[MANIFEST] = json.dumps(manifest).encode()


CHANGES: dict[str, Callable[[dict[str, bytes]], object]] = {
    "a further file": lambda entries: entries.update(extra=b"x"),
    "a file outside of the folder": lambda entries: entries.update({"../outside": b"x"}),
    "an absolute path": lambda entries: entries.update({"/tmp/outside": b"x"}),
    "a folder": lambda entries: entries.update({"folder/file": b"x"}),
    "a file less": lambda entries: entries.pop("masks"),
    "other content": lambda entries: entries.update(model=b"changed"),
    "no manifest": lambda entries: entries.pop(MANIFEST),
    "another result": other_result,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_archive_is_refused_whole(
    change: str, sender: Store, receiver: Store, tmp_path: Path
) -> None:
    pack(sender, STAGE.key, tmp_path / "archive")
    with pytest.raises(Damaged):
        unpack(receiver, STAGE.key, changed(tmp_path / "archive", CHANGES[change]))
    assert not receiver.exists(STAGE.key)
    assert not (receiver.cache.building / "outside").exists()
    assert not list(receiver.cache.building.iterdir())


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x00" * 1000])
def test_a_file_that_is_no_archive_is_refused(
    content: bytes, receiver: Store, tmp_path: Path
) -> None:
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(Damaged, match="cannot be read"):
        unpack(receiver, STAGE.key, tmp_path / "archive")


def test_a_compressed_entry_is_refused_before_it_is_unpacked(
    sender: Store, receiver: Store, tmp_path: Path
) -> None:
    pack(sender, STAGE.key, tmp_path / "archive")
    bomb = changed(
        tmp_path / "archive",
        lambda entries: entries.update(model=bytes(10**7)),
        compression=zipfile.ZIP_DEFLATED,
    )
    with pytest.raises(Damaged, match="compressed"):
        unpack(receiver, STAGE.key, bomb)


def test_the_archive_of_another_stage_is_refused(
    sender: Store, receiver: Store, tmp_path: Path
) -> None:
    pack(sender, STAGE.key, tmp_path / "archive")
    with pytest.raises(Damaged, match="not those of stage"):
        unpack(receiver, "ab" * 32, tmp_path / "archive")


def test_archives_of_the_same_stage_have_the_same_bytes(
    sender: Store, receiver: Store, tmp_path: Path
) -> None:
    pack(sender, STAGE.key, tmp_path / "first")
    unpack(receiver, STAGE.key, tmp_path / "first")
    pack(receiver, STAGE.key, tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_a_damaged_stage_is_not_packed(sender: Store, tmp_path: Path) -> None:
    (sender.cache.stage(STAGE.key) / "model").write_bytes(b"changed")
    with pytest.raises(Missing):
        pack(sender, STAGE.key, tmp_path / "archive")

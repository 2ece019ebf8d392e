"""Published data sets, downloaded from a server on this machine."""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import pickle
import shutil
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision import datasets

from pruning_core.common.errors import SpecError
from pruning_core.engine.data import torchvision_sets
from pruning_core.engine.data.decoding import decode_dataset
from pruning_core.engine.data.inspection import inspect_dataset
from pruning_core.planning.inspection_types import DatasetSettings, InspectDatasetSettings
from pruning_core.planning.stage_types import stored

Serve = Callable[[Path], str]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder and the address that serves it."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a server that does not answer."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}/"


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


def make_cifar(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive of 20 training and 10 test images in CIFAR-10's format."""
    rng = np.random.default_rng(0)
    files: dict[str, dict[str, Any]] = {"batches.meta": {"label_names": ["cat", "dog"]}}
    for name, count in (("data_batch_1", 12), ("data_batch_2", 8), ("test_batch", 10)):
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        files[name] = {"data": pixels, "labels": [i % 2 for i in range(count)]}
    packed = {name: pickle.dumps(value) for name, value in files.items()}
    path = folder / "small.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in packed.items():
            info = tarfile.TarInfo(f"small-batches/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    sums = {name: md5(data) for name, data in packed.items()}
    parts = {
        "base_folder": "small-batches",
        "url": address + path.name,
        "filename": path.name,
        "tgz_md5": md5(path.read_bytes()),
        "train_list": [[name, sums[name]] for name in ("data_batch_1", "data_batch_2")],
        "test_list": [["test_batch", sums["test_batch"]]],
        "meta": {"filename": "batches.meta", "key": "label_names", "md5": sums["batches.meta"]},
    }
    for name, value in parts.items():
        monkeypatch.setattr(datasets.CIFAR10, name, value)
    return path


def make_mnist(folder: Path, address: str, monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    rng = np.random.default_rng(1)
    resources, sums = [], {}
    for name, count in (("train", 30), ("t10k", 10)):
        for what, shape in (("images-idx3", (count, 28, 28)), ("labels-idx1", (count,))):
            values = rng.integers(0, 256 if len(shape) > 1 else 10, shape, dtype=np.uint8)
            head = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
            sums[f"{name}-{what}-ubyte"] = md5(head + values.tobytes())
            data = gzip.compress(head + values.tobytes())
            (folder / f"{name}-{what}-ubyte.gz").write_bytes(data)
            resources.append((f"{name}-{what}-ubyte.gz", md5(data)))
    monkeypatch.setattr(kind, "resources", resources)
    monkeypatch.setattr(torchvision_sets, "MNIST_MD5", sums)
    monkeypatch.setattr(torchvision_sets, "FASHION_MNIST_MD5", sums)
    monkeypatch.setattr(kind, "mirrors", [address + "missing/", address])


def inspected(
    name: str, downloads: Path, reports: list[tuple[float, str]] | None = None
) -> dict[str, Any]:
    reports = [] if reports is None else reports
    settings = InspectDatasetSettings(name, 0)
    return stored(
        inspect_dataset(settings, {}, downloads, lambda f, text: reports.append((f, text)))
    )


def test_cifar_is_downloaded_once(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_cifar(*site, monkeypatch)
    reports: list[tuple[float, str]] = []
    facts = inspected("cifar10", tmp_path / "downloads", reports)
    assert (facts["classes"], facts["split"], facts["flip"]) == (["cat", "dog"], "given", True)
    assert (facts["train_counts"], facts["test_counts"]) == ([10, 10], [5, 5])
    assert "Downloading CIFAR-10, 0 of 0 MB" in [text for _, text in reports]
    assert [f for f, _ in reports] == sorted(f for f, _ in reports)
    assert not list((tmp_path / "downloads").rglob("*.part"))
    archive.unlink()
    assert inspected("cifar10", tmp_path / "downloads") == facts


@pytest.mark.parametrize("unpacked", [False, True])
def test_cifar_downloaded_manually_needs_no_network(
    nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unpacked: bool
) -> None:
    root = tmp_path / "downloads" / "cifar10"
    root.mkdir(parents=True)
    archive = make_cifar(root, nowhere, monkeypatch)
    if unpacked:
        shutil.unpack_archive(archive, root, filter="data")
        archive.unlink()
    assert sum(inspected("cifar10", tmp_path / "downloads")["train_counts"]) == 20


def test_a_half_unpacked_folder_is_unpacked_again(
    nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "downloads" / "cifar10"
    (root / "small-batches").mkdir(parents=True)
    (root / "small-batches" / "data_batch_1").write_bytes(b"half")
    make_cifar(root, nowhere, monkeypatch)
    assert sum(inspected("cifar10", tmp_path / "downloads")["train_counts"]) == 20


def test_decoded_cifar_images_are_the_published_bytes(
    nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "downloads" / "cifar10"
    root.mkdir(parents=True)
    make_cifar(root, nowhere, monkeypatch)
    digest = inspected("cifar10", tmp_path / "downloads")["digest"]
    out = tmp_path / "out"
    out.mkdir()
    settings = DatasetSettings(digest, image_size=32, train_size=0, test_size=4, split_seed=0)
    decode_dataset(settings, {"name": "cifar10"}, out, tmp_path / "downloads", lambda f, text: None)
    images = np.load(out / "train_images.npy")
    assert (images == datasets.CIFAR10(str(root)).data).all()
    assert np.load(out / "test_labels.npy").tolist().count(0) == 2


@pytest.mark.parametrize(
    ("name", "kind", "flip"),
    [("mnist", datasets.MNIST, False), ("fashion_mnist", datasets.FashionMNIST, True)],
)
def test_mnist_comes_from_the_mirror_that_has_it(
    site: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: Any,
    flip: bool,
) -> None:
    make_mnist(*site, monkeypatch, kind)
    reports: list[tuple[float, str]] = []
    facts = inspected(name, tmp_path / "downloads", reports)
    assert (sum(facts["train_counts"]), sum(facts["test_counts"])) == (30, 10)
    assert (facts["flip"], facts["classes"]) == (flip, list(kind.classes))
    assert any("(file 4 of 4)" in text for _, text in reports)
    assert [fraction for fraction, _ in reports] == pytest.approx([0.225, 0.45, 0.675, 0.9, 1.0])
    raw = tmp_path / "downloads" / name / kind.__name__ / "raw"
    monkeypatch.setattr(kind, "mirrors", [])
    for file in raw.glob("*.gz"):
        file.unlink()
    assert inspected(name, tmp_path / "downloads") == facts, "unpacked files are enough"


@pytest.mark.parametrize("file", ["train-images-idx3", "train-labels-idx1", "t10k-images-idx3"])
@pytest.mark.parametrize("change", ["a value", "fewer"])
def test_other_content_of_images_and_labels_is_refused(
    nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, change: str
) -> None:
    """Also 10 labels for 30 images, which torchvision accepts."""
    raw = tmp_path / "downloads" / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    make_mnist(raw, nowhere, monkeypatch, datasets.MNIST)
    inspected("mnist", tmp_path / "downloads")
    path = raw / f"{file}-ubyte"
    data, count = bytearray(path.read_bytes()), int.from_bytes(path.read_bytes()[4:8], "big")
    if change == "fewer":
        head = 4 * (1 + data[3])
        data = data[: head + (len(data) - head) // count * (count - 5)]
        count -= 5
        data[4:8] = count.to_bytes(4, "big")
    else:
        data[-1] ^= 1
    path.write_bytes(data)
    noun = "labels" if "labels" in file else "images"
    with pytest.raises(SpecError, match=f"{file}-ubyte holds {count} {noun}, which are not the"):
        inspected("mnist", tmp_path / "downloads")


def test_files_that_were_packed_in_another_way_are_read(
    nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Linux distribution packs them: other bytes, the same images."""
    raw, root = tmp_path / "fashion_mnist/FashionMNIST/raw", tmp_path / "cifar10"
    raw.mkdir(parents=True)
    root.mkdir()
    make_mnist(raw, nowhere, monkeypatch, datasets.FashionMNIST)
    for file in raw.iterdir():
        file.write_bytes(
            gzip.compress(gzip.decompress(file.read_bytes()), compresslevel=1, mtime=7)
        )
    assert sum(inspected("fashion_mnist", tmp_path)["train_counts"]) == 30
    archive = make_cifar(root, nowhere, monkeypatch)
    archive.write_bytes(gzip.compress(gzip.decompress(archive.read_bytes()), 1, mtime=7))
    assert sum(inspected("cifar10", tmp_path)["train_counts"]) == 20


def test_packed_mnist_files_downloaded_manually_are_enough(
    nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "downloads" / "mnist" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    make_mnist(raw, nowhere, monkeypatch, datasets.MNIST)
    assert sum(inspected("mnist", tmp_path / "downloads")["train_counts"]) == 30
    unpacked = raw / "train-images-idx3-ubyte"
    content = unpacked.read_bytes()
    for other in (b"", b"\0\0\x08\x03 cut short", content[:-1], b"\xff" * 100):
        unpacked.write_bytes(other)
        with pytest.raises(SpecError, match="idx3-ubyte is empty, cut short or no file of MNIST"):
            inspected("mnist", tmp_path / "downloads")
    unpacked.unlink()
    (raw / "train-images-idx3-ubyte.gz").write_bytes(b"<html>")
    with pytest.raises(SpecError, match=r"idx3-ubyte.gz cannot be unpacked, .*; delete it"):
        inspected("mnist", tmp_path / "downloads")
    (raw / "train-images.idx3-ubyte").write_bytes(content)
    assert sum(inspected("mnist", tmp_path / "downloads")["train_counts"]) == 30


def test_without_network_the_message_tells_what_to_do(
    nowhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.CIFAR10, "url", nowhere + "cifar.tar.gz")
    monkeypatch.setattr(datasets.MNIST, "mirrors", [nowhere])
    for name, title, files, folder in (
        ("cifar10", "CIFAR-10", "cifar-10-python.tar.gz", "cifar10"),
        ("mnist", "MNIST", "t10k-labels-idx1-ubyte.gz", "mnist/MNIST/raw"),
    ):
        with pytest.raises(SpecError) as caught:
            inspected(name, tmp_path)
        assert caught.value.field == "data.name"
        assert f"{title} could not be downloaded" in caught.value.message
        assert files in caught.value.message
        assert f"into {tmp_path / folder} yourself" in caught.value.message
        assert "choose digits" in caught.value.message
        assert (tmp_path / folder).is_dir()


def test_a_file_with_another_md5_is_refused(
    site: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = make_cifar(*site, monkeypatch)
    archive.write_bytes(archive.read_bytes() + b"!")
    with pytest.raises(
        SpecError, match=r"could not be downloaded .* MD5 sum of the download differs"
    ):
        inspected("cifar10", tmp_path)
    assert not list((tmp_path / "cifar10").iterdir()), "a damaged download is deleted"
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", "0" * 32]])
    shutil.copy(archive, tmp_path / "cifar10")
    message = r"test_batch in small.tar.gz is not the published file; delete it"
    with pytest.raises(SpecError, match=message):
        inspected("cifar10", tmp_path)
    assert not (tmp_path / "cifar10" / "small-batches" / "test_batch").exists()

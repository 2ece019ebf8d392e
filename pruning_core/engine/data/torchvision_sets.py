"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, read by torchvision's classes.

URLs and MD5 sums of downloads are those of the classes; files are in `downloads/<name>`. Files
that a user put there may be packed in another way: what counts is their content.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from torchvision import datasets

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.dataset import (
    OpenDataset,
    Progress,
    array_digest,
    array_image,
    array_reader,
    numbered,
    rescaled,
)
from pruning_core.engine.data.download import DownloadError, download, has_md5
from pruning_core.methods.datasets import DATASETS

# What torchvision's readers raise on damaged files.
_BROKEN = (
    RuntimeError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    tarfile.TarError,
)


# Images, uint8 (N, H, W) or (N, H, W, 3), and labels (N,).
Arrays = tuple[np.ndarray, np.ndarray]
MOST_BYTES = 256 * 2**20
# Bytes of a value by its type in the header of a file of MNIST.
IDX_BYTES = {0x08: 1, 0x09: 1, 0x0B: 2, 0x0C: 4, 0x0D: 4, 0x0E: 8}
# The MD5 sums of the unpacked files, which hold nothing but the shape and the values.
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
FASHION_MNIST_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


@dataclass(frozen=True)
class PublishedDataset:
    """A published data set, read by the torchvision class `dataset`.

    `fetch(dataset, root, title, progress)` downloads it. `manual(dataset, root)` returns the
    folder and the files for a manual download. `flip` is true where a mirrored image keeps its
    class. `check(arrays)` compares the decoded training and test images with the published
    ones, and raises `ValueError` for others.
    """

    dataset: Any
    fetch: Callable[[Any, Path, str, Progress], None]
    manual: Callable[[Any, Path], tuple[Path, str]]
    flip: bool
    check: Callable[[Iterable[Arrays]], None] | None = None


@contextmanager
def open_published(
    name: str, published: PublishedDataset, downloads: Path, progress: Progress
) -> Iterator[OpenDataset]:
    """The data set, downloaded if necessary. Raises `SpecError` where that fails."""
    title, root = DATASETS[name].title, downloads / name
    try:
        published.fetch(published.dataset, root, title, rescaled(progress, 0, 0.9))
        train, test = (
            published.dataset(str(root), train=is_train, download=False)
            for is_train in (True, False)
        )
        arrays = [_arrays(dataset) for dataset in (train, test)]
        if published.check:
            published.check(arrays)
    except DownloadError as error:
        raise _error(title, published, root, "could not be downloaded ({error})", error) from None
    except _BROKEN as error:
        problem = "could not be prepared in {root} ({error})"
        raise _error(title, published, root, problem, error) from None
    classes = tuple(train.classes)
    subsets = {"train": arrays[0][0], "test": arrays[1][0]}
    yield OpenDataset(
        field="data.name",
        location=title,
        read=array_reader(array_digest(classes, *arrays[0], *arrays[1]), subsets),
        image=array_image(subsets),
        classes=classes,
        subsets={"train": numbered(arrays[0][1]), "test": numbered(arrays[1][1])},
        split="given",
        flip=published.flip,
    )


def _error(
    title: str, published: PublishedDataset, root: Path, problem: str, error: Exception
) -> SpecError:
    folder, files = published.manual(published.dataset, root)
    return SpecError(
        "data.name",
        "{title} " + problem + ". Put {files} into {folder} yourself, or choose digits, which "
        "needs no download.",
        title=title,
        root=root,
        error=error,
        files=files,
        folder=folder,
    )


def _arrays(dataset: Any) -> Arrays:
    """Images, uint8 (N, H, W) or (N, H, W, 3), and labels (N,)."""
    images = np.ascontiguousarray(np.asarray(dataset.data))
    return images, np.asarray(dataset.targets, dtype=np.int64)


def _fetch_cifar(dataset: Any, root: Path, title: str, progress: Progress) -> None:
    """Download and unpack. The files are pickles, so only published ones may be read."""
    unpacked = root / dataset.base_folder
    files = [*dataset.train_list, *dataset.test_list]
    files.append((dataset.meta["filename"], dataset.meta["md5"]))
    if all(has_md5(unpacked / name, md5) for name, md5 in files):
        return
    archive = root / dataset.filename
    _ensure_file(archive, [dataset.url], dataset.tgz_md5, title, progress)
    # Unpacked elsewhere and moved file by file, since another process may read the same files.
    with tempfile.TemporaryDirectory(dir=root) as folder, _opened(archive) as packed:
        for name, md5 in files:
            file = Path(folder, name)
            with _member(packed, f"{dataset.base_folder}/{name}") as source, file.open("wb") as out:
                _copy(source, out, name)
            if not has_md5(file, md5):
                raise ValueError(f"{name} in {archive.name} is not the published file; delete it")
            unpacked.mkdir(exist_ok=True)
            os.replace(file, unpacked / name)


def _opened(archive: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(archive)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ValueError(f"{archive.name} is no whole tar archive; delete it") from error


def _member(packed: tarfile.TarFile, name: str) -> IO[bytes]:
    """A regular file in an archive. Raises `ValueError`."""
    try:
        stream = packed.extractfile(name)
    except KeyError:
        stream = None
    if stream is None:
        raise ValueError(f"{name} is missing in the archive; delete it")
    return stream


def _fetch_mnist(dataset: Any, root: Path, title: str, progress: Progress) -> None:
    raw = _mnist_folder(dataset, root)
    count = len(dataset.resources)
    for done, (name, md5) in enumerate(dataset.resources):
        packed, unpacked = raw / name, raw / Path(name).stem
        copy = raw / unpacked.name.replace("-idx", ".idx")
        if not unpacked.is_file() and copy.is_file():
            _publish(copy, unpacked, Path.open)
        elif not unpacked.is_file():
            urls = [f"{mirror}{name}" for mirror in dataset.mirrors]
            file_progress = rescaled(progress, done / count, (done + 1) / count)
            file_title = f"{title} (file {done + 1} of {count})"
            _ensure_file(packed, urls, md5, file_title, file_progress)
            _publish(packed, unpacked, gzip.open)
        if not _is_idx(unpacked):
            raise ValueError(f"{unpacked.name} is empty, cut short or no file of MNIST; delete it")


def _is_idx(file: Path) -> bool:
    """Whether a file is as long as the header of its format (IDX) says."""
    with file.open("rb") as stream:
        head = stream.read(4)
        if len(head) < 4 or head[:2] != bytes(2) or head[2] not in IDX_BYTES:
            return False
        sizes = stream.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        return False
    values = math.prod(np.frombuffer(sizes, ">u4").tolist()) * IDX_BYTES[head[2]]
    return file.stat().st_size == 4 + len(sizes) + values


def _ensure_file(file: Path, urls: list[str], md5: str, title: str, progress: Progress) -> None:
    """Download a file unless it exists. Raises `DownloadError`.

    A file that exists may be packed in another way: its content is checked after unpacking.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        download(urls, file, md5, title, progress)


def _publish(packed: Path, target: Path, open_file: Callable[[Path, str], Any]) -> None:
    """Write what `open_file` reads of a file to `target`, as a whole or not at all."""
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as out, open_file(packed, "rb") as source:
            _copy(cast(IO[bytes], source), out, target.name)
        os.replace(name, target)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"{packed.name} cannot be unpacked, {error}; delete it") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _copy(source: IO[bytes], out: IO[bytes], name: str) -> None:
    """Copy an unpacked file of limited size. Raises `ValueError`."""
    size = 0
    while block := source.read(2**20):
        size += len(block)
        if size > MOST_BYTES:
            raise ValueError(f"{name} is larger than the published file; delete it")
        out.write(block)


def _check_mnist(sums: Mapping[str, str], arrays: Iterable[Arrays]) -> None:
    """Compare the decoded images and labels with the published ones. Raises `ValueError`.

    `sums` holds the MD5 sum of each unpacked file.
    """
    for part, (images, labels) in zip(("train", "t10k"), arrays, strict=True):
        for what, values in (("images-idx3", images), ("labels-idx1", labels)):
            file = f"{part}-{what}-ubyte"
            if idx_md5(values) != sums[file]:
                noun = what.partition("-")[0]
                raise ValueError(
                    f"{file} holds {len(values):,} {noun}, which are not the published ones; "
                    "delete this file"
                )


def idx_md5(values: np.ndarray) -> str:
    """The MD5 sum of an array of bytes in the format of MNIST's files, however it was packed."""
    shape = b"".join(side.to_bytes(4, "big") for side in values.shape)
    return hashlib.md5(
        bytes([0, 0, 8, values.ndim]) + shape + values.astype("u1").tobytes()
    ).hexdigest()


def _mnist_folder(dataset: Any, root: Path) -> Path:
    return root / dataset.__name__ / "raw"


def _cifar_files(dataset: Any, root: Path) -> tuple[Path, str]:
    return root, f"{dataset.filename} (or the unpacked folder {dataset.base_folder})"


def _mnist_files(dataset: Any, root: Path) -> tuple[Path, str]:
    names = ", ".join(name for name, _ in dataset.resources)
    return _mnist_folder(dataset, root), f"{names} (packed or unpacked)"


def _cifar(dataset: Any) -> PublishedDataset:
    # The sums of the files were compared before they were unpickled.
    return PublishedDataset(dataset, _fetch_cifar, _cifar_files, flip=True)


def _mnist(dataset: Any, sums: Mapping[str, str], flip: bool) -> PublishedDataset:
    check = partial(_check_mnist, sums)
    return PublishedDataset(dataset, _fetch_mnist, _mnist_files, flip=flip, check=check)


Opened = AbstractContextManager[OpenDataset]


def open_cifar10(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """CIFAR-10. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf."""
    return open_published("cifar10", _cifar(datasets.CIFAR10), downloads, progress)


def open_cifar100(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """CIFAR-100. Krizhevsky 2009 (see `open_cifar10`)."""
    return open_published("cifar100", _cifar(datasets.CIFAR100), downloads, progress)


def open_mnist(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """MNIST. LeCun et al. 1998, https://doi.org/10.1109/5.726791."""
    return open_published(
        "mnist", _mnist(datasets.MNIST, MNIST_MD5, flip=False), downloads, progress
    )


def open_fashion_mnist(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """Fashion-MNIST. Xiao et al. 2017, https://arxiv.org/abs/1708.07747."""
    published = _mnist(datasets.FashionMNIST, FASHION_MNIST_MD5, flip=True)
    return open_published("fashion_mnist", published, downloads, progress)

"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, read by torchvision's classes.

Addresses and MD5 sums are those of the classes; files lie in `downloads/<name>`.
"""

from __future__ import annotations

import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets
from torchvision.datasets.utils import extract_archive

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.dataset import (
    OpenDataset,
    Progress,
    array_digest,
    labeled_arrays,
    rescaled,
)
from pruning_core.engine.data.download import DownloadError, download, has_md5

# What torchvision's readers raise on files that are not what they should be.
_BROKEN = (
    RuntimeError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AssertionError,
    tarfile.TarError,
)


@dataclass(frozen=True)
class PublishedDataset:
    """A set under its own name; `fetch(dataset, root, title, progress)` makes it present."""

    title: str
    dataset: Any
    fetch: Callable[[Any, Path, str, Progress], None]
    layer_sparsities: Callable[[Any, Path], tuple[Path, str]]
    flip: bool


@contextmanager
def open_published(name: str, downloads: Path, progress: Progress) -> Iterator[OpenDataset]:
    """The set, from files already there or downloaded. Raises `SpecError`."""
    kind = PUBLISHED[name]
    root = downloads / name
    try:
        kind.fetch(kind.dataset, root, kind.title, rescaled(progress, 0, 0.9))
        train, test = (
            kind.dataset(str(root), train=part, download=False) for part in (True, False)
        )
    except DownloadError as error:
        raise _refused(kind, root, f"could not be downloaded ({error})") from None
    except _BROKEN as error:
        raise _refused(kind, root, f"could not be made ready in {root} ({error})") from None
    arrays = [_arrays(dataset) for dataset in (train, test)]
    classes = tuple(train.classes)
    yield OpenDataset(
        field="data.name",
        where=kind.title,
        digest=array_digest(classes, *arrays[0], *arrays[1]),
        classes=classes,
        parts={"train": labeled_arrays(*arrays[0]), "test": labeled_arrays(*arrays[1])},
        split="given",
        flip=kind.flip,
    )


def _refused(kind: PublishedDataset, root: Path, what: str) -> SpecError:
    folder, files = kind.layer_sparsities(kind.dataset, root)
    return SpecError(
        "data.name",
        f"{kind.title} {what}. Put {files} into {folder} by hand, "
        "or choose digits, which needs no download.",
    )


def _arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    images = np.ascontiguousarray(np.asarray(dataset.data))
    return images, np.asarray(dataset.targets, dtype=np.int64)


def _fetch_cifar(dataset: Any, root: Path, title: str, progress: Progress) -> None:
    unpacked = root / dataset.base_folder
    files = [*dataset.train_list, *dataset.test_list]
    files.append((dataset.meta["filename"], dataset.meta["md5"]))
    if all(has_md5(unpacked / name, md5) for name, md5 in files):
        return
    archive = root / dataset.filename
    _present(archive, [dataset.url], dataset.tgz_md5, title, progress)
    # Unpacked beside and moved file by file: another process may be reading the same files.
    with tempfile.TemporaryDirectory(dir=root) as beside:
        extract_archive(str(archive), beside)
        unpacked.mkdir(exist_ok=True)
        for file in (Path(beside) / dataset.base_folder).iterdir():
            os.replace(file, unpacked / file.name)


def _fetch_mnist(dataset: Any, root: Path, title: str, progress: Progress) -> None:
    raw = _mnist_folder(dataset, root)
    count = len(dataset.resources)
    for done, (name, md5) in enumerate(dataset.resources):
        packed, unpacked = raw / name, raw / Path(name).stem
        if unpacked.is_file():
            continue
        urls = [f"{mirror}{name}" for mirror in dataset.mirrors]
        part = rescaled(progress, done / count, (done + 1) / count)
        _present(packed, urls, md5, f"{title} (file {done + 1} of {count})", part)
        _gunzip(packed, unpacked)


def _present(file: Path, urls: list[str], md5: str, title: str, progress: Progress) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        download(urls, file, md5, title, progress)
    elif not has_md5(file, md5):
        raise ValueError(f"{file.name} is not the published file, its MD5 sum differs; remove it")


def _gunzip(packed: Path, target: Path) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with gzip.open(packed) as source, os.fdopen(handle, "wb") as out:
            shutil.copyfileobj(source, out)
        os.replace(name, target)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"{packed.name} cannot be unpacked, {error}") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _mnist_folder(dataset: Any, root: Path) -> Path:
    return root / dataset.__name__ / "raw"


def _cifar_by_hand(dataset: Any, root: Path) -> tuple[Path, str]:
    return root, f"{dataset.filename} (or the unpacked folder {dataset.base_folder})"


def _mnist_by_hand(dataset: Any, root: Path) -> tuple[Path, str]:
    names = ", ".join(name for name, _ in dataset.resources)
    return _mnist_folder(dataset, root), f"{names} (packed or unpacked)"


PUBLISHED: dict[str, PublishedDataset] = {
    "cifar10": PublishedDataset(
        "CIFAR-10", datasets.CIFAR10, _fetch_cifar, _cifar_by_hand, flip=True
    ),
    "cifar100": PublishedDataset(
        "CIFAR-100", datasets.CIFAR100, _fetch_cifar, _cifar_by_hand, flip=True
    ),
    "mnist": PublishedDataset("MNIST", datasets.MNIST, _fetch_mnist, _mnist_by_hand, flip=False),
    "fashion_mnist": PublishedDataset(
        "Fashion-MNIST", datasets.FashionMNIST, _fetch_mnist, _mnist_by_hand, flip=True
    ),
}


Opened = AbstractContextManager[OpenDataset]


def open_cifar10(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """CIFAR-10. Krizhevsky 2009."""
    return open_published("cifar10", downloads, progress)


def open_cifar100(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """CIFAR-100. Krizhevsky 2009."""
    return open_published("cifar100", downloads, progress)


def open_mnist(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """MNIST. LeCun et al. 1998."""
    return open_published("mnist", downloads, progress)


def open_fashion_mnist(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """Fashion-MNIST. Xiao et al. 2017."""
    return open_published("fashion_mnist", downloads, progress)

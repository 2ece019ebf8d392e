"""CIFAR-10, CIFAR-100, MNIST and Fashion-MNIST, read by torchvision's classes.

URLs and MD5 sums are those of the classes; files are in `downloads/<name>`.
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


@dataclass(frozen=True)
class PublishedDataset:
    """A published data set, read by the torchvision class `dataset`.

    `fetch(dataset, root, title, progress)` downloads it. `manual(dataset, root)` returns the
    folder and the files for a manual download. `flip` is true where a mirrored image keeps its
    class.
    """

    dataset: Any
    fetch: Callable[[Any, Path, str, Progress], None]
    manual: Callable[[Any, Path], tuple[Path, str]]
    flip: bool


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
    except DownloadError as error:
        raise _error(title, published, root, "could not be downloaded ({error})", error) from None
    except _BROKEN as error:
        problem = "could not be prepared in {root} ({error})"
        raise _error(title, published, root, problem, error) from None
    arrays = [_arrays(dataset) for dataset in (train, test)]
    classes = tuple(train.classes)
    yield OpenDataset(
        field="data.name",
        location=title,
        read=array_reader(
            array_digest(classes, *arrays[0], *arrays[1]),
            {"train": arrays[0][0], "test": arrays[1][0]},
        ),
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


def _arrays(dataset: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images, uint8 (N, H, W) or (N, H, W, 3), and labels (N,)."""
    images = np.ascontiguousarray(np.asarray(dataset.data))
    return images, np.asarray(dataset.targets, dtype=np.int64)


def _fetch_cifar(dataset: Any, root: Path, title: str, progress: Progress) -> None:
    unpacked = root / dataset.base_folder
    files = [*dataset.train_list, *dataset.test_list]
    files.append((dataset.meta["filename"], dataset.meta["md5"]))
    if all(has_md5(unpacked / name, md5) for name, md5 in files):
        return
    archive = root / dataset.filename
    _ensure_file(archive, [dataset.url], dataset.tgz_md5, title, progress)
    # Unpacked elsewhere and moved file by file, since another process may read the same files.
    with tempfile.TemporaryDirectory(dir=root) as folder:
        extract_archive(str(archive), folder)
        unpacked.mkdir(exist_ok=True)
        for file in (Path(folder) / dataset.base_folder).iterdir():
            os.replace(file, unpacked / file.name)


def _fetch_mnist(dataset: Any, root: Path, title: str, progress: Progress) -> None:
    raw = _mnist_folder(dataset, root)
    count = len(dataset.resources)
    for done, (name, md5) in enumerate(dataset.resources):
        packed, unpacked = raw / name, raw / Path(name).stem
        if unpacked.is_file():
            continue
        urls = [f"{mirror}{name}" for mirror in dataset.mirrors]
        file_progress = rescaled(progress, done / count, (done + 1) / count)
        file_title = f"{title} (file {done + 1} of {count})"
        _ensure_file(packed, urls, md5, file_title, file_progress)
        _gunzip(packed, unpacked)


def _ensure_file(file: Path, urls: list[str], md5: str, title: str, progress: Progress) -> None:
    """Download a file, or check the one that exists. Raises `DownloadError` or `ValueError`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        download(urls, file, md5, title, progress)
    elif not has_md5(file, md5):
        raise ValueError(f"{file.name} is not the published file, its MD5 sum differs; delete it")


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


def _cifar_files(dataset: Any, root: Path) -> tuple[Path, str]:
    return root, f"{dataset.filename} (or the unpacked folder {dataset.base_folder})"


def _mnist_files(dataset: Any, root: Path) -> tuple[Path, str]:
    names = ", ".join(name for name, _ in dataset.resources)
    return _mnist_folder(dataset, root), f"{names} (packed or unpacked)"


def _cifar(dataset: Any) -> PublishedDataset:
    return PublishedDataset(dataset, _fetch_cifar, _cifar_files, flip=True)


def _mnist(dataset: Any, flip: bool) -> PublishedDataset:
    return PublishedDataset(dataset, _fetch_mnist, _mnist_files, flip=flip)


Opened = AbstractContextManager[OpenDataset]


def open_cifar10(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """CIFAR-10. Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf."""
    return open_published("cifar10", _cifar(datasets.CIFAR10), downloads, progress)


def open_cifar100(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """CIFAR-100. Krizhevsky 2009 (see `open_cifar10`)."""
    return open_published("cifar100", _cifar(datasets.CIFAR100), downloads, progress)


def open_mnist(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """MNIST. LeCun et al. 1998, https://doi.org/10.1109/5.726791."""
    return open_published("mnist", _mnist(datasets.MNIST, flip=False), downloads, progress)


def open_fashion_mnist(path: str, split_seed: int, downloads: Path, progress: Progress) -> Opened:
    """Fashion-MNIST. Xiao et al. 2017, https://arxiv.org/abs/1708.07747."""
    published = _mnist(datasets.FashionMNIST, flip=True)
    return open_published("fashion_mnist", published, downloads, progress)

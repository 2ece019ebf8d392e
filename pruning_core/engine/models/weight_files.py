"""Checkpoint files: those of the user, and the download of torchvision's pretrained weights.

The content of a file decides how it is read, not its name. No code of a file is run: tensors,
numbers, texts, lists and dicts are read, and any other Python object is skipped.
"""

from __future__ import annotations

import os
import pickle
import re
import shutil
import struct
import tempfile
import warnings
import zipfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import urlopen

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torchvision.models import get_model_weights

from pruning_core.common.errors import SpecError
from pruning_core.common.files import no_weights_file, sha256
from pruning_core.common.formatting import format_bytes
from pruning_core.engine.export import sparse_loader
from pruning_core.engine.models.pickled_objects import (
    ARRAY_TYPE,
    ARRAYS,
    STAND_INS,
    PickledDict,
    StandIn,
    is_named_for_data,
    stand_in,
)

TIMEOUT_SECONDS = 30
HOW_TO_SAVE = "Save only the weights, with torch.save(model.state_dict(), ...) or as .safetensors."
# The errors of torch's reader for files that are damaged or no torch files.
UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, OSError, EOFError, RuntimeError, ValueError),
    *(LookupError, AssertionError, AttributeError, TypeError, zipfile.BadZipFile, OverflowError),
    *(MemoryError, RecursionError),
)
# The number with which a torch file that is no zip begins, as a pickle.
LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
HEAD_BYTES = 300
# torch stores tensors without compression, so more than this per byte of the file is no checkpoint.
EXPANSION = 4
# Other formats, by the place and the text with which their files begin.
OTHER_FORMATS = (
    (0, b"\x1f\x8b", "is compressed with gzip. Unpack it first"),
    (0, b"\xfd7zXZ\x00", "is compressed with xz. Unpack it first"),
    (0, b"BZh", "is compressed with bzip2. Unpack it first"),
    (0, b"(\xb5/\xfd", "is compressed with Zstandard. Unpack it first"),
    (257, b"ustar", "is an archive of files (tar). Unpack it, and give the checkpoint in it"),
    (0, b"7z\xbc\xaf", "is an archive of files (7z). Unpack it, and give the checkpoint in it"),
    (0, b"\x89HDF", "is an HDF5 file, as Keras writes it. Give weights of PyTorch"),
    (0, b"\x93NUMPY", "is an array of NumPy. Give weights of PyTorch"),
    (0, b"GGUF", "is a GGUF file. Give weights of PyTorch"),
    (4, b"TFL3", "is a model of TensorFlow Lite. Give weights of PyTorch"),
    (0, b"\x08", "is no file of PyTorch, but looks like ONNX. Give weights of PyTorch"),
    (0, b"<", "is a web page or XML. Open its address in a browser and download the file itself"),
    (0, b"version https://git-lfs", "is a pointer of Git LFS. Fetch the file with `git lfs pull`"),
    (0, b"{", "is JSON, such as an index of files. Give a single file that holds all weights"),
)
UNSUPPORTED = re.compile(r"Unsupported global: GLOBAL (\S+) was not an allowed global")
# The error for a class of dicts names its stand-in.
SET_ITEMS = re.compile(rf"Can only SETITEMS? for .* got <class '{re.escape(STAND_INS)}\.(.+)'>")
MOST_CLASSES = 200


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: tensors in nested dicts and lists.

    `skipped` names the classes of the Python objects that were not read. `whole_model` is true
    where the tensors of a pickled model were read.
    """

    path: Path
    content: Any
    skipped: tuple[str, ...] = ()
    whole_model: bool = False


def read_checkpoint(path: Path) -> Checkpoint:
    """The content of a file of torch, of safetensors, or of this project's sparse format.

    Raises `SpecError` for the field `model.weights`.
    """
    if path.is_dir():
        raise _refused(path, "is a folder. Give the checkpoint file in it.")
    if not path.is_file():
        raise no_weights_file(path)
    try:
        with path.open("rb") as file:
            head, size = file.read(HEAD_BYTES), path.stat().st_size
    except OSError as error:
        raise _refused(path, f"cannot be read ({error.strerror or error}).") from error
    if not head:
        raise _refused(path, "is empty. Copy or download it again.")
    if head.startswith(sparse_loader.MAGIC):
        return Checkpoint(path, _read_sparse(path))
    if _is_safetensors(head, size):
        return Checkpoint(path, _read_safetensors(path))
    if head.startswith(b"PK"):
        _check_zip(path, size)
        return _read_torch(path)
    if LEGACY in head[:32]:
        return _read_torch(path)
    for place, start, reason in OTHER_FORMATS:
        if head[place:].lower().startswith(start.lower()):
            raise _refused(path, f"{reason}.")
    if path.suffix.lower() == ".safetensors":
        raise _refused(path, "is no whole file of safetensors. Copy or download it again.")
    if head[:1] == b"\x80":
        reason = "is a Python pickle, which could run any code when loaded."
        raise _refused(path, f"{reason} {HOW_TO_SAVE}")
    raise _refused(path, f"cannot be read as saved weights. {HOW_TO_SAVE}")


def _refused(path: Path, reason: str) -> SpecError:
    return SpecError("model.weights", f"{path.name} {reason}")


def _is_safetensors(head: bytes, size: int) -> bool:
    """Whether a file begins with the size of a JSON header that is inside the file."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 8 and head[8:9] == b"{" and length <= size - 8


def _read_sparse(path: Path) -> dict[str, torch.Tensor]:
    try:
        return sparse_loader.weights(path)
    except (sparse_loader.SparseFileError, OSError) as error:
        raise SpecError("model.weights", f"{error}") from error


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, *UNREADABLE) as error:
        raise _refused(path, f"cannot be read as safetensors ({error}).") from error


def _check_zip(path: Path, size: int) -> None:
    """Refuse a zip that is no checkpoint, and one that would expand, before torch reads it."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except UNREADABLE as error:
        reason = f"is damaged or cut short ({error})"
        raise _refused(path, f"{reason}. Copy or download it again.") from error
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        reason = "is a TorchScript archive, which could run any code when loaded."
        raise _refused(path, f"{reason} {HOW_TO_SAVE}")
    if not any(name.endswith("data.pkl") for name in names):
        reason = "is a zip archive without saved weights. Unpack it, and give the checkpoint in it."
        raise _refused(path, reason)
    total = sum(entry.file_size for entry in entries)
    if total > EXPANSION * size:
        sizes = f"it would unpack from {format_bytes(size)} to {format_bytes(total)}"
        raise _refused(path, f"is not a checkpoint of torch: {sizes}. {HOW_TO_SAVE}")


def _read_torch(path: Path) -> Checkpoint:
    """Read a torch file; each class that torch does not know is skipped, and the file read again.

    Raises `SpecError` for a file that is damaged or made to run code.
    """
    skipped: dict[str, StandIn] = {}
    while True:
        # No class of the file is imported: others stand for them.
        stand_ins: list[Any] = [(kind, name) for name, kind in skipped.items()]
        try:
            # Of a path, torch would read the ending.
            with (
                path.open("rb") as file,
                torch.serialization.safe_globals(stand_ins),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                content = torch.load(file, map_location="cpu", weights_only=True)
            names = sorted(name for name, kind in skipped.items() if _is_skipped(name, kind))
            whole_model = any(kind.is_module for kind in skipped.values())
            return Checkpoint(path, content, tuple(names), whole_model)
        except UNREADABLE as error:
            if len(skipped) >= MOST_CLASSES or not _add_stand_in(skipped, str(error)):
                raise _unreadable_torch(path, error) from error


def _add_stand_in(skipped: dict[str, StandIn], error: str) -> bool:
    """Let a class stand for the one that an error of torch's reader names; False for none."""
    if unknown := UNSUPPORTED.search(error):
        name = unknown[1]
        if "." not in name:
            if not is_named_for_data(name):
                return False
            name = f"builtins.{name}"
        if name in skipped:
            return False
        skipped[name] = stand_in(name)
        return True
    not_a_dict = SET_ITEMS.search(error)
    if not_a_dict is None or not_a_dict[1] not in skipped:
        return False
    skipped[not_a_dict[1]] = stand_in(not_a_dict[1], is_dict=True)
    return True


def _is_skipped(name: str, kind: StandIn) -> bool:
    """Whether a sentence names a class as not read: no type of Python or of arrays, no model."""
    if kind.is_module or issubclass(kind, PickledDict) or name.startswith("builtins."):
        return False
    return name not in (*ARRAYS, ARRAY_TYPE, "numpy.ndarray")


def _unreadable_torch(path: Path, error: Exception) -> SpecError:
    if isinstance(error, OSError):
        return _refused(path, f"cannot be read ({error.strerror or error}).")
    reason, text = "cannot be read as saved weights", str(error)
    if re.search("unsupported global|can only|whose module", text, re.IGNORECASE):
        reason = "holds Python objects, which could run any code when loaded"
    elif "Unsupported operand" in text:
        reason = "was saved with another pickle protocol than that of torch"
    elif "must be imported" in text:
        reason = "holds nested or distributed tensors (DTensor)"
    elif type(error) is RuntimeError and text:
        # What is wrong with a tensor, such as an index outside its shape.
        reason += f" ({text.splitlines()[0].rstrip('.')})"
    return _refused(path, f"{reason}. {HOW_TO_SAVE}")


def pretrained_file(name: str, downloads: Path) -> Path:
    """The path of the pretrained weights of a torchvision model, downloaded or not."""
    return downloads / "weights" / Path(urlparse(_url(name)).path).name


def download(name: str, downloads: Path) -> Path:
    """The file of torchvision's default weights of a model, downloaded if it is missing.

    The file's name contains the start of its SHA-256, which is checked. Raises `SpecError`, which
    says how to download the file by hand.
    """
    path = pretrained_file(name, downloads)
    if not path.is_file():
        _fetch(name, path)
    elif not _is_genuine(path, path.name):
        message = f"{path} is damaged (its SHA-256 is not the one in its name). Delete it."
        raise SpecError("model.weights", message)
    return path


def _url(name: str) -> str:
    return str(get_model_weights(name).DEFAULT.url)


def _fetch(name: str, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix="part-") as folder:
            part = Path(folder) / path.name
            with urlopen(_url(name), timeout=TIMEOUT_SECONDS) as answer, part.open("wb") as file:
                shutil.copyfileobj(answer, file)
            if not _is_genuine(part, path.name):
                raise HTTPException("the downloaded file is not the published file")
            os.replace(part, path)
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        message = (
            f"the pretrained weights of {name} cannot be downloaded ({reason}). Download "
            f"{_url(name)} elsewhere and put the file {path.name} into the folder "
            f"{path.parent}, or choose none."
        )
        raise SpecError("model.weights", message) from error


def _is_genuine(path: Path, published_name: str) -> bool:
    """Whether the SHA-256 of a file starts as torchvision's name for it says."""
    digest = re.search(r"-([0-9a-f]{8,})\.", published_name)
    return not digest or sha256(path).startswith(digest[1])

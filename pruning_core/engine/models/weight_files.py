"""Checkpoint files: those of the user, and the download of torchvision's pretrained weights."""

from __future__ import annotations

import os
import pickle
import re
import shutil
import struct
import tempfile
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import urlopen

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torchvision.models import get_model_weights

from pruning_core.common.errors import SpecError
from pruning_core.common.files import sha256

TORCH_SUFFIXES = (".pt", ".pth", ".ckpt")
WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
TIMEOUT_SECONDS = 30
HOW_TO_SAVE = "Save only the weights, with torch.save(model.state_dict(), ...) or as .safetensors."
# The errors of torch's reader for files that are damaged or no torch files.
UNREADABLE = (
    *(pickle.UnpicklingError, struct.error, OSError, EOFError, RuntimeError, ValueError),
    *(LookupError, AssertionError, AttributeError, TypeError),
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of any shape in a `.safetensors`, `.pt`, `.pth` or `.ckpt` file, by name.

    No code of the file is run. A dict that holds the weights under one of `WRAPPERS` is accepted.
    Raises `SpecError` for the field `model.weights`.
    """
    if not path.is_file():
        raise SpecError("model.weights", f"there is no file {path}.")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    if path.suffix.lower() not in TORCH_SUFFIXES:
        message = f"{path.name} is not a .safetensors, .pt, .pth or .ckpt file."
        raise SpecError("model.weights", message)
    return _unwrapped(_read_torch(path), path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        message = f"{path.name} cannot be read as safetensors ({error})."
        raise SpecError("model.weights", message) from error


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        needs_code = re.search("unsupported global|torchscript", str(error), re.IGNORECASE)
        reason = "cannot be read as saved weights"
        if isinstance(error, OSError):
            reason = f"cannot be read ({error.strerror or error})"
        if needs_code:
            reason = "holds Python objects, which could run any code when loaded"
        raise SpecError("model.weights", f"{path.name} {reason}. {HOW_TO_SAVE}") from error


def _unwrapped(value: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(value, dict):
        inner = (value[key] for key in WRAPPERS if isinstance(value.get(key), dict))
        value = next(inner, value)
    if not isinstance(value, dict) or not value:
        raise SpecError("model.weights", f"{path.name} holds no named weights. {HOW_TO_SAVE}")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            message = f"{path.name} holds {name!r}, which is not a tensor. {HOW_TO_SAVE}"
            raise SpecError("model.weights", message)
    return value


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

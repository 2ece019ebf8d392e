"""Checks a passport: every file's digest, and the accuracy on the test images.

    python verify.py
    python verify.py --data test_images.npz

Needs Python 3.10 and what requirements.txt names. The exit code is 0 where everything is as the
passport says, 1 where something differs, 2 where it could not be checked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 50
POINTS = 0.002  # of the images may be answered otherwise, and one image always
Run = Callable[[np.ndarray], Any]


class Differs(Exception):
    """Something is not as the passport says."""


class CannotCheck(Exception):
    """Something that the check needs is not there."""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_files(folder: Path, passport: dict[str, Any]) -> None:
    """Every file has the bytes that the passport says. Raises `Differs`."""
    for name, said in passport["files"].items():
        path = folder / name
        if not path.is_file():
            raise Differs(f"{name} is missing.")
        if path.stat().st_size != said["bytes"]:
            raise Differs(f"{name} has {path.stat().st_size:,} bytes, not {said['bytes']:,}.")
        if sha256(path) != said["sha256"]:
            raise Differs(f"{name} has the right size, but not the right content.")


def test_images(folder: Path, passport: dict[str, Any], data: str) -> tuple[Any, Any]:
    """The test images (N, S, S, 3) uint8 and their labels (N,).

    Raises `Differs` for other images, `CannotCheck` where there are none.
    """
    said = passport["images"]
    path = Path(data) if data else folder / said["file"]
    path = path / said["file"] if path.is_dir() else path
    if not path.is_file():
        how = f"{said['file']} with --data; the Ship page offers it beside the passport"
        raise CannotCheck(f"The test images are not here. Name {how}.")
    try:
        with np.load(path, allow_pickle=False) as found:
            images, labels = found["images"], found["labels"]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise Differs(f"{path} does not hold the test images ({error}).") from error
    seen = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    if seen != said["sha256"]:
        raise Differs(f"{path} holds other test images than those of the passport.")
    return images, labels


def prepared(images: np.ndarray, passport: dict[str, Any]) -> np.ndarray:
    """Bytes to what the network takes: float32 (N, 3, S, S)."""
    mean, std = (np.array(passport["preprocessing"][n], np.float32) for n in ("mean", "std"))
    scaled = (images.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def open_onnx(path: Path, passport: dict[str, Any]) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def open_export(path: Path, passport: dict[str, Any]) -> Run:
    import torch

    network = torch.export.load(str(path)).module()

    def run(images: np.ndarray) -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return run


def open_executorch(path: Path, passport: dict[str, Any]) -> Run:
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")

    def run(images: np.ndarray) -> Any:
        each = [
            method.execute([torch.from_numpy(image[None])])[0].numpy().copy() for image in images
        ]
        return np.concatenate(each)

    return run


def open_weights(path: Path, passport: dict[str, Any]) -> Run:
    """The tensors alone, in torchvision's network."""
    import torch
    from torchvision.models import get_model

    about = passport["network"]
    network = get_model(about["name"], weights=None, **about["options"])
    if about["stem_stride"] == 1:
        stem = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
        stem.stride = (1, 1)
    if path.suffix == ".sparse":
        from sparse_loader import weights

        state = weights(path)
    elif path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    if "structure" in about:
        from structure import load

        load(network, about["structure"], state)
    network.load_state_dict(state)
    network.eval()

    def run(images: np.ndarray) -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return run


OPENERS: dict[str, Callable[[Path, dict[str, Any]], Run]] = {
    ".onnx": open_onnx,
    ".pt2": open_export,
    ".pte": open_executorch,
    ".pth": open_weights,
    ".sparse": open_weights,
    ".safetensors": open_weights,
}


def check_accuracy(run: Run, images: Any, labels: Any, passport: dict[str, Any]) -> str:
    """What was found, in a sentence. Raises `Differs` where it is too far from the passport."""
    answers = []
    for start in range(0, len(images), BATCH):
        scores = np.asarray(run(prepared(images[start : start + BATCH], passport)))
        answers.append(scores.argmax(1))
    right = int((np.concatenate(answers) == labels).sum())
    said, count = passport["right"], len(images)
    found = f"{right:,} of {count:,} test images are right, the passport says {said:,}"
    if abs(right - said) > max(1, int(POINTS * count)):
        raise Differs(f"{found}; that is more than one image and more than 0.2 points apart.")
    return f"{found}."


def verify(folder: Path, data: str) -> str:
    """What was found, in sentences. Raises `Differs` and `CannotCheck`."""
    passport = json.loads((folder / "passport.json").read_text(encoding="utf-8"))
    check_files(folder, passport)
    images, labels = test_images(folder, passport, data)
    path = folder / passport["model"]
    try:
        run = OPENERS[path.suffix](path, passport)
    except ImportError as error:
        raise CannotCheck(f"{error}. Install it: pip install -r requirements.txt") from error
    told = check_accuracy(run, images, labels, passport)
    return f"{len(passport['files'])} files are as the passport says. {told}"


def main(arguments: list[str] | None = None) -> int:
    options = argparse.ArgumentParser(description="Check a passport.")
    options.add_argument("--data", default="", metavar="FILE", help="the test images, an .npz file")
    chosen = options.parse_args(arguments)
    try:
        print(verify(Path(__file__).resolve().parent, chosen.data))
    except Differs as error:
        print(f"DIFFERS: {error}", file=sys.stderr)
        return 1
    except (CannotCheck, OSError, ValueError, KeyError) as error:
        print(f"Not checked: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

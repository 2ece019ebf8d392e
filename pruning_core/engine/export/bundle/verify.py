"""Verifies a reproducibility bundle: the digest of each file, and the accuracy on the test images.

    python verify.py
    python verify.py --data test_images.npz

Needs Python 3.10 and the packages of requirements.txt. Exit codes: 0 if the bundle matches its
manifest, 1 if something differs, 2 if it could not be verified.
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
# The share of test images that may be predicted differently on this machine; at least one image.
TOLERANCE = 0.002
Manifest = dict[str, Any]
Run = Callable[[np.ndarray], Any]


class Differs(Exception):
    """Something differs from the manifest."""


class CannotVerify(Exception):
    """Something that the verification needs is missing."""


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare each file with the manifest, byte for byte. Raises `Differs`."""
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise Differs(f"{name} is missing.")
        if path.stat().st_size != expected["bytes"]:
            raise Differs(f"{name} has {path.stat().st_size:,} bytes, not {expected['bytes']:,}.")
        if sha256(path) != expected["sha256"]:
            raise Differs(f"{name} has the right size, but not the right content.")


def load_test_images(folder: Path, manifest: Manifest, data: str) -> tuple[Any, Any]:
    """The test images, uint8 (N, S, S, 3), and their labels (N,).

    `data` is a file or a folder, or empty for the images in the bundle. Raises `Differs` for other
    images, and `CannotVerify` if there are none.
    """
    expected = manifest["images"]
    path = Path(data) if data else folder / expected["file"]
    path = path / expected["file"] if path.is_dir() else path
    if not path.is_file():
        raise CannotVerify(
            f"The test images are missing. Download {expected['file']} from the page Export, and "
            "pass it with --data."
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = arrays["images"], arrays["labels"]
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise Differs(f"{path} does not hold the test images ({error}).") from error
    digest = hashlib.sha256(images.tobytes() + labels.astype("<i8").tobytes()).hexdigest()
    if digest != expected["sha256"]:
        raise Differs(f"The test images in {path} do not match the manifest.")
    return images, labels


def normalize(images: np.ndarray, manifest: Manifest) -> np.ndarray:
    """uint8 (N, S, S, 3) to the input of the network: float32 (N, 3, S, S)."""
    preprocessing = manifest["preprocessing"]
    mean, std = (np.array(preprocessing[name], np.float32) for name in ("mean", "std"))
    scaled = (images.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def open_onnx(path: Path, manifest: Manifest) -> Run:
    """Run an ONNX file in ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})[0]


def open_torch_export(path: Path, manifest: Manifest) -> Run:
    """Run a torch.export program in PyTorch."""
    import torch

    network = torch.export.load(str(path)).module()

    def run(images: np.ndarray) -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return run


def open_executorch(path: Path, manifest: Manifest) -> Run:
    """Run an ExecuTorch program, one image at a time."""
    import torch
    from executorch.runtime import Runtime

    method = Runtime.get().load_program(path).load_method("forward")

    def run(images: np.ndarray) -> Any:
        scores = [
            method.execute([torch.from_numpy(image[None])])[0].numpy().copy() for image in images
        ]
        return np.concatenate(scores)

    return run


def open_weights(path: Path, manifest: Manifest) -> Run:
    """Load a file of weights into torchvision's network."""
    import torch
    from torchvision.models import get_model

    architecture = manifest["network"]
    network = get_model(architecture["name"], weights=None, **architecture["options"])
    if architecture["stem_stride"] == 1:
        first_layer = next(m for m in network.modules() if isinstance(m, torch.nn.Conv2d))
        first_layer.stride = (1, 1)
    if path.suffix == ".sparse":
        from sparse_loader import weights

        state = weights(path)
    elif path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    if "widths" in architecture:
        from widths import load

        load(network, architecture["widths"], state)
    else:
        network.load_state_dict(state)
    network.eval()

    def run(images: np.ndarray) -> Any:
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return run


OPENERS: dict[str, Callable[[Path, Manifest], Run]] = {
    opener.__name__: opener
    for opener in (open_onnx, open_torch_export, open_executorch, open_weights)
}


def check_accuracy(run: Run, images: Any, labels: Any, manifest: Manifest) -> str:
    """The accuracy in a sentence. Raises `Differs` if it is too far from the manifest's."""
    predictions = []
    for start in range(0, len(images), BATCH):
        scores = np.asarray(run(normalize(images[start : start + BATCH], manifest)))
        predictions.append(scores.argmax(1))
    correct = int((np.concatenate(predictions) == labels).sum())
    expected, count = manifest["correct"], len(images)
    result = f"{correct:,} of {count:,} test images are correct, the manifest says {expected:,}"
    if abs(correct - expected) > max(1, int(TOLERANCE * count)):
        raise Differs(
            f"{result}. The difference is more than one image and more than "
            f"{100 * TOLERANCE:g} percentage points."
        )
    return f"{result}."


def verify(folder: Path, data: str) -> str:
    """The result in sentences. Raises `Differs` and `CannotVerify`."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    check_files(folder, manifest)
    images, labels = load_test_images(folder, manifest, data)
    path = folder / manifest["model"]
    try:
        run = OPENERS[manifest["opener"]](path, manifest)
    except ImportError as error:
        raise CannotVerify(f"{error}. Install it: pip install -r requirements.txt") from error
    accuracy = check_accuracy(run, images, labels, manifest)
    return f"All {len(manifest['files'])} files match the manifest. {accuracy}"


def main(arguments: list[str] | None = None) -> int:
    """Verify the bundle in the folder of this file. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Verify a reproducibility bundle.")
    parser.add_argument("--data", default="", metavar="FILE", help="the test images, a .npz file")
    options = parser.parse_args(arguments)
    try:
        print(verify(Path(__file__).resolve().parent, options.data))
    except Differs as error:
        print(f"DIFFERS: {error}", file=sys.stderr)
        return 1
    except (CannotVerify, OSError, ValueError, KeyError) as error:
        print(f"Not verified: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Verifies a reproducibility bundle: every claim of manifest.json is computed again or compared.

    python verify.py
    python verify.py --data test_images.npz

It compares the bytes of each file, the key of the model with the settings of all stages behind it,
the classes, the preprocessing and the predictions. It computes the predictions, the accuracy and
its interval again. Who makes a bundle can write a manifest that agrees with itself, so compare the
digest that this program prints with the one that Pruning Lab shows for the bundle.

Needs Python 3.10 and the packages of requirements.txt. Exit codes: 0 if the bundle matches its
manifest, 1 if something differs, 2 if it could not be verified.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import math
import platform
import sys
import zipfile
import zlib
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 50
# The share of test images that may be predicted differently on this machine; at least one image.
TOLERANCE = 0.002
MANIFEST, STAGES, PREDICTIONS, SPEC = "manifest.json", "stages.json", "predictions.csv", "spec.json"
# The files that every bundle lists, beside the model.
PROGRAM, REQUIREMENTS = "verify.py", "requirements.txt"
REQUIRED = (PROGRAM, REQUIREMENTS, "results.csv", "report.html", STAGES, PREDICTIONS, SPEC)
BUNDLE_VERSION = 2
# The entries of the manifest, with their types. Another entry is a claim that nothing checks.
ENTRIES: dict[str, Any] = {
    "bundle": int,
    "label": str,
    "model": str,
    "model_stage": str,
    "format": str,
    "opener": str,
    "classes": list,
    "preprocessing": {"image_size": int, "mean": list, "std": list, "order": str},
    "network": {"name": str, "stem_stride": int, "options": dict},
    "correct": int,
    "accuracy": (int, float),
    "accuracy_interval_95": list,
    "images": {"file": str, "count": int, "sha256": str},
    "data_sha256": str,
    "computed_on": {
        "model": {"processor": str, "versions": dict},
        "file": {"processor": str, "versions": dict},
    },
    "versions": dict,
    "files": dict,
}
OPTIONAL = {"network.": {"widths"}}
ORDER = "RGB, (byte / 255 - mean) / std, float32 (N, 3, S, S)"
# What reading a damaged or foreign file of arrays raises.
UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError),
    *(OSError, RuntimeError, TypeError, ValueError),
    *(lzma.LZMAError, zipfile.BadZipFile, zlib.error),
)
Manifest = dict[str, Any]
Run = Callable[[np.ndarray], Any]


class Differs(Exception):
    """Something differs from the manifest."""


class CannotVerify(Exception):
    """Something that the verification needs is missing."""


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(value: object, longest: int = 300) -> str:
    """A value or the message of an error as one line that is safe in a terminal."""
    words = " ".join(str(value).split()) or type(value).__name__
    text = "".join(letter if letter.isprintable() else "?" for letter in words)
    return text if len(text) <= longest else f"{text[: longest - 3]}..."


def load_json(path: Path, kind: type) -> Any:
    """The JSON object or list in a file. Raises `Differs`."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise Differs(f"{path.name} is no JSON ({one_line(error)}).") from error
    if not isinstance(value, kind):
        raise Differs(f"{path.name} does not hold a JSON {'object' if kind is dict else 'list'}.")
    return value


def load_manifest(folder: Path) -> Manifest:
    """The manifest, with every entry of its type. Raises `Differs` and `CannotVerify`."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CannotVerify(f"{MANIFEST} is missing. Unpack the whole bundle into one folder.")
    manifest: Manifest = load_json(path, dict)
    if manifest.get("bundle") != BUNDLE_VERSION:
        raise CannotVerify(
            f"This verify.py checks bundles of version {BUNDLE_VERSION}, and {MANIFEST} says "
            f"{one_line(manifest.get('bundle'))}. Use the verify.py of the bundle itself."
        )
    check_entries(manifest, ENTRIES, "")
    return manifest


def check_entries(value: Manifest, entries: dict[str, Any], place: str) -> None:
    """Compare names and types of entries. Raises `Differs`."""
    for name, kind in entries.items():
        entry, kinds = value.get(name), dict if isinstance(kind, dict) else kind
        if not isinstance(entry, kinds) or isinstance(entry, bool):
            raise Differs(f"{MANIFEST}: the entry {place}{name} is missing or of the wrong type.")
        if isinstance(kind, dict):
            check_entries(entry, kind, f"{place}{name}.")
    unknown = sorted(set(value) - set(entries) - OPTIONAL.get(place, set()))
    if unknown:
        raise Differs(f"{MANIFEST}: nothing checks the entry {place}{one_line(unknown[0])}.")


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare each file with the manifest, byte for byte. Raises `Differs`."""
    files = manifest["files"]
    for name in (*REQUIRED, manifest["model"]):
        if name not in files:
            raise Differs(f"{MANIFEST} does not list {one_line(name)} among the files.")
    for name, expected in files.items():
        path = folder / name
        if Path(name).name != name or not isinstance(expected, dict):
            raise Differs(f"{MANIFEST} lists {one_line(name)}, which is no file of a bundle.")
        if not path.is_file():
            raise Differs(f"{name} is missing.")
        if path.stat().st_size != expected.get("bytes"):
            raise Differs(
                f"{name} has {path.stat().st_size:,} bytes, and the manifest says "
                f"{one_line(expected.get('bytes'))}."
            )
        if sha256(path) != expected.get("sha256"):
            raise Differs(f"{name} has the right size, but not the right content.")
    # Python would import such a file in place of a package.
    for path in sorted(folder.glob("*.py")):
        if path.name not in files:
            raise Differs(f"{path.name} is no file of the bundle. Remove it.")


def canonical(value: Any) -> Any:
    """A value as it enters the key of a stage: floats are rounded to 1e-6."""
    if isinstance(value, float):
        return round(value, 6) + 0.0
    if isinstance(value, dict):
        return {str(name): canonical(entry) for name, entry in value.items()}
    return [canonical(entry) for entry in value] if isinstance(value, list) else value


def stage_key(stage: Manifest) -> str:
    """The key of a stage: a SHA-256 over its kind, version, parent and settings."""
    body = [stage["kind"], stage["version"], stage["parent"], stage["settings"]]
    text = json.dumps(canonical(body), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def check_stages(folder: Path, manifest: Manifest) -> None:
    """Compare the manifest with the stages behind the bundle. Raises `Differs`.

    Each stage has the key of the one before as its parent, so the key of the model covers the
    digest of the data and all settings of the model.
    """
    stages = load_json(folder / STAGES, list)
    try:
        compare_stages(stages, folder, manifest)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise Differs(f"{STAGES} does not have the form of stages ({one_line(error)}).") from error


def compare_stages(stages: list[Any], folder: Path, manifest: Manifest) -> None:
    """As `check_stages`; raises the errors of a list that holds no stages too."""
    parent = ""
    for stage in stages:
        if stage["parent"] != parent:
            raise Differs(f"{STAGES}: the stage {one_line(stage['kind'])} has another parent.")
        parent = stage_key(stage)
    # From the decoded data set over the baseline to the model, its file and the bundle.
    dataset, baseline = (stage["settings"] for stage in stages[:2])
    model, exported, bundle = stages[-3:]
    claims = {
        "model_stage": (stage_key(model), bundle["settings"]["point"]),
        "format": (exported["settings"]["format"], bundle["settings"]["format"]),
        "label": (bundle["settings"]["label"],),
        "data_sha256": (dataset["digest"],),
    }
    for name, sources in claims.items():
        if any(source != manifest[name] for source in sources):
            raise Differs(f"{MANIFEST}: {name} is not that of {STAGES}.")
    for name in ("image_size", "mean", "std"):
        if manifest["preprocessing"][name] != baseline["data"][name]:
            raise Differs(f"{MANIFEST}: preprocessing.{name} is not that of {STAGES}.")
    for name in ("name", "stem_stride"):
        if manifest["network"][name] != baseline["model"][name]:
            raise Differs(f"{MANIFEST}: network.{name} is not that of {STAGES}.")
    if manifest["network"]["options"].get("num_classes") != baseline["classes"]:
        raise Differs(f"{MANIFEST}: network.options.num_classes is not that of {STAGES}.")
    if not contains(load_json(folder / SPEC, dict), json.loads(bundle["settings"]["spec"])):
        raise Differs(f"{SPEC} does not hold the settings of {STAGES}.")


def contains(value: Any, part: Any) -> bool:
    """Whether a JSON value holds all entries of another; it may have more in its objects."""
    if isinstance(part, dict) and isinstance(value, dict):
        return all(name in value and contains(value[name], part[name]) for name in part)
    return bool(value == part)


def load_test_images(folder: Path, manifest: Manifest, data: str) -> tuple[Any, Any]:
    """The test images, uint8 (N, S, S, 3), and their labels (N,).

    `data` is a file or a folder, or empty for the images in the bundle. Raises `Differs` for other
    images, and `CannotVerify` if there are none.
    """
    expected = manifest["images"]
    path = images_path(folder, expected["file"], data)
    try:
        path.open("rb").close()
    except OSError as error:
        raise CannotVerify(f"{path} cannot be read ({error.strerror}).") from error
    pixels = manifest["preprocessing"]["image_size"]
    shape = expected["count"], pixels, pixels, 3
    # Read only what has the right size: a small zip can unpack to more than the memory holds.
    limits = {"images": math.prod(shape), "labels": 16 * shape[0], "classes": 2**24}
    try:
        with zipfile.ZipFile(path) as arrays:
            for name, limit in limits.items():
                if arrays.getinfo(f"{name}.npy").file_size > limit + 2**12:
                    raise ValueError(f"{name} is too large")
        with np.load(path, allow_pickle=False) as arrays:
            images, labels, classes = (arrays[name] for name in limits)
        names = [str(name) for name in classes.tolist()]
        content = images.tobytes() + labels.astype("<i8").tobytes() + json.dumps(names).encode()
    except UNREADABLE as error:
        raise Differs(f"{path} does not hold the test images ({one_line(error)}).") from error
    if hashlib.sha256(content).hexdigest() != expected["sha256"]:
        raise Differs(f"The test images in {path} do not match the manifest.")
    shapes = images.shape, labels.shape
    if images.dtype != np.uint8 or shapes != (shape, shape[:1]) or not images.size:
        raise Differs(f"{MANIFEST}: the number or the size of the test images is not right.")
    if names != manifest["classes"]:
        raise Differs(f"{MANIFEST}: the classes are not those of the test images.")
    if not len(set(names)) == len(names) == manifest["network"]["options"]["num_classes"]:
        raise Differs(f"{MANIFEST}: the number of classes is not that of the network.")
    if not 0 <= labels.min() <= labels.max() < len(names):
        raise Differs(f"A label of the test images in {path} is none of the classes.")
    return images, labels


def images_path(folder: Path, name: str, data: str) -> Path:
    """The file of the test images. Raises `CannotVerify`."""
    if not data:
        if (folder / name).is_file():
            return folder / name
        raise CannotVerify(
            f"The test images are missing. Download {name} from the page Export, and pass it with "
            "--data."
        )
    path = Path(data)
    if not path.exists():
        raise CannotVerify(f"--data: {path} does not exist. Give the path of {name}.")
    if path.is_dir():
        if not (path / name).is_file():
            raise CannotVerify(f"--data: the folder {path} holds no {name}.")
        return path / name
    if not path.is_file():
        raise CannotVerify(f"--data: {path} is no file. Give the path of {name}.")
    return path


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


def predict(path: Path, images: Any, manifest: Manifest) -> np.ndarray:
    """The class of each image, int64 (N,), by the model. Raises `Differs` and `CannotVerify`."""
    if manifest["opener"] not in OPENERS:
        raise Differs(f"{MANIFEST}: there is no opener {one_line(manifest['opener'])}.")
    try:
        run = OPENERS[manifest["opener"]](path, manifest)
        scores = [
            np.asarray(run(normalize(images[start : start + BATCH], manifest)))
            for start in range(0, len(images), BATCH)
        ]
    except ImportError as error:
        raise CannotVerify(
            f"{one_line(error)}. Install it: pip install -r requirements.txt"
        ) from error
    # Each library has its own errors, and the bytes of the model were compared before.
    except Exception as error:
        reason = one_line(error)
        raise Differs(f"{path.name} does not run as the manifest says ({reason}).") from error
    if scores[0].shape[1:] != (len(manifest["classes"]),):
        raise Differs(f"{path.name} does not have an output for each class of the manifest.")
    return np.concatenate([part.argmax(1) for part in scores])


def check_predictions(folder: Path, labels: Any, manifest: Manifest) -> np.ndarray:
    """The recorded predictions, int64 (N,), compared with labels and claims. Raises `Differs`."""
    try:
        lines = (folder / PREDICTIONS).read_text(encoding="utf-8").splitlines()[1:]
        table = np.array([[int(value) for value in line.split(",")] for line in lines], np.int64)
        numbers, recorded_labels, recorded = table.T
    except (ValueError, OverflowError) as error:
        raise Differs(f"{PREDICTIONS} holds no predictions ({one_line(error)}).") from error
    if not np.array_equal(numbers, np.arange(len(labels))):
        raise Differs(f"{PREDICTIONS} does not have a line for each test image.")
    if not np.array_equal(recorded_labels, labels):
        raise Differs(f"The labels in {PREDICTIONS} are not those of the test images.")
    count, correct = len(labels), int((recorded == labels).sum())
    if correct != manifest["correct"]:
        raise Differs(
            f"{MANIFEST} says that {manifest['correct']:,} test images are correct, and "
            f"{PREDICTIONS} says {correct:,}."
        )
    if not near(manifest["accuracy"], correct / count):
        raise Differs(f"{MANIFEST}: the accuracy is not {correct:,} / {count:,}.")
    interval, claimed = wilson(correct, count), manifest["accuracy_interval_95"]
    if not (len(claimed) == 2 and all(map(near, claimed, interval))):
        low, high = (f"{100 * end:.2f}" for end in interval)
        raise Differs(f"{MANIFEST}: the 95 % interval is not {low} to {high} %.")
    return recorded


def near(claimed: Any, expected: float) -> bool:
    """Whether a claimed number is right up to rounding."""
    is_number = isinstance(claimed, int | float) and not isinstance(claimed, bool)
    return is_number and expected - 1e-6 <= claimed <= expected + 1e-6


def wilson(correct: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927), as fractions."""
    z = 1.959963984540054
    share, z2 = correct / count, z * z / count
    half = z * math.sqrt(share * (1 - share) / count + z2 / (4 * count))
    center = share + z2 / 2
    return (center - half) / (1 + z2), (center + half) / (1 + z2)


def check_accuracy(computed: np.ndarray, recorded: np.ndarray, labels: Any) -> str:
    """The accuracy on this machine in a sentence. Raises `Differs` if it is too far."""
    count, correct = len(labels), int((computed == labels).sum())
    expected, others = int((recorded == labels).sum()), int((computed != recorded).sum())
    result = f"{correct:,} of {count:,} test images are correct, the manifest says {expected:,}"
    if others > max(1, int(TOLERANCE * count)):
        raise Differs(
            f"{result}. {others:,} predictions are others than in {PREDICTIONS}: more than one "
            f"image and more than {100 * TOLERANCE:g} percentage points."
        )
    same = "every prediction is" if not others else f"all but {others:,} predictions are"
    return f"{result}; {same} that of {PREDICTIONS}."


def check_versions(folder: Path, manifest: Manifest) -> None:
    """Compare the versions of the manifest with requirements.txt. Raises `Differs`."""
    try:
        lines = (folder / REQUIREMENTS).read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise Differs(f"{REQUIREMENTS} is no text ({one_line(error)}).") from error
    for line in lines:
        name, _, least = line.partition(">=")
        if str(manifest["versions"].get(name, least)).split("+")[0] != least:
            raise Differs(f"{MANIFEST}: the version of {name} is not that of {REQUIREMENTS}.")


def machines(manifest: Manifest) -> str:
    """Where the model and its file were computed, and where this program runs."""
    claims = manifest["computed_on"]
    model, file = claims["model"], claims["file"]
    here = {name: found for name in file["versions"] if (found := installed(name))}
    same = all(file["versions"][name] == number for name, number in here.items())
    same = same and file["processor"].startswith(processor())
    hint = "" if same else " Another processor or version can give other bits and predictions."
    return (
        f"The bundle says that the model was computed on {place(model)}, and its file measured on "
        f"{place(file)}. This machine: {place({'processor': processor(), 'versions': here})}.{hint}"
    )


def place(facts: Manifest) -> str:
    """A processor with versions of packages, in words."""
    names = [facts["processor"] or "a processor that was not recorded"]
    names += [f"{name} {number}" for name, number in facts["versions"].items()]
    return one_line(", ".join(names))


def processor() -> str:
    """The processor of this machine, with its instruction set where PyTorch is loaded."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    name = next(names, "") or platform.processor() or platform.machine()
    if torch := sys.modules.get("torch"):
        return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
    return name


def installed(name: str) -> str:
    """The version of a package on this machine, or empty."""
    try:
        return version(name)
    except (PackageNotFoundError, ValueError):
        return ""


def verify(folder: Path, data: str) -> str:
    """The result in sentences. Raises `Differs` and `CannotVerify`."""
    manifest = load_manifest(folder)
    check_files(folder, manifest)
    check_stages(folder, manifest)
    check_versions(folder, manifest)
    if manifest["preprocessing"]["order"] != ORDER:
        raise Differs(f"{MANIFEST}: preprocessing.order is not what this program does.")
    images, labels = load_test_images(folder, manifest, data)
    recorded = check_predictions(folder, labels, manifest)
    accuracy = check_accuracy(
        predict(folder / manifest["model"], images, manifest), recorded, labels
    )
    return (
        f"All {len(manifest['files'])} files match the manifest, and the settings of all stages "
        f"give the key of the model.\n{accuracy}\n{machines(manifest)}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Verify the bundle in the folder of this file. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Verify a reproducibility bundle.")
    parser.add_argument("--data", default="", metavar="FILE", help="the test images, a .npz file")
    options, folder = parser.parse_args(arguments), Path(__file__).resolve().parent
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        if (folder / MANIFEST).is_file():
            print(f"SHA-256 of {MANIFEST}: {sha256(folder / MANIFEST)}")
            print("Compare it with the SHA-256 that Pruning Lab shows for this bundle.")
        print(verify(folder, options.data))
    except Differs as error:
        print(f"DIFFERS: {one_line(error, 1000)}", file=sys.stderr)
        return 1
    except (CannotVerify, OSError, MemoryError) as error:
        print(f"Not verified: {one_line(error, 1000)}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())

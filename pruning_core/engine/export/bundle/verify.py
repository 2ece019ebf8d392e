"""Verifies a reproducibility bundle: every claim of manifest.json is computed again or compared.

    python verify.py
    python verify.py --data test_images.npz

It compares the bytes of each file, the keys of the model and of the bundle with the settings of all
stages behind them, the classes, the preprocessing, the predictions and the table of results. It
computes the predictions, the accuracy and its interval again, and names what it cannot compute
again. Who makes a bundle can write a manifest that agrees with itself, so compare the digest that
this program prints with the one that Pruning Lab shows for the bundle.

Needs Python 3.10 and the packages of requirements.txt. Exit codes: 0 if the bundle matches its
manifest, 1 if something differs, 2 if it could not be verified.
"""

from __future__ import annotations

import sys

# A file beside this program must not be imported in place of a package: its bytes are unchecked.
if __name__ == "__main__" and not getattr(sys.flags, "safe_path", False):
    sys.path.pop(0)

import argparse
import csv
import hashlib
import json
import lzma
import math
import platform
import re
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
RESULTS, REPORT = "results.csv", "report.html"
REQUIRED = (PROGRAM, REQUIREMENTS, RESULTS, REPORT, STAGES, PREDICTIONS, SPEC)
PREDICTIONS_HEADER = "image,label,prediction"
# The modules that open a file of weights.
MODULES = ("sparse_loader.py", "widths.py")
REQUIREMENT = re.compile(r"([A-Za-z0-9_-]+)>=([0-9][0-9A-Za-z.]*)")
STAGE_ENTRIES = {"kind", "version", "parent", "settings"}
BUNDLE_VERSION = 3
# The entries of the manifest, with their types. Another entry is a claim that nothing checks.
ENTRIES: dict[str, Any] = {
    "bundle": int,
    "label": str,
    "model": str,
    "model_stage": str,
    "bundle_stage": str,
    "format": str,
    "exact": bool,
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
NOT_COMPUTED = (
    f"Not computed again: {REPORT}, the columns of {RESULTS} that hold no accuracy, and the "
    f"processors and versions. Only the digest of {MANIFEST} covers them."
)
ORDER = "RGB, (byte / 255 - mean) / std, float32 (N, 3, S, S)"
# What reading a damaged or foreign file of arrays raises.
UNREADABLE = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, NotImplementedError),
    *(OSError, RuntimeError, TypeError, ValueError),
    *(lzma.LZMAError, zipfile.BadZipFile, zlib.error),
)
# What reading a table of results raises that does not have its form.
ROUNDING = 1e-12
NO_TABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, csv.Error)
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
        value = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise Differs(f"{path.name} is no JSON ({one_line(error)}).") from error
    if not isinstance(value, kind):
        raise Differs(f"{path.name} does not hold a JSON {'object' if kind is dict else 'list'}.")
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The entries of a JSON object. Raises `ValueError` where a name is repeated."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{one_line(repeated)} is there twice")
    return entries


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
        if not isinstance(entry, kinds) or isinstance(entry, bool) != (kinds is bool):
            raise Differs(f"{MANIFEST}: the entry {place}{name} is missing or of the wrong type.")
        if isinstance(kind, dict):
            check_entries(entry, kind, f"{place}{name}.")
    unknown = sorted(set(value) - set(entries) - OPTIONAL.get(place, set()))
    if unknown:
        raise Differs(f"{MANIFEST}: nothing checks the entry {place}{one_line(unknown[0])}.")


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compare each file with the manifest, byte for byte. Raises `Differs`."""
    files, images = manifest["files"], manifest["images"]["file"]
    for name in (*REQUIRED, manifest["model"]):
        if name not in files:
            raise Differs(f"{MANIFEST} does not list {one_line(name)} among the files.")
    modules = MODULES if manifest["opener"] == open_weights.__name__ else ()
    expected_names = {*REQUIRED, *modules, manifest["model"], images}
    for name, expected in files.items():
        path = folder / name
        is_file = Path(name).name == name in expected_names and isinstance(expected, dict)
        if not is_file or set(expected) != {"bytes", "sha256"}:
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
    for path in sorted(folder.glob("*.py")):
        if path.name not in files:
            raise Differs(f"{one_line(path.name)} is no file of the bundle. Remove it.")


def other_files(folder: Path, manifest: Manifest) -> str:
    """The files and folders that are not of the bundle, in a sentence; they are not used."""
    known = {*manifest["files"], MANIFEST, manifest["images"]["file"]}
    names = sorted(path.name for path in folder.iterdir() if path.name not in known)
    others = [name for name in names if not name.startswith((".", "__"))]
    listed = one_line(", ".join(others))
    return f"Not of this bundle, and not checked: {listed}.\n" if others else ""


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
        if set(stage) != STAGE_ENTRIES or stage["parent"] != parent:
            raise Differs(f"{STAGES}: the stage {one_line(stage['kind'])} has another parent.")
        parent = stage_key(stage)
    if parent != manifest["bundle_stage"]:
        raise Differs(f"{MANIFEST}: bundle_stage is not that of {STAGES}.")
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
    options = manifest["network"]["options"]
    width = baseline["model"].get("width", 1.0)
    expected = {"num_classes": baseline["classes"], "width_mult": width}
    default = {"width_mult": 1.0 if uses_network(manifest) else width}
    for name, value in expected.items():
        if options.get(name, default.get(name)) != value:
            raise Differs(f"{MANIFEST}: network.options.{name} is not that of {STAGES}.")
    if load_json(folder / SPEC, dict) != json.loads(bundle["settings"]["spec"]):
        raise Differs(f"{SPEC} does not hold the settings of {STAGES}.")


def uses_network(manifest: Manifest) -> bool:
    """Whether the network is built from the manifest, and not read from the model file."""
    return bool(manifest["opener"] == open_weights.__name__)


def check_network(manifest: Manifest) -> None:
    """Refuse facts on the network that opening the file does not use. Raises `Differs`."""
    network = manifest["network"]
    unused = [f"options.{name}" for name in sorted(network["options"]) if name != "num_classes"]
    unused += ["widths"] if "widths" in network else []
    if unused and not uses_network(manifest):
        raise Differs(f"{MANIFEST}: nothing checks the entry network.{one_line(unused[0])}.")


def check_results(folder: Path, manifest: Manifest, count: int) -> None:
    """Compare the table of results with the plan, and its accuracies. Raises `Differs`."""
    bundle = load_json(folder / STAGES, list)[-1]["settings"]
    try:
        models = [m for m in json.loads(bundle["outline"])["models"] if m["key"] in bundle["done"]]
        text = (folder / RESULTS).read_text(encoding="utf-8")
        rows = list(csv.DictReader(text.splitlines(), strict=True))
        if len(rows) != len(models):
            raise Differs(f"{RESULTS} does not have a line for each model of {STAGES}.")
        dense: dict[str, float] = {}
        for number, (row, model) in enumerate(zip(rows, models, strict=True), 2):
            place = f"{RESULTS}, line {number}"
            for column, name in (("strategy", "strategy"), ("seed", "seed")):
                if row[column] != str(model[name]):
                    raise Differs(f"{place}: the {column} is not that of {STAGES}.")
            for column, name in (("iteration", "iteration"), ("sparsity_asked", "target")):
                if not near(float(row[column]), model[name]):
                    raise Differs(f"{place}: {column} is not that of {STAGES}.")
            check_row(place, row, count, dense)
            same_model = manifest["exact"] and model["key"] == manifest["model_stage"]
            others = abs(float(row["accuracy"]) - manifest["accuracy"]) * count
            if same_model and others > allowed(count):
                raise Differs(f"{place}: the accuracy of the model is not that of its file.")
    except NO_TABLE as error:
        raise Differs(f"{RESULTS} holds no table of results ({one_line(error)}).") from error


def check_row(place: str, row: dict[str, str], count: int, dense: dict[str, float]) -> None:
    """Compare the figures in a line that follow from others. Raises `Differs`.

    `dense` holds the accuracy of the baseline of each seed, which comes before its models.
    """
    names = ("accuracy", "accuracy_low", "accuracy_high", "accuracy_drop", "sparsity_model")
    accuracy, low, high, drop, sparsity = (float(row[name]) for name in names)
    correct = round(accuracy * count)
    baseline = dense.setdefault(row["seed"], accuracy)
    expected = {
        "accuracy": (accuracy, correct / count),
        "accuracy_low": (low, wilson(correct, count)[0]),
        "accuracy_high": (high, wilson(correct, count)[1]),
        "accuracy_drop": (drop, baseline - accuracy),
        "sparsity_model": (sparsity, 1 - int(row["nonzero"]) / int(row["parameters"])),
    }
    for name, (value, right) in expected.items():
        if not abs(value - right) <= ROUNDING:
            raise Differs(f"{place}: {name} does not follow from the other figures.")


def load_test_images(folder: Path, manifest: Manifest, data: str) -> tuple[Any, Any]:
    """The test images, uint8 (N, S, S, 3), and their labels (N,).

    `data` is a file or a folder, or empty for the images in the bundle. Raises `Differs` for other
    images, and `CannotVerify` if there are none.
    """
    expected = manifest["images"]
    if Path(expected["file"]).name != expected["file"]:
        raise Differs(f"{MANIFEST}: images.file is no name of a file.")
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


def open_mnn(path: Path, manifest: Manifest) -> Run:
    """Run an MNN file in float32."""
    import MNN

    settings = {"backend": "CPU", "precision": "high"}
    runtime = MNN.nn.create_runtime_manager((settings,))
    names = ["images"], ["scores"]
    network = MNN.nn.load_module_from_file(str(path), *names, runtime_manager=runtime)

    def run(images: np.ndarray) -> Any:
        pixels = MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)
        (scores,) = network.onForward([pixels])
        return np.array(MNN.expr.convert(scores, MNN.expr.NCHW).read()).reshape(len(images), -1)

    return run


def open_weights(path: Path, manifest: Manifest) -> Run:
    """Load a file of weights into torchvision's network."""
    import torch
    from torchvision.models import get_model

    # The bytes of the modules beside the model were compared; packages of a name go first.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
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
    for opener in (open_onnx, open_torch_export, open_executorch, open_mnn, open_weights)
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
        header, *lines = (folder / PREDICTIONS).read_text(encoding="utf-8").splitlines()
        if header != PREDICTIONS_HEADER:
            raise ValueError(f"its first line is not {PREDICTIONS_HEADER}")
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
    if others > allowed(count):
        raise Differs(
            f"{result}. {others:,} predictions are others than in {PREDICTIONS}: more than one "
            f"image and more than {100 * TOLERANCE:g} percentage points."
        )
    same = "every prediction is" if not others else f"all but {others:,} predictions are"
    return f"{result}; {same} that of {PREDICTIONS}."


def allowed(count: int) -> int:
    """The number of test images that may be predicted differently on another machine."""
    return max(1, int(TOLERANCE * count))


def check_versions(folder: Path, manifest: Manifest) -> None:
    """Compare the versions of the manifest with requirements.txt. Raises `Differs`."""
    try:
        lines = (folder / REQUIREMENTS).read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise Differs(f"{REQUIREMENTS} is no text ({one_line(error)}).") from error
    for line in lines:
        match = REQUIREMENT.fullmatch(line)
        if not match or match[1] not in manifest["versions"]:
            raise Differs(f"{REQUIREMENTS}: {one_line(line) or 'an empty line'} is no requirement.")
        if str(manifest["versions"][match[1]]).split("+")[0] != match[2]:
            raise Differs(f"{MANIFEST}: the version of {match[1]} is not that of {REQUIREMENTS}.")


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
        f"{place(file)}. It was packed with {in_words(manifest['versions'])}. "
        f"This machine: {place({'processor': processor(), 'versions': here})}.{hint}"
    )


def place(facts: Manifest) -> str:
    """A processor with versions of packages, in words."""
    name = facts["processor"] or "a processor that was not recorded"
    return one_line(", ".join(filter(None, (name, in_words(facts["versions"])))))


def in_words(versions: Manifest) -> str:
    """Versions of packages in words."""
    return one_line(", ".join(f"{name} {number}" for name, number in versions.items()))


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
    check_network(manifest)
    check_versions(folder, manifest)
    if manifest["preprocessing"]["order"] != ORDER:
        raise Differs(f"{MANIFEST}: preprocessing.order is not what this program does.")
    images, labels = load_test_images(folder, manifest, data)
    recorded = check_predictions(folder, labels, manifest)
    check_results(folder, manifest, len(labels))
    accuracy = check_accuracy(
        predict(folder / manifest["model"], images, manifest), recorded, labels
    )
    return (
        f"All {len(manifest['files'])} files match the manifest, and the settings of all stages "
        f"give the key of the model.\n{other_files(folder, manifest)}{accuracy}\n"
        f"{machines(manifest)}\n{rounding(manifest)}{NOT_COMPUTED}"
    )


def rounding(manifest: Manifest) -> str:
    """That the accuracy of the file is not compared with that of the model, where it is so."""
    if manifest["exact"]:
        return ""
    return f"This format rounds the weights, so {RESULTS} may have another accuracy of the model.\n"


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

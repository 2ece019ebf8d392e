"""The stage that packs a passport: the model's file, and what it takes to check and remake it."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import zipfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pruning_core.common.formatting import format_bytes
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.export.compact_file import widths_in
from pruning_core.engine.export.stage import PREDICTIONS_FILE, architecture_of
from pruning_core.engine.stage_inputs import baseline_key, channels_removed, load_splits
from pruning_core.engine.structured import widths
from pruning_core.planning.stage import Outline
from pruning_core.reports import csv_export
from pruning_core.reports.html_report import html
from pruning_core.results import models
from pruning_core.results.findings import findings
from pruning_core.settings.spec import from_json, to_json
from pruning_core.storage.bundle import FILE, IMAGES
from pruning_core.storage.stage_context import Context

Result = dict[str, Any]
HERE = Path(__file__).resolve().parent
VERSIONS = (
    *("torch", "torchvision", "numpy", "safetensors", "torch-pruning"),
    *("onnx", "onnxscript", "onnxruntime", "executorch"),
)
# A date in the zip would change its bytes each time it is packed.
EPOCH = (1980, 1, 1, 0, 0, 0)
NEEDS = {
    "onnx": ("numpy", "onnxruntime"),
    "pt2": ("numpy", "torch"),
    "pte": ("numpy", "torch", "executorch"),
    "pth": ("numpy", "torch", "torchvision"),
    "safetensors": ("numpy", "torch", "torchvision", "safetensors"),
    "sparse": ("numpy", "torch", "torchvision", "safetensors"),
}


def bundle(context: Context) -> Result:
    """Pack the zip; the test images go into it where they are small enough, else beside it."""
    store, settings = context.store, context.settings
    made = store.read(context.row.parent)
    model = store.file(context.row.parent, made["file"])
    root = baseline_key(store, settings["point"])
    base = store.settings(root)["settings"]
    context.progress.say(0.1, "Packing the test images")
    splits = load_splits(store, store.settings(root)["parent"], base["data"])
    images = _images(splits.test, context.folder / IMAGES)
    inside = (context.folder / IMAGES).stat().st_size <= settings["image_bytes"]
    context.progress.say(0.5, "Packing the rest")
    files = {
        model.name: model.read_bytes(),
        PREDICTIONS_FILE: store.file(context.row.parent, PREDICTIONS_FILE).read_bytes(),
        **_results(context),
        **_programs(model),
        **({IMAGES: (context.folder / IMAGES).read_bytes()} if inside else {}),
    }
    about = _about(context, made, base, root) | {"model": model.name, "images": images}
    about["files"] = {name: _digest(content) for name, content in files.items()}
    files["passport.json"] = (json.dumps(about, indent=2) + "\n").encode()
    _pack(files, context.folder / FILE)
    return {
        "file": FILE,
        "bytes": (context.folder / FILE).stat().st_size,
        "images": IMAGES,
        "images_inside": inside,
        "notes": [
            *([] if inside else [_outside(context.folder / IMAGES)]),
            f"SHA-256 of {FILE}: {_digest((context.folder / FILE).read_bytes())['sha256']}.",
        ],
    }


def _images(test: ImageSet, path: Path) -> Result:
    """Write the preprocessed test images; what stands for them in the passport."""
    pixels, labels = test.batch(np.arange(len(test))).numpy(), test.labels.numpy().astype("<i8")
    np.savez_compressed(path, images=pixels, labels=labels)
    digest = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    return {"file": path.name, "count": len(test), "sha256": digest}


def _results(context: Context) -> dict[str, bytes]:
    """The spec that makes it again, and what its job found: as a table and as a report."""
    settings, spec = context.settings, from_json(context.settings["spec"])
    outline, job = Outline.from_json(settings["outline"]), settings["job"]
    # Only what the key tells: int8 files of these points may be made at any time.
    frame = pd.DataFrame(models.point_rows(outline, context.store, settings["label"], job))
    return {
        "spec.json": to_json(spec).encode(),
        "results.csv": csv_export.to_csv(frame).encode(),
        "report.html": html(frame, {job: spec}, findings(frame)).encode(),
    }


def _programs(model: Path) -> dict[str, bytes]:
    """What checks it, and what it needs."""
    needs = NEEDS[model.suffix.removeprefix(".")]
    lines = [f"{name}>={version(name).split('+')[0]}\n" for name in needs]
    found = {
        "verify.py": (HERE / "verify.py").read_bytes(),
        "requirements.txt": "".join(lines).encode(),
    }
    if model.suffix == ".sparse":
        found["sparse_loader.py"] = (HERE.parent / "sparse_loader.py").read_bytes()
    if model.suffix in (".sparse", ".pth", ".safetensors"):
        found["structure.py"] = Path(widths.__file__).read_bytes()
    return found


def _about(context: Context, made: Result, base: Result, root: str) -> Result:
    data, decoded = base["data"], context.store.settings(root)["parent"]
    return {
        "bundle": 1,
        "format": context.settings["format"],
        "label": context.settings["label"],
        "classes": context.store.read(decoded)["classes"],
        "preprocessing": {
            "image_size": data["image_size"],
            "mean": data["mean"],
            "std": data["std"],
            "order": "float32 (N, 3, S, S), RGB, (byte / 255 - mean) / std; the short side to "
            "image_size, then the centre",
        },
        "network": {**architecture_of(base), **_widths(context, made)},
        "accuracy": made["accuracy"],
        "accuracy_interval_95": [made["accuracy_low"], made["accuracy_high"]],
        "right": made["right"],
        "data_sha256": context.store.settings(decoded)["settings"]["digest"],
        "remake": f"python -m pruning_core compare --spec spec.json, then export JOB; the point's "
        f"stage is {context.settings['point']}",
        "versions": _versions(),
    }


def _widths(context: Context, made: Result) -> Result:
    """The widths of a network that has lost channels; nothing where it has not."""
    store, settings = context.store, context.settings
    if settings["format"] == "compact":
        return {"structure": widths_in(store.file(context.row.parent, made["file"]))}
    key = settings["point"]
    return (
        {"structure": widths.read(store.file(key, widths.FILE))}
        if channels_removed(store, key)
        else {}
    )


def _versions() -> dict[str, str]:
    own = {"python": sys.version.split()[0], "machine": platform.machine()}
    return own | {name: version(name) for name in VERSIONS if find_spec(name.replace("-", "_"))}


def _digest(content: bytes) -> Result:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _pack(files: dict[str, bytes], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(name, EPOCH), content, zipfile.ZIP_DEFLATED)


def _outside(path: Path) -> str:
    size = format_bytes(path.stat().st_size)
    return (
        f"The test images ({size}) are too large for the zip. Take {path.name} too, and give it "
        "to verify.py with --data."
    )

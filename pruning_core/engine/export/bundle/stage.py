"""The stage that packs a reproducibility bundle: a model, and what verifies and reproduces it."""

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
from pruning_core.common.paths import PROJECT
from pruning_core.engine.data.decoding import fitting
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.export.compact_file import widths_in
from pruning_core.engine.export.stage import PREDICTIONS_FILE, architecture_of
from pruning_core.engine.stage_inputs import (
    baseline_key,
    baseline_settings,
    channels_removed,
    load_splits,
)
from pruning_core.engine.structured import widths
from pruning_core.methods.datasets import RESIZE_METHODS
from pruning_core.methods.file_formats import FILE_FORMATS, FileFormat
from pruning_core.planning.stage import Outline, read_result
from pruning_core.planning.stage_types import (
    BaselineSettings,
    BundleResult,
    BundleSettings,
    DatasetResult,
    DatasetSettings,
    ExportResult,
    restored,
)
from pruning_core.reports import csv_export
from pruning_core.reports.html_report import html_report
from pruning_core.results.findings import findings
from pruning_core.results.models import model_rows
from pruning_core.settings.spec import from_json, to_json
from pruning_core.storage.bundle import BUNDLE_FILE, IMAGES_FILE
from pruning_core.storage.stage_context import Context

Result = dict[str, Any]
HERE = Path(__file__).resolve().parent
MANIFEST_FILE = "manifest.json"
VERSIONED_PACKAGES = (
    *("torch", "torchvision", "numpy", "safetensors", "torch-pruning"),
    *("onnx", "onnxscript", "onnxruntime", "executorch"),
)
# A fixed date, so that packing again gives the same bytes.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def bundle(context: Context[BundleSettings]) -> BundleResult:
    """Pack the zip. Test images that are too large for it are a file of their own."""
    store, settings = context.store, context.settings
    exported = read_result(store, context.row.parent, ExportResult)
    model = store.file(context.row.parent, exported.file)
    root = baseline_key(store, settings.point)
    base = baseline_settings(store, root)
    context.progress.say(0.1, "Packing the test images")
    splits = load_splits(store, store.settings(root)["parent"], base.data)
    images = _images(splits.test, context.folder / IMAGES_FILE)
    inside = (context.folder / IMAGES_FILE).stat().st_size <= settings.image_bytes
    context.progress.say(0.5, "Packing the rest")
    files = {
        model.name: model.read_bytes(),
        PREDICTIONS_FILE: store.file(context.row.parent, PREDICTIONS_FILE).read_bytes(),
        **_results(context),
        **_programs(FILE_FORMATS[settings.format]),
        **({IMAGES_FILE: (context.folder / IMAGES_FILE).read_bytes()} if inside else {}),
    }
    manifest = _manifest(context, exported, base, root)
    manifest |= {"model": model.name, "images": images}
    manifest["files"] = {name: _digest(content) for name, content in files.items()}
    files[MANIFEST_FILE] = (json.dumps(manifest, indent=2) + "\n").encode()
    _pack(files, context.folder / BUNDLE_FILE)
    zip_file = context.folder / BUNDLE_FILE
    return BundleResult(
        file=BUNDLE_FILE,
        bytes=zip_file.stat().st_size,
        images=IMAGES_FILE,
        images_inside=inside,
        notes=[
            *([] if inside else [_images_note(context.folder / IMAGES_FILE)]),
            f"SHA-256 of {BUNDLE_FILE}: {_digest(zip_file.read_bytes())['sha256']}.",
        ],
    )


def _images(test: ImageSet, path: Path) -> Result:
    """Write the resized test images. Returns their entry in the manifest."""
    pixels, labels = test.batch(np.arange(len(test))).numpy(), test.labels.numpy().astype("<i8")
    np.savez_compressed(path, images=pixels, labels=labels)
    digest = hashlib.sha256(pixels.tobytes() + labels.tobytes()).hexdigest()
    return {"file": path.name, "count": len(test), "sha256": digest}


def _results(context: Context[BundleSettings]) -> dict[str, bytes]:
    """The settings file, and the results of its job as a table and as a report."""
    settings = context.settings
    spec = from_json(settings.spec)
    outline, job = Outline.from_json(settings.outline), settings.job
    # Only what the key of the stage covers: int8 files of these models may be added at any time.
    frame = pd.DataFrame(model_rows(outline, context.store, settings.label, job))
    return {
        "spec.json": to_json(spec).encode(),
        "results.csv": csv_export.to_csv(frame).encode(),
        "report.html": html_report(frame, {job: spec}, findings(frame)).encode(),
    }


def _programs(file_format: FileFormat) -> dict[str, bytes]:
    """verify.py, its requirements, and the modules that it imports."""
    packages = ("numpy", *file_format.needs)
    lines = [f"{name}>={version(name).split('+')[0]}\n" for name in packages]
    return {
        "verify.py": (HERE / "verify.py").read_bytes(),
        "requirements.txt": "".join(lines).encode(),
        **{path.name: path.read_bytes() for path in map(module_file, file_format.modules)},
    }


def module_file(name: str) -> Path:
    """The source file of a module of this project, by its dotted name."""
    return PROJECT / f"{name.replace('.', '/')}.py"


def _manifest(
    context: Context[BundleSettings], exported: ExportResult, base: BaselineSettings, root: str
) -> Result:
    """What the bundle states about the model; `base` are the settings of its baseline."""
    settings, store = context.settings, context.store
    data, dataset = base.data, store.settings(root)["parent"]
    decoded = restored(DatasetSettings, store.settings(dataset)["settings"])
    return {
        "bundle": 1,
        "format": settings.format,
        "opener": FILE_FORMATS[settings.format].opener,
        "label": settings.label,
        "classes": read_result(store, dataset, DatasetResult).classes,
        "preprocessing": {
            "image_size": data["image_size"],
            "mean": data["mean"],
            "std": data["std"],
            "order": f"{_fitted(decoded)}, RGB, (byte / 255 - mean) / std, float32 (N, 3, S, S)",
        },
        "network": {**architecture_of(base), **_widths(context, exported)},
        "accuracy": exported.accuracy,
        "accuracy_interval_95": [exported.accuracy_low, exported.accuracy_high],
        "correct": exported.right,
        "data_sha256": decoded.digest,
        "reproduce": "python -m pruning_core compare --spec spec.json, then export JOB; the key of "
        f"the model's stage is {settings.point}",
        "versions": _versions(),
    }


def _fitted(decoded: DatasetSettings) -> str:
    """How a file became a square of 8-bit values."""
    method, limits = fitting(decoded)
    text = f"resized to image_size ({RESIZE_METHODS[method].help.rstrip('.')})"
    if limits:
        text += f", 16-bit values {limits[0]} to {limits[1]} scaled to 0 to 255"
    return text


def _widths(context: Context[BundleSettings], exported: ExportResult) -> Result:
    """The widths of a network without some of its channels; nothing for a full network."""
    store, settings = context.store, context.settings
    if FILE_FORMATS[settings.format].has_widths:
        return {"widths": widths_in(store.file(context.row.parent, exported.file))}
    key = settings.point
    if not channels_removed(store, key):
        return {}
    return {"widths": widths.read(store.file(key, widths.FILE))}


def _versions() -> dict[str, str]:
    installed = [name for name in VERSIONED_PACKAGES if find_spec(name.replace("-", "_"))]
    return {
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        **{name: version(name) for name in installed},
    }


def _digest(content: bytes) -> Result:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _pack(files: dict[str, bytes], path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(zipfile.ZipInfo(name, ZIP_DATE), content, zipfile.ZIP_DEFLATED)


def _images_note(path: Path) -> str:
    size = format_bytes(path.stat().st_size)
    return (
        f"The test images ({size}) are too large for the zip. Download {path.name} too, and pass "
        "it to verify.py with --data."
    )

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
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.export.bundle.verify import BUNDLE_VERSION, ORDER, open_weights
from pruning_core.engine.export.compact_file import widths_in
from pruning_core.engine.export.stage import PREDICTIONS_FILE, architecture_of
from pruning_core.engine.stage_inputs import baseline_of, channels_removed, splits_of_baseline
from pruning_core.engine.structured import widths
from pruning_core.methods.file_formats import FILE_FORMATS, FileFormat
from pruning_core.planning.inspection_types import DatasetResult, DatasetSettings
from pruning_core.planning.measurement_types import BundleResult, BundleSettings, ExportResult
from pruning_core.planning.model_types import BaselineSettings, ModelResult
from pruning_core.planning.stage import Outline, read_result
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored
from pruning_core.reports import csv_export
from pruning_core.reports.html_report import html_report
from pruning_core.results.models import model_rows
from pruning_core.settings.spec import from_json, to_json
from pruning_core.storage.bundle import BUNDLE_FILE, IMAGES_FILE
from pruning_core.storage.stage_context import Context

Result = dict[str, Any]
HERE = Path(__file__).resolve().parent
MANIFEST_FILE, STAGES_FILE = "manifest.json", "stages.json"
VERSIONED_PACKAGES = (
    *("torch", "torchvision", "numpy", "safetensors", "torch-pruning"),
    *("onnx", "onnxscript", "onnxruntime", "executorch", "MNN"),
)
# A fixed date, so that packing again gives the same bytes.
ZIP_DATE = (1980, 1, 1, 0, 0, 0)


def bundle(context: Context[BundleSettings]) -> BundleResult:
    """Pack the zip. Test images that are too large for it are a file of their own."""
    store, settings = context.store, context.settings
    exported = read_result(store, context.row.parent, ExportResult)
    model = store.file(context.row.parent, exported.file)
    root, base = baseline_of(store, settings.point)
    context.progress.say(0.1, "Packing the test images")
    splits = splits_of_baseline(store, root, base)
    classes = read_result(store, store.settings(root)["parent"], DatasetResult).classes
    images = _images(splits.test, classes, context.folder / IMAGES_FILE)
    inside = (context.folder / IMAGES_FILE).stat().st_size <= settings.image_bytes
    context.progress.say(0.5, "Packing the rest")
    files = {
        model.name: model.read_bytes(),
        PREDICTIONS_FILE: store.file(context.row.parent, PREDICTIONS_FILE).read_bytes(),
        STAGES_FILE: _as_json(_stages(context)),
        **_results(context),
        **_programs(FILE_FORMATS[settings.format]),
        **({IMAGES_FILE: (context.folder / IMAGES_FILE).read_bytes()} if inside else {}),
    }
    manifest = _manifest(context, exported, base, root)
    manifest |= {"model": model.name, "images": images, "classes": classes}
    manifest["files"] = {name: _digest(content) for name, content in files.items()}
    files[MANIFEST_FILE] = _as_json(manifest)
    manifest_sha256 = _digest(files[MANIFEST_FILE])["sha256"]
    _pack(files, context.folder / BUNDLE_FILE)
    zip_file = context.folder / BUNDLE_FILE
    return BundleResult(
        file=BUNDLE_FILE,
        bytes=zip_file.stat().st_size,
        images=IMAGES_FILE,
        images_inside=inside,
        manifest_sha256=manifest_sha256,
        notes=[
            *([] if inside else [_images_note(context.folder / IMAGES_FILE)]),
            f"SHA-256 of {BUNDLE_FILE}: {_digest(zip_file.read_bytes())['sha256']}.",
            f"SHA-256 of {MANIFEST_FILE}: {manifest_sha256}. verify.py prints it; compare both.",
        ],
    )


def _images(test: ImageSet, classes: list[str], path: Path) -> Result:
    """Write the resized test images with their classes. Returns their entry in the manifest."""
    pixels, labels = test.batch(np.arange(len(test))).numpy(), test.labels.numpy().astype("<i8")
    np.savez_compressed(path, images=pixels, labels=labels, classes=np.array(classes))
    content = pixels.tobytes() + labels.tobytes() + json.dumps(classes).encode()
    return {
        "file": path.name,
        "count": len(test),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _stages(context: Context[BundleSettings]) -> list[Result]:
    """The stages from the data set to the bundle, as what enters their keys.

    A key covers the stage and, by the key of its parent, all stages before it: from these entries
    verify.py computes the key of the model again.
    """
    row, store = context.row, context.store
    stages: list[Result] = [{"kind": row.kind, "parent": row.parent, "settings": row.settings}]
    while parent := stages[-1]["parent"]:
        stages.append(store.settings(parent))
    return [{**s, "version": STAGE_KINDS[s["kind"]].version} for s in reversed(stages)]


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


def _results(context: Context[BundleSettings]) -> dict[str, bytes]:
    """The settings file, and the results of its job as a table and as a report."""
    settings = context.settings
    spec = from_json(settings.spec)
    outline, job = Outline.from_json(settings.outline), settings.job
    # Only what the key of the stage covers: int8 files and further models may be added at any time.
    rows = model_rows(outline, context.store, settings.label, job)
    frame = pd.DataFrame([row for row in rows if row["key"] in settings.done])
    return {
        "spec.json": to_json(spec).encode(),
        "results.csv": csv_export.to_csv(frame).encode(),
        "report.html": html_report(frame, {job: spec}).encode(),
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
        "bundle": BUNDLE_VERSION,
        "format": settings.format,
        "exact": FILE_FORMATS[settings.format].exact,
        "opener": FILE_FORMATS[settings.format].opener,
        "label": settings.label,
        "preprocessing": {
            "image_size": data["image_size"],
            "mean": data["mean"],
            "std": data["std"],
            "order": ORDER,
        },
        "network": _network(context, exported, base),
        "accuracy": exported.accuracy,
        "accuracy_interval_95": [exported.accuracy_low, exported.accuracy_high],
        "correct": exported.right,
        "data_sha256": decoded.digest,
        "model_stage": settings.point,
        "bundle_stage": context.row.key,
        "computed_on": {
            "model": _machine(read_result(store, settings.point, ModelResult)),
            "file": _machine(exported),
        },
        "versions": _versions(),
    }


def _machine(result: ModelResult | ExportResult) -> Result:
    """Where a result was computed."""
    return {"processor": result.processor, "versions": result.versions}


def _network(
    context: Context[BundleSettings], exported: ExportResult, base: BaselineSettings
) -> Result:
    """The architecture; how it is built only where the model file does not hold the network."""
    network = architecture_of(base)
    if FILE_FORMATS[context.settings.format].opener != open_weights.__name__:
        return {**network, "options": {"num_classes": network["options"]["num_classes"]}}
    return {**network, **_widths(context, exported)}


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

"""The reproducibility bundle, verified in an environment without this project."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pruning_core.common.paths import Cache
from pruning_core.engine.export.bundle.stage import module_file
from pruning_core.engine.export.bundle.verify import OPENERS
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.planning.stage_kinds import INSPECTIONS, STAGE_KINDS
from pruning_core.settings.spec import from_json
from pruning_core.storage import bundle as bundles
from pruning_core.storage.bundle import BUNDLE_FILE, BUNDLE_FORMATS, IMAGES_FILE, bundle_stage
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.bundles import Python, verify
from tests.helpers.workers import ONE_CUT, finished_run, serve

FORMATS = tuple(
    n for n in BUNDLE_FORMATS if not (p := FILE_FORMATS[n].package) or find_spec(p) is not None
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A finished run and the files of its last model."""
    finished = finished_run(tmp_path_factory.mktemp("bundle"))
    Queue(finished.queue).add([export_stage(last_model(finished), name) for name in FORMATS])
    serve(finished, STAGE_KINDS)
    return finished


def last_model(cache: Cache, number: int = -1) -> str:
    """The key of the last model of a job; jobs are ordered from the newest to the first."""
    job = Queue(cache.queue).jobs()[number]
    return Outline.from_json(job.outline).models[-1].key


def packed(cache: Cache, name: str, folder: Path, number: int = -1) -> Path:
    """The unpacked bundle of a file."""
    job, store = Queue(cache.queue).jobs()[number], Store(cache)
    stage = bundle_stage(job, last_model(cache, number), name, store)
    Queue(cache.queue).add([stage] if not store.exists(stage.key) else [])
    serve(cache)
    path = store.file(stage.key, BUNDLE_FILE)
    with zipfile.ZipFile(path) as zipped:
        zipped.extractall(folder)
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_a_bundle_is_verified_and_a_changed_byte_is_detected(
    cache: Cache, python: Python, tmp_path: Path, name: str
) -> None:
    folder = packed(cache, name, tmp_path)
    done = verify(python, folder)
    assert done.returncode == 0, done.stderr
    assert "100 test images are correct" in done.stdout
    model = folder / json.loads((folder / "manifest.json").read_text())["model"]
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    done = verify(python, folder)
    assert done.returncode == 1
    assert f"{model.name} has the right size, but not the right content" in done.stderr


def test_its_settings_reproduce_the_model(
    cache: Cache, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In an empty cache, the stage that the manifest names has the same bits."""
    folder = packed(cache, "bitmask_fp32", tmp_path)
    spec = from_json((folder / "spec.json").read_text())
    again = finished_run(tmp_path_factory.mktemp("again"), spec, shared=INSPECTIONS)
    key = last_model(again)
    assert key in json.loads((folder / "manifest.json").read_text())["reproduce"]
    assert not again.stages.samefile(cache.stages)
    Queue(again.queue).add([stage := export_stage(key, "bitmask_fp32")])
    serve(again)
    file = Store(again).read(stage.key)["file"]
    assert Store(again).file(stage.key, file).read_bytes() == (folder / file).read_bytes()


def test_the_manifest_describes_the_model(cache: Cache, tmp_path: Path) -> None:
    folder = packed(cache, "onnx", tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    exported = Store(cache).read(export_stage(last_model(cache), "onnx").key)
    assert manifest["correct"] == exported["right"]
    assert manifest["classes"] == [str(n) for n in range(10)]
    assert manifest["preprocessing"]["image_size"] == 32
    assert {"python", "torch", "onnxruntime", "torch-pruning"} <= set(manifest["versions"])
    assert from_json((folder / "spec.json").read_text()) == ONE_CUT
    assert "one_shot" in (folder / "results.csv").read_text()
    assert "<html" in (folder / "report.html").read_text()
    lines = (folder / "predictions.csv").read_text().splitlines()
    assert lines[0] == "image,label,prediction"
    rows = [line.split(",") for line in lines[1:]]
    assert sum(label == prediction for _, label, prediction in rows) == exported["right"]
    with np.load(folder / "test_images.npz") as images:
        assert images["images"].shape == (100, 32, 32, 3)
        assert images["labels"].tolist() == [int(label) for _, label, _ in rows]


def test_a_run_of_several_seeds_is_reported_with_all_of_them(
    cache: Cache, python: Python, tmp_path: Path
) -> None:
    queue = Queue(cache.queue)
    queue.submit(replace(ONE_CUT, seeds=(0, 1)), "Two seeds")
    serve(cache)
    queue.add([export_stage(last_model(cache, 0), "bitmask_int8")])
    serve(cache)
    folder = packed(cache, "bitmask_int8", tmp_path, 0)
    rows = pd.read_csv(folder / "results.csv")
    assert set(rows["seed"]) == {0, 1}
    assert set(rows["seeds"]) == {2}
    assert "mean of 2 seeds" in (folder / "report.html").read_text()
    assert verify(python, folder).returncode == 0


def test_a_wrong_accuracy_differs(cache: Cache, python: Python, tmp_path: Path) -> None:
    folder = packed(cache, "onnx", tmp_path)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "correct": manifest["correct"] + 2}))
    done = verify(python, folder)
    assert done.returncode == 1
    assert "more than one image and more than 0.2 percentage points" in done.stderr
    path.write_text(json.dumps({**manifest, "correct": manifest["correct"] + 1}))
    assert verify(python, folder).returncode == 0


@pytest.mark.parametrize("name", ["predictions.csv", "spec.json"])
def test_a_missing_file_differs(cache: Cache, python: Python, tmp_path: Path, name: str) -> None:
    folder = packed(cache, "onnx", tmp_path)
    (folder / name).unlink()
    done = verify(python, folder)
    assert done.returncode == 1
    assert f"{name} is missing" in done.stderr


def test_images_that_are_too_large_for_the_zip_are_passed_separately(
    cache: Cache, python: Python, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "MAX_IMAGE_BYTES", 10)
    folder = packed(cache, "onnx", tmp_path / "zip")
    job, store = Queue(cache.queue).jobs()[-1], Store(cache)
    stage = bundle_stage(job, last_model(cache), "onnx", store)
    assert "too large for the zip" in store.read(stage.key)["notes"][0]
    images = store.file(stage.key, IMAGES_FILE)
    done = verify(python, folder)
    assert done.returncode == 2
    assert "--data" in done.stderr
    assert verify(python, folder, "--data", str(images)).returncode == 0
    with np.load(images) as arrays:
        others = arrays["images"].copy()
        others[0] += 1
        np.savez_compressed(tmp_path / "others.npz", images=others, labels=arrays["labels"])
    done = verify(python, folder, "--data", str(tmp_path / "others.npz"))
    assert done.returncode == 1
    assert "do not match the manifest" in done.stderr


def test_damaged_images_differ(cache: Cache, python: Python, tmp_path: Path) -> None:
    folder = packed(cache, "onnx", tmp_path)
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    done = verify(python, folder, "--data", str(tmp_path / "broken.npz"))
    assert done.returncode == 1
    assert "does not hold the test images" in done.stderr


def test_each_format_of_a_bundle_has_an_opener_and_its_modules() -> None:
    """A format without an opener is exported, and not offered for a bundle."""
    for name in BUNDLE_FORMATS:
        assert FILE_FORMATS[name].opener in OPENERS
        assert all(module_file(module).is_file() for module in FILE_FORMATS[name].modules)
    assert {name for name in FILE_FORMATS if name not in BUNDLE_FORMATS} == {"zlib", "lzma"}


def test_packing_twice_gives_the_same_key(cache: Cache) -> None:
    job, store = Queue(cache.queue).jobs()[-1], Store(cache)
    keys = {
        bundle_stage(job, last_model(cache), name, store).key
        for name in (BUNDLE_FORMATS[0], BUNDLE_FORMATS[0])
    }
    assert len(keys) == 1

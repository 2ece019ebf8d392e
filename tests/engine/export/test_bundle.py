"""The reproducibility bundle, verified in an environment without this project."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.export.bundle import verify as verification
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
from tests.helpers.refusals import one_line
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
    assert key == json.loads((folder / "manifest.json").read_text())["model_stage"]
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


Edit = Callable[[dict[str, Any]], object]


def listed(name: str, value: object) -> Edit:
    return lambda manifest: manifest["files"].update({name: value})


# An edit of the manifest, and what the message of verify.py names.
EDITS: dict[str, tuple[Edit, str]] = {
    "accuracy": (lambda m: m.update(accuracy=m["accuracy"] + 0.01), "the accuracy is not"),
    "accuracy without a number": (lambda m: m.update(accuracy=float("nan")), "the accuracy is not"),
    "accuracy beyond floats": (lambda m: m.update(accuracy=10**400), "the accuracy is not"),
    "interval": (lambda m: m["accuracy_interval_95"].reverse(), "95 % interval is not"),
    "no interval": (lambda m: m["accuracy_interval_95"].clear(), "95 % interval is not"),
    "correct": (lambda m: m.update(correct=m["correct"] + 1), "predictions.csv says"),
    "classes in another order": (lambda m: m["classes"].reverse(), "classes are not those"),
    "one class fewer": (lambda m: m["classes"].pop(), "classes are not those"),
    "data digest": (lambda m: m.update(data_sha256="0" * 64), "data_sha256 is not that of"),
    "model stage": (lambda m: m.update(model_stage="0" * 64), "model_stage is not that of"),
    "label": (lambda m: m.update(label="Another run"), "label is not that of"),
    "format": (lambda m: m.update(format="onnx_int8"), "format is not that of"),
    "opener": (lambda m: m.update(opener="open_weights"), "options.width_mult is not that of"),
    "no such opener": (lambda m: m.update(opener="\x1b[31m"), "there is no opener ?[31m"),
    "mean": (lambda m: m["preprocessing"].update(mean=[0.0, 0.0, 0.0]), "preprocessing.mean"),
    "order": (lambda m: m["preprocessing"].update(order="BGR"), "preprocessing.order"),
    "network": (lambda m: m["network"].update(name="resnet18"), "network.name"),
    "width": (
        lambda m: m["network"]["options"].update(width_mult=0.5),
        "options.width_mult is not",
    ),
    "an unused option": (
        lambda m: m["network"]["options"].update(image_size=64),
        "nothing checks the entry network.options.image_size",
    ),
    "unused widths": (
        lambda m: m["network"].update(widths={}),
        "nothing checks the entry network.widths",
    ),
    "bundle stage": (lambda m: m.update(bundle_stage="0" * 64), "bundle_stage is not that of"),
    "a text for a truth value": (lambda m: m.update(exact=1), "the entry exact is missing or"),
    "the path of images": (lambda m: m["images"].update(file="../a.npz"), "is no file of a bundle"),
    "outputs": (lambda m: m["network"]["options"].update(num_classes=9), "num_classes"),
    "image digest": (lambda m: m["images"].update(sha256="0" * 64), "do not match the manifest"),
    "number of images": (lambda m: m["images"].update(count=99), "images"),
    "version": (lambda m: m["versions"].update(numpy="1.0"), "version of numpy"),
    "no files": (lambda m: m["files"].clear(), "does not list verify.py"),
    "a file left out": (lambda m: m["files"].pop("results.csv"), "does not list results.csv"),
    "a file outside": (listed("../spec.json", {}), "is no file of a bundle"),
    "another program": (listed("helper.py", {"bytes": 0, "sha256": ""}), "is no file of a bundle"),
    "an entry of a file": (
        lambda m: m["files"]["spec.json"].update(checked=True),
        "lists spec.json, which is no file of a bundle",
    ),
    "a file without a digest": (listed("spec.json", None), "is no file of a bundle"),
    "another claim": (lambda m: m.update(top5_accuracy=1.0), "nothing checks the entry top5_acc"),
    "a nested claim": (lambda m: m["images"].update(real=True), "nothing checks the entry images."),
    "no accuracy": (lambda m: m.pop("accuracy"), "the entry accuracy is missing"),
    "a text for a number": (lambda m: m.update(correct="all"), "the entry correct is missing or"),
}


@pytest.fixture(scope="module")
def unpacked(cache: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked bundle that no test changes."""
    return packed(cache, "onnx", tmp_path_factory.mktemp("unpacked"))


def reported(
    folder: Path, capsys: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch, *options: str
) -> tuple[int, str, str]:
    """The exit code and the output of verify.py on a folder, in this process."""
    patch.setattr(verification, "__file__", str(folder / "verify.py"))
    capsys.readouterr()
    code = verification.main(list(options))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture
def copied(unpacked: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of the bundle for a test to change, and its manifest."""
    folder = tmp_path / "copy"
    shutil.copytree(unpacked, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    return folder, manifest


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_claim_differs(
    copied: tuple[Path, dict[str, Any]],
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where whoever edits it keeps the digests of the files right."""
    (folder, manifest), (edit, message) = copied, EDITS[name]
    edit(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, _, error = reported(folder, capsys, monkeypatch)
    assert code == 1
    assert message in one_line(error)


def raised_accuracy(text: str, line: int, interval: bool = True) -> str:
    """results.csv where a model has one more image right, and with `interval` also its interval."""
    header, *rows = (row.split(",") for row in text.splitlines())
    row = [header, *rows][line]
    correct = round(100 * float(row[header.index("accuracy")])) + 10
    row[header.index("accuracy")] = str(correct / 100)
    if interval:
        low, high = verification.wilson(correct, 100)
        row[header.index("accuracy_low")], row[header.index("accuracy_high")] = str(low), str(high)
        drop = header.index("accuracy_drop")
        row[drop] = str(float(row[drop]) - 0.1) if row[0] != "baseline" else row[drop]
    return "\n".join(map(",".join, (header, *rows))) + "\n"


FORGED = {
    "results of another model": ("predictions.csv", lambda text: text.replace(",3\n", ",4\n")),
    "no predictions": ("predictions.csv", lambda text: text.splitlines()[0]),
    "no table": ("predictions.csv", lambda text: "image,label,prediction\na,b,c\n"),
    "other data": ("stages.json", lambda text: text.replace('"digest": "', '"digest": "0')),
    "another seed": ("stages.json", lambda text: text.replace('"seed": 0', '"seed": 1')),
    "no stages": ("stages.json", lambda text: "[]"),
    "no JSON": ("stages.json", lambda text: "[" * 100_000),
    "another job": ("stages.json", lambda text: text.replace('"job": "', '"job": "0')),
    "an entry twice": ("spec.json", lambda text: text.replace('"seeds"', '"seeds": [7], "seeds"')),
    "a further setting": ("spec.json", lambda text: text.replace('"seeds"', '"a": 1, "seeds"')),
    "other columns": ("predictions.csv", lambda text: text.replace("label", "class", 1)),
    "a package from elsewhere": (
        "requirements.txt",
        lambda text: f"--index-url https://example.com\n{text}",
    ),
    "another package": ("requirements.txt", lambda text: f"{text}evil>=1.0\n"),
    "a better result": ("results.csv", lambda text: raised_accuracy(text, -1, interval=False)),
    "a better model": ("results.csv", lambda text: raised_accuracy(text, -1)),
    "a better baseline": ("results.csv", lambda text: raised_accuracy(text, 1)),
    "a model fewer": ("results.csv", lambda text: "".join(text.splitlines(True)[:-1])),
    "another strategy": ("results.csv", lambda text: text.replace("\none_shot", "\niterative")),
    "no results": ("results.csv", lambda text: "nothing"),
    "other settings": ("spec.json", lambda text: text.replace('"seeds"', '"seed"')),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_file_with_its_right_digest_differs(
    copied: tuple[Path, dict[str, Any]],
    name: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder, manifest), (file, change) = copied, FORGED[name]
    content = change((folder / file).read_text()).encode()
    assert content != (folder / file).read_bytes()
    (folder / file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][file] = {"bytes": len(content), "sha256": digest}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    code, _, error = reported(folder, capsys, monkeypatch)
    assert code == 1
    assert file in one_line(error) or "stages.json" in error


def test_what_is_not_computed_again_and_not_of_the_bundle_is_named(
    copied: tuple[Path, dict[str, Any]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, _ = copied
    (folder / "thesis.txt").touch()
    (folder / "numpy").mkdir()
    code, out, error = reported(folder, capsys, monkeypatch)
    assert code == 0, error
    assert "Not of this bundle, and not checked: numpy, thesis.txt." in out
    assert "Not computed again: report.html, the columns of results.csv" in out
    assert "It was packed with python 3" in out


def test_a_file_beside_the_program_is_not_imported_before_it_was_checked(
    copied: tuple[Path, dict[str, Any]], python: Python
) -> None:
    """Python looks for modules in the folder of a program first."""
    folder, _ = copied
    (folder / "json.py").write_text("raise SystemExit('this ran')")
    (folder / "numpy").mkdir()
    (folder / "numpy" / "__init__.py").write_text("raise SystemExit('this ran')")
    done = verify(python, folder)
    assert done.returncode == 1
    assert "json.py is no file of the bundle" in done.stderr


def test_the_digest_of_the_manifest_is_that_of_the_app(
    cache: Cache,
    unpacked: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It covers every claim: who changes one, changes the digest that people compare."""
    code, out, error = reported(unpacked, capsys, monkeypatch)
    assert (code, error) == (0, "")
    job, store = Queue(cache.queue).jobs()[-1], Store(cache)
    result = store.read(bundle_stage(job, last_model(cache), "onnx", store).key)
    digest = hashlib.sha256((unpacked / "manifest.json").read_bytes()).hexdigest()
    assert result["manifest_sha256"] == digest
    assert out.startswith(f"SHA-256 of manifest.json: {digest}\n")
    assert any(digest in note for note in result["notes"])


def test_another_processor_or_version_is_told(
    unpacked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = json.loads((unpacked / "manifest.json").read_text())["computed_on"]
    assert torch.backends.cpu.get_cpu_capability() in machine["model"]["processor"]
    assert machine["model"]["versions"]["torch"] == torch.__version__.split("+")[0]
    _, here, _ = reported(unpacked, capsys, monkeypatch)
    assert machine["file"]["processor"] in here
    assert "can give other bits" not in here
    shutil.copytree(unpacked, tmp_path / "copy")
    manifest = json.loads((unpacked / "manifest.json").read_text())
    manifest["computed_on"]["file"]["processor"] = "Chip 9000 (AVX2)"
    (tmp_path / "copy" / "manifest.json").write_text(json.dumps(manifest))
    _, there, _ = reported(tmp_path / "copy", capsys, monkeypatch)
    assert "measured on Chip 9000 (AVX2)" in there
    assert "Another processor or version can give other bits" in there


def test_a_program_that_python_would_import_differs(
    unpacked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(unpacked, tmp_path / "copy")
    (tmp_path / "copy" / "onnxruntime.py").write_text("raise SystemExit(0)")
    code, _, error = reported(tmp_path / "copy", capsys, monkeypatch)
    assert code == 1
    assert "onnxruntime.py is no file of the bundle" in error


def wrong_data(kind: str, folder: Path, right: Path) -> Path:
    """A wrong value of --data."""
    path = folder / f"{kind}.npz"
    with np.load(right) as images:
        good = {name: images[name] for name in images.files}
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "cut":
        path.write_bytes(right.read_bytes()[:5000])
    elif kind == "flipped":
        content = bytearray(right.read_bytes())
        content[200:260] = bytes(60)
        path.write_bytes(content)
    elif kind == "text":
        path.write_text("no arrays")
    elif kind == "array":
        np.save(path.with_suffix(".npy"), good["images"])
        path = path.with_suffix(".npy")
    elif kind == "pickle":
        np.savez(path, images=np.array([{}, []], dtype=object), labels=good["labels"])
    elif kind == "incomplete":
        np.savez(path, images=good["images"])
    elif kind == "large":
        np.savez_compressed(path, **{**good, "images": np.zeros((50_000, 32, 32, 3), np.uint8)})
    elif kind == "others":
        np.savez(path, **{**good, "images": good["images"] + np.uint8(1)})
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path)
    return path


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        *((kind, 2) for kind in ("missing", "folder", "fifo", "loop")),
        *((kind, 1) for kind in ("empty", "cut", "flipped", "text", "array", "pickle")),
        *((kind, 1) for kind in ("incomplete", "large", "others")),
    ],
)
def test_wrong_test_images_are_one_sentence(
    unpacked: Path,
    tmp_path: Path,
    kind: str,
    code: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = wrong_data(kind, tmp_path, unpacked / IMAGES_FILE)
    answer, _, error = reported(unpacked, capsys, monkeypatch, "--data", str(path))
    assert answer == code
    assert str(path) in one_line(error)


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
    shutil.copyfile(images, folder / IMAGES_FILE)
    assert verify(python, folder, "--data", str(folder)).returncode == 0


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

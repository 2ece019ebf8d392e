"""A passport: checked by its own program in an environment that knows nothing of this project."""

from __future__ import annotations

import json
import subprocess
import venv
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib.metadata import distribution
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pruning_core.common.paths import Cache
from pruning_core.methods.file_formats import FILE_FORMATS as ABOUT
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.settings.spec import from_json
from pruning_core.storage import bundle as passports
from pruning_core.storage.bundle import BUNDLE_FILE, BUNDLE_FORMATS, IMAGES_FILE, bundle_stage
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.workers import ONE_CUT, finished_run, serve

FORMATS = tuple(
    n for n in BUNDLE_FORMATS if not (p := ABOUT[n].package) or find_spec(p) is not None
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A finished run and some files of its last point."""
    found = finished_run(tmp_path_factory.mktemp("bundle"))
    Queue(found.queue).add([export_stage(point(found), name) for name in FORMATS])
    serve(found)
    return found


Python = Callable[[Path], Path]


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """The Python of a fresh environment for a passport's folder.

    It has what the folder's requirements.txt names, with all that these need, and nothing else:
    what is installed here, linked, since a test has no network.
    """
    made: dict[str, Path] = {}

    def fresh(folder: Path) -> Path:
        wanted = (folder / "requirements.txt").read_text()
        if wanted not in made:
            home = tmp_path_factory.mktemp("venv")
            venv.create(home, with_pip=False)
            (packages,) = home.glob("lib/python*/site-packages")
            for place in installed(Requirement(line).name for line in wanted.splitlines()):
                (packages / place.name).symlink_to(place)
            made[wanted] = home / "bin" / "python"
        return made[wanted]

    return fresh


def installed(names: Iterable[str]) -> set[Path]:
    """The files and folders of some packages, and of those that they need."""
    left, found, places = list(names), set[str](), set[Path]()
    while left:
        name = left.pop()
        if canonicalize_name(name) in found:
            continue
        found.add(canonicalize_name(name))
        package = distribution(name)
        tops = {file.parts[0] for file in package.files or [] if file.parts[0] not in ("..", "bin")}
        places |= {Path(str(package.locate_file(top))) for top in tops if top != "__pycache__"}
        needs = map(Requirement, package.requires or [])
        left += [n.name for n in needs if not n.marker or n.marker.evaluate({"extra": ""})]
    return places


def point(cache: Cache, number: int = -1) -> str:
    """The last point of the first job, or of a later one, counted from the end."""
    job = Queue(cache.queue).jobs()[number]
    return Outline.from_json(job.outline).models[-1].key


def packed(cache: Cache, name: str, folder: Path, number: int = -1) -> Path:
    """The unpacked passport of a file."""
    job, store = Queue(cache.queue).jobs()[number], Store(cache)
    stage = bundle_stage(job, point(cache, number), name, store)
    Queue(cache.queue).add([stage] if not store.exists(stage.key) else [])
    serve(cache)
    path = store.file(stage.key, BUNDLE_FILE)
    with zipfile.ZipFile(path) as zipped:
        zipped.extractall(folder)
    return folder


def verify(python: Python, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(python(folder)), "verify.py", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", FORMATS)
def test_it_passes_and_fails_after_one_byte(
    cache: Cache, python: Python, tmp_path: Path, name: str
) -> None:
    folder = packed(cache, name, tmp_path)
    done = verify(python, folder)
    assert done.returncode == 0, done.stderr
    assert "100 test images are right" in done.stdout
    model = folder / json.loads((folder / "passport.json").read_text())["model"]
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    done = verify(python, folder)
    assert done.returncode == 1
    assert f"{model.name} has the right size, but not the right content" in done.stderr


def test_its_spec_makes_the_same_model_again(
    cache: Cache, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """In a cache that knows nothing, the stage that it names, with the same bits."""
    folder = packed(cache, "bitmask_fp32", tmp_path)
    spec = from_json((folder / "spec.json").read_text())
    again = finished_run(tmp_path_factory.mktemp("again"), spec)
    key = point(again)
    assert key in json.loads((folder / "passport.json").read_text())["remake"]
    assert not again.stages.samefile(cache.stages)
    Queue(again.queue).add([made := export_stage(key, "bitmask_fp32")])
    serve(again)
    file = Store(again).read(made.key)["file"]
    assert Store(again).file(made.key, file).read_bytes() == (folder / file).read_bytes()


def test_the_passport_tells_what_it_is(cache: Cache, tmp_path: Path) -> None:
    folder = packed(cache, "onnx", tmp_path)
    about = json.loads((folder / "passport.json").read_text())
    made = Store(cache).read(export_stage(point(cache), "onnx").key)
    assert about["right"] == made["right"]
    assert about["classes"] == [str(n) for n in range(10)]
    assert about["preprocessing"]["image_size"] == 32
    assert {"python", "torch", "onnxruntime", "torch-pruning"} <= set(about["versions"])
    assert from_json((folder / "spec.json").read_text()) == ONE_CUT
    assert "one_shot" in (folder / "results.csv").read_text()
    assert "<html" in (folder / "report.html").read_text()
    lines = (folder / "predictions.csv").read_text().splitlines()
    rows = [line.split(",") for line in lines[1:]]
    assert sum(label == said for _, label, said in rows) == made["right"]
    with np.load(folder / "test_images.npz") as images:
        assert images["images"].shape == (100, 32, 32, 3)
        assert images["labels"].tolist() == [int(label) for _, label, _ in rows]


def test_a_run_of_several_seeds_is_reported_with_all_of_them(
    cache: Cache, python: Python, tmp_path: Path
) -> None:
    queue = Queue(cache.queue)
    queue.submit(replace(ONE_CUT, seeds=(0, 1)), "Two seeds")
    serve(cache)
    queue.add([export_stage(point(cache, 0), "bitmask_int8")])
    serve(cache)
    folder = packed(cache, "bitmask_int8", tmp_path, 0)
    rows = pd.read_csv(folder / "results.csv")
    assert set(rows["seed"]) == {0, 1}
    assert set(rows["seeds"]) == {2}
    assert "mean of 2 seeds" in (folder / "report.html").read_text()
    assert verify(python, folder).returncode == 0


def test_a_wrong_accuracy_differs(cache: Cache, python: Python, tmp_path: Path) -> None:
    folder = packed(cache, "onnx", tmp_path)
    path = folder / "passport.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({**about, "right": about["right"] + 2}))
    done = verify(python, folder)
    assert done.returncode == 1
    assert "more than 0.2 points apart" in done.stderr
    path.write_text(json.dumps({**about, "right": about["right"] + 1}))
    assert verify(python, folder).returncode == 0


@pytest.mark.parametrize("name", ["predictions.csv", "spec.json"])
def test_a_missing_file_differs(cache: Cache, python: Python, tmp_path: Path, name: str) -> None:
    folder = packed(cache, "onnx", tmp_path)
    (folder / name).unlink()
    done = verify(python, folder)
    assert done.returncode == 1
    assert f"{name} is missing" in done.stderr


def test_images_that_do_not_fit_are_named(
    cache: Cache, python: Python, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passports, "MOST_IMAGE_BYTES", 10)
    folder = packed(cache, "onnx", tmp_path / "zip")
    job, store = Queue(cache.queue).jobs()[-1], Store(cache)
    stage = bundle_stage(job, point(cache), "onnx", store)
    assert "too large for the zip" in store.read(stage.key)["notes"][0]
    images = store.file(stage.key, IMAGES_FILE)
    done = verify(python, folder)
    assert done.returncode == 2
    assert "--data" in done.stderr
    assert verify(python, folder, "--data", str(images)).returncode == 0
    with np.load(images) as found:
        others = found["images"].copy()
        others[0] += 1
        np.savez_compressed(tmp_path / "others.npz", images=others, labels=found["labels"])
    done = verify(python, folder, "--data", str(tmp_path / "others.npz"))
    assert done.returncode == 1
    assert "other test images" in done.stderr


def test_damaged_images_differ(cache: Cache, python: Python, tmp_path: Path) -> None:
    folder = packed(cache, "onnx", tmp_path)
    (tmp_path / "broken.npz").write_bytes(b"no zip")
    done = verify(python, folder, "--data", str(tmp_path / "broken.npz"))
    assert done.returncode == 1
    assert "does not hold the test images" in done.stderr


def test_packing_twice_gives_the_same_key(cache: Cache) -> None:
    job, store = Queue(cache.queue).jobs()[-1], Store(cache)
    keys = {
        bundle_stage(job, point(cache), name, store).key
        for name in (BUNDLE_FORMATS[0], BUNDLE_FORMATS[0])
    }
    assert len(keys) == 1

"""Files of models whose channels are gone: by masks and folding, or really removed."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors import safe_open

from pruning_core.common.paths import Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage import bundle as passports
from pruning_core.storage.bundle import passport
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.engine.export.test_bundle import Python, python, verify
from tests.helpers.workers import TINY, serve

__all__ = ["python"]  # a fixture

BASE = replace(TINY, baseline_epochs=1, iterative=IterativeSpec(enabled=False))
MASKED = replace(
    BASE,
    one_shot=OneShotSpec((0.5,), 0),
    pruning=PruningSpec(granularity="filter", layers="core"),
)
CUT = replace(
    BASE,
    one_shot=OneShotSpec((), 0),
    structured=StructuredSpec(enabled=True, ratios=(0.5,), epochs=0.5),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    cache = Cache(tmp_path_factory.mktemp("smaller"))
    cache.prepare()
    return Store(cache)


def point(store: Store, spec: Spec) -> str:
    """The last point of a finished run."""
    queue = Queue(store.cache.queue)
    job = queue.submit(spec, "run")
    serve(store.cache)
    found = queue.job(job)
    assert found is not None
    return Outline.from_json(found.outline).models[-1].key


def made(store: Store, key: str, name: str) -> tuple[Path, dict]:
    stage = export_stage(key, name)
    queue = Queue(store.cache.queue)
    queue.add([stage] if not store.exists(stage.key) else [])
    serve(store.cache)
    row = queue.stage(stage.key)
    assert row is not None
    assert row.status == "done", row.error
    found = store.read(stage.key)
    return store.file(stage.key, found["file"]), found


@pytest.mark.parametrize("spec", [MASKED, CUT], ids=["masked", "cut"])
def test_the_smaller_network_is_smaller_and_answers_alike(store: Store, spec: Spec) -> None:
    key = point(store, spec)
    path, found = made(store, key, "compact")
    result = store.read(key)
    base = store.read(store.settings(key)["parent"])
    assert found["bytes"] < base["dense_bytes"]
    assert found["difference"] < 1e-4
    assert found["accuracy"] == result["accuracy"]
    with safe_open(path, "pt") as file:
        widths = json.loads(file.metadata()["structure"])
        network = json.loads(file.metadata()["network"])
        shape = file.get_slice("features.0.0.weight").get_shape()
    assert network["name"] == "mobilenet_v2"
    assert widths["modules"]["features.0.0"]["out_channels"] == shape[0]


@pytest.mark.parametrize("name", ["onnx", "onnx_int8", "torch_export"])
def test_masked_filters_are_not_in_the_network_that_other_programs_run(
    store: Store, name: str
) -> None:
    """Half of the filters of all layers but depthwise, stem and classifier are masked."""
    key = point(store, MASKED)
    masked, dense = (made(store, k, name)[1] for k in (key, store.settings(key)["parent"]))
    assert masked["bytes"] < 0.9 * dense["bytes"]
    assert any("channel" in note for note in masked["notes"])
    assert masked["accuracy"] == pytest.approx(store.read(key)["accuracy"], abs=0.1)


@pytest.mark.parametrize("name", ["state_dict", "bitmask_int8", "onnx", "onnx_int8", "zlib"])
def test_every_kind_of_file_holds_a_cut_network(store: Store, name: str) -> None:
    key = point(store, CUT)
    _, found = made(store, key, name)
    assert found["test_images"] == 100


@pytest.mark.parametrize("name", ["bitmask_fp16", "compact"])
def test_the_passport_of_a_cut_network_is_checked(
    store: Store, python: Python, tmp_path: Path, name: str
) -> None:
    key = point(store, CUT)
    made(store, key, name)
    queue = Queue(store.cache.queue)
    (job,) = [j for j in queue.jobs() if key in j.outline]
    stage = passport(job, key, name, store)
    queue.add([stage])
    serve(store.cache)
    with zipfile.ZipFile(store.file(stage.key, passports.FILE)) as zipped:
        zipped.extractall(tmp_path)
    done = verify(python, tmp_path)
    assert done.returncode == 0, done.stderr

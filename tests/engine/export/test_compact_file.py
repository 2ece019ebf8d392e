"""Files of models with fewer channels: zero channels folded, or channels removed."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from pruning_core.common.paths import Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.bundle import BUNDLE_FILE, bundle_stage
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.bundles import Python, verify
from tests.helpers.workers import TINY, serve

BASE = replace(TINY, baseline_epochs=1, iterative=IterativeSpec(enabled=False))
MASKED = replace(
    BASE,
    one_shot=OneShotSpec((0.5,), 0),
    pruning=PruningSpec(granularity="filter", layers="core"),
)
STRUCTURED = replace(
    BASE,
    one_shot=OneShotSpec((), 0),
    structured=StructuredSpec(enabled=True, ratios=(0.5,), epochs=0.5),
)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    cache = Cache(tmp_path_factory.mktemp("compact"))
    cache.prepare()
    return Store(cache)


def last_model(store: Store, spec: Spec) -> str:
    """Run a spec. Returns the key of its last model."""
    queue = Queue(store.cache.queue)
    job = queue.submit(spec, "run")
    serve(store.cache, STAGE_KINDS)
    finished = queue.job(job)
    assert finished is not None
    return Outline.from_json(finished.outline).models[-1].key


def exported(store: Store, key: str, name: str) -> tuple[Path, dict[str, Any]]:
    """The file of a model in a format, and the result of its stage."""
    stage = export_stage(key, name)
    queue = Queue(store.cache.queue)
    queue.add([stage] if not store.exists(stage.key) else [])
    serve(store.cache, STAGE_KINDS)
    row = queue.stage(stage.key)
    assert row is not None
    assert row.status == "done", row.error
    result = store.read(stage.key)
    return store.file(stage.key, result["file"]), result


@pytest.mark.parametrize("spec", [MASKED, STRUCTURED], ids=["masked", "structured"])
def test_the_compact_file_is_smaller_and_gives_the_same_scores(store: Store, spec: Spec) -> None:
    key = last_model(store, spec)
    path, result = exported(store, key, "compact")
    model = store.read(key)
    baseline = store.read(store.settings(key)["parent"])
    assert result["bytes"] < baseline["dense_bytes"]
    assert result["difference"] < 1e-4
    assert result["accuracy"] == model["accuracy"]
    with safe_open(path, "pt") as file:
        widths = json.loads(file.metadata()["widths"])
        network = json.loads(file.metadata()["network"])
        shape = file.get_slice("features.0.0.weight").get_shape()
    assert network["name"] == "mobilenet_v2"
    assert widths["modules"]["features.0.0"]["out_channels"] == shape[0]


@pytest.mark.parametrize("name", ["onnx", "onnx_int8", "torch_export"])
def test_graph_files_leave_out_masked_filters(store: Store, name: str) -> None:
    """Half of the filters of all layers but depthwise, stem and classifier are masked."""
    key = last_model(store, MASKED)
    masked, dense = (exported(store, k, name)[1] for k in (key, store.settings(key)["parent"]))
    assert masked["bytes"] < 0.9 * dense["bytes"]
    assert any("channel" in note for note in masked["notes"])
    assert masked["accuracy"] == pytest.approx(store.read(key)["accuracy"], abs=0.1)


@pytest.mark.parametrize("name", ["state_dict", "bitmask_int8", "onnx", "onnx_int8", "zlib"])
def test_all_formats_hold_a_network_without_channels(store: Store, name: str) -> None:
    key = last_model(store, STRUCTURED)
    _, result = exported(store, key, name)
    assert result["test_images"] == 100


@pytest.mark.parametrize("name", ["bitmask_fp16", "compact"])
def test_the_bundle_of_a_network_without_channels_is_verified(
    store: Store, python: Python, tmp_path: Path, name: str
) -> None:
    key = last_model(store, STRUCTURED)
    exported(store, key, name)
    queue = Queue(store.cache.queue)
    (job,) = [j for j in queue.jobs() if key in j.outline]
    stage = bundle_stage(job, key, name, store)
    queue.add([stage])
    serve(store.cache, STAGE_KINDS)
    with zipfile.ZipFile(store.file(stage.key, BUNDLE_FILE)) as zipped:
        zipped.extractall(tmp_path)
    done = verify(python, tmp_path)
    assert done.returncode == 0, done.stderr

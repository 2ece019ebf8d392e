"""Predictions of two models for one image."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pruning_core.common.paths import Cache
from pruning_core.engine.data.augment import normalize
from pruning_core.engine.stage_inputs import baseline_settings, load_model
from pruning_core.planning.exports import predict_image, predict_test_image
from pruning_core.planning.stage import Outline, Stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.results.predictions import predictions_table
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.workers import finished_run, serve


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return finished_run(tmp_path_factory.mktemp("predictions"))


def keys(cache: Cache) -> tuple[str, str]:
    models = Outline.from_json(Queue(cache.queue).jobs()[0].outline).models
    return models[0].key, models[-1].key


def run(cache: Cache, stage: Stage) -> None:
    Queue(cache.queue).add([stage])
    serve(cache, STAGE_KINDS)


def test_predictions_are_those_of_the_models(cache: Cache) -> None:
    dense, pruned = keys(cache)
    stage, store = predict_test_image(dense, pruned, 7), Store(cache)
    run(cache, stage)
    result = store.read(stage.key)
    raw = np.frombuffer(base64.b64decode(result["pixels"]), np.uint8).reshape(1, 32, 32, 3)
    base = baseline_settings(store, dense)
    images = normalize(torch.from_numpy(raw.copy()), base.data["mean"], base.data["std"])
    for name, key in (("dense", dense), ("point", pruned)):
        with torch.no_grad():
            probabilities = load_model(store, key, base).eval()(images.contiguous()).softmax(1)[0]
        prediction = result["predictions"][name]
        by_class = dict(prediction["probabilities"])
        likeliest = str(int(probabilities.argmax()))
        assert by_class[likeliest] == pytest.approx(float(probabilities.max()), abs=1e-4)
        assert sum(by_class.values()) == pytest.approx(1, abs=1e-3)
        assert prediction["milliseconds"] > 0
    assert len(predictions_table(result["predictions"]["dense"])) == 5


def test_an_image_file_is_cropped_to_a_square(cache: Cache, tmp_path: Path) -> None:
    dense, pruned = keys(cache)
    path = tmp_path / "wide.png"
    Image.new("RGB", (90, 40), (255, 0, 0)).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    stage = predict_image(dense, pruned, digest, str(path))
    run(cache, stage)
    result = Store(cache).read(stage.key)
    raw = np.frombuffer(base64.b64decode(result["pixels"]), np.uint8).reshape(32, 32, 3)
    assert "label" not in result
    assert raw[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("content", [b"no image", b""])
def test_a_file_that_is_no_image_is_refused(cache: Cache, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    dense, pruned = keys(cache)
    stage = predict_image(dense, pruned, hashlib.sha256(content).hexdigest(), str(path))
    run(cache, stage)
    row = Queue(cache.queue).stage(stage.key)
    assert row is not None
    assert row.status == "failed"
    assert "This is not a readable image" in row.error


def test_a_test_image_number_past_the_last_is_refused(cache: Cache) -> None:
    stage = predict_test_image(*keys(cache), 100)
    run(cache, stage)
    row = Queue(cache.queue).stage(stage.key)
    assert row is not None
    assert "the last is 99" in row.error

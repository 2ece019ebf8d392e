"""Try it: two models' answers to one image are those of the models themselves."""

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
from pruning_core.engine.stage_inputs import load_model
from pruning_core.planning.exports import ask_image, ask_test_image
from pruning_core.planning.stage import Outline, Stage
from pruning_core.results.predictions import told
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.workers import finished_run, serve


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return finished_run(tmp_path_factory.mktemp("answers"))


def keys(cache: Cache) -> tuple[str, str]:
    points = Outline.from_json(Queue(cache.queue).jobs()[0].outline).models
    return points[0].key, points[-1].key


def ask(cache: Cache, stage: Stage) -> None:
    Queue(cache.queue).add([stage])
    serve(cache)


def test_answers_are_the_models_own(cache: Cache) -> None:
    dense, point = keys(cache)
    stage, store = ask_test_image(dense, point, 7), Store(cache)
    ask(cache, stage)
    found = store.read(stage.key)
    raw = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(1, 32, 32, 3)
    base = store.settings(dense)["settings"]
    images = normalize(torch.from_numpy(raw.copy()), base["data"]["mean"], base["data"]["std"])
    for name, key in (("dense", dense), ("point", point)):
        with torch.no_grad():
            shares = load_model(store, key, base).eval()(images.contiguous()).softmax(1)[0]
        likely = dict(found["answers"][name]["likeliest"])
        assert likely[str(int(shares.argmax()))] == pytest.approx(float(shares.max()), abs=1e-4)
        assert sum(likely.values()) == pytest.approx(1, abs=1e-3)
        assert found["answers"][name]["milliseconds"] > 0
    assert len(told(found["answers"]["dense"])) == 5


def test_an_image_of_ones_own_is_cut_square(cache: Cache, tmp_path: Path) -> None:
    dense, point = keys(cache)
    path = tmp_path / "wide.png"
    Image.new("RGB", (90, 40), (255, 0, 0)).save(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    stage = ask_image(dense, point, digest, str(path))
    ask(cache, stage)
    found = Store(cache).read(stage.key)
    raw = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8).reshape(32, 32, 3)
    assert found["label"] is None
    assert raw[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("content", [b"no image", b""])
def test_what_is_no_image_is_refused_in_a_sentence(
    cache: Cache, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "bad.png"
    path.write_bytes(content)
    dense, point = keys(cache)
    stage = ask_image(dense, point, hashlib.sha256(content).hexdigest(), str(path))
    ask(cache, stage)
    row = Queue(cache.queue).stage(stage.key)
    assert row is not None
    assert row.status == "failed"
    assert "no image that can be read" in row.error


def test_a_number_past_the_last_is_refused(cache: Cache) -> None:
    stage = ask_test_image(*keys(cache), 100)
    ask(cache, stage)
    row = Queue(cache.queue).stage(stage.key)
    assert row is not None
    assert "the last is 99" in row.error

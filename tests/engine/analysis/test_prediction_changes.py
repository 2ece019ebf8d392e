"""The test images whose predictions change from the dense to the pruned model."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pruning_core.common.paths import Cache
from pruning_core.common.statistics import discordant
from pruning_core.engine.analysis import prediction_changes as module
from pruning_core.engine.stage_inputs import baseline_settings, load_model, load_splits
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.planning.exports import SHOWN_IMAGES, prediction_changes
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.engine.analysis.test_predictions import keys
from tests.helpers.workers import finished_run, serve


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return finished_run(tmp_path_factory.mktemp("changes"))


def changes(cache: Cache, dense: str, model: str) -> dict[str, Any]:
    stage = prediction_changes(dense, model)
    Queue(cache.queue).add([stage])
    serve(cache, STAGE_KINDS)
    result: dict[str, Any] = Store(cache).read(stage.key)
    return result


def test_the_counts_are_those_of_the_stored_results(cache: Cache) -> None:
    dense, pruned = keys(cache)
    store, result = Store(cache), changes(cache, dense, pruned)
    before, after = (base64.b64decode(store.read(key)["correct"]) for key in (dense, pruned))
    n = store.read(dense)["test_images"]
    assert (result["lost"], result["gained"]) == discordant(before, after, n)
    assert result["lost"] > 0
    assert sum(row["images"] for row in result["classes"]) == n
    for name, key in (("dense", dense), ("model", pruned)):
        assert sum(row[name] for row in result["classes"]) == store.read(key)["right"]
    assert result["notes"] == []


def test_each_image_has_its_class_and_both_predictions_the_most_confident_first(
    cache: Cache,
) -> None:
    dense, pruned = keys(cache)
    store, result = Store(cache), changes(cache, dense, pruned)
    base = baseline_settings(store, dense)
    test = load_splits(store, store.settings(dense)["parent"], base.data).test
    shown = result["lost_images"]
    assert len(shown) == min(result["lost"], SHOWN_IMAGES)
    wrong = evaluate(load_model(store, pruned, base), test, base.data, "cpu")
    for image in shown:
        number = image["number"]
        assert image["label"] == image["dense"][0] == str(int(test.labels[number]))
        assert image["model"][0] == str(int(wrong.predictions[number])) != image["label"]
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(image["png"]))))
        assert np.array_equal(pixels, test.batch(np.array([number]))[0].numpy())
    confidences = [image["model"][1] for image in shown]
    assert confidences == sorted(confidences, reverse=True)
    left_out = set(np.flatnonzero(~wrong.correct)) - {image["number"] for image in shown}
    stored = base64.b64decode(store.read(dense)["correct"])
    right = np.unpackbits(np.frombuffer(stored, np.uint8))
    assert all(wrong.confidences[n] <= confidences[-1] + 1e-6 for n in left_out if right[n])


def test_the_other_direction_ranks_the_wrong_predictions_of_the_dense_model(cache: Cache) -> None:
    dense, pruned = keys(cache)
    forward, back = changes(cache, dense, pruned), changes(cache, pruned, dense)
    assert (back["lost"], back["gained"]) == (forward["gained"], forward["lost"])
    numbers = [
        [image["number"] for image in r] for r in (forward["lost_images"], back["gained_images"])
    ]
    assert numbers[0] == numbers[1]


def test_a_large_image_is_made_small(cache: Cache) -> None:
    large = np.full((224, 224, 3), 200, np.uint8)
    picture = Image.open(io.BytesIO(base64.b64decode(module._png(large, 64))))
    assert picture.size == (64, 64)


def test_predictions_that_differ_from_the_results_are_told(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, pruned = keys(cache)
    settings = prediction_changes(dense, pruned).settings
    store = Store(cache)
    base = baseline_settings(store, dense)
    test = load_splits(store, store.settings(dense)["parent"], base.data).test
    evaluations = [
        evaluate(load_model(store, k, base), test, base.data, "cpu") for k in (dense, pruned)
    ]
    evaluations[1].correct[:2] ^= True
    kind = STAGE_KINDS["prediction_changes"].settings
    (note,) = module._notes(store, kind(**settings), evaluations)
    assert note.startswith("2 test images of the model are classified differently here")

"""No model and no file depends on an image that only measures: not validation's, not the test's.

The same runs with those images blacked out must end with the same bits, whatever looks at images
on the way: scores, weights that come back, the ladder, channels' importances, 8-bit ranges.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pruning_core.common.paths import Cache
from pruning_core.engine import stage_inputs
from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.data.loading import ImageSet, Splits
from pruning_core.engine.stage_inputs import MODEL_FILE
from pruning_core.planning.exports import export_stage
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import PlannedModel
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.engine.criteria.test_stages import SMALL
from tests.engine.test_stages import run_here
from tests.helpers.workers import serve

SPEC = replace(
    SMALL,
    lr_schedule_span="pruning",
    pruning=PruningSpec("taylor", "global", calibration_images=64),
    one_shot=OneShotSpec(amounts=(0.6,), epochs=0.5),
    iterative=IterativeSpec(
        target=0.8, iterations=3, epochs=0.5, schedule="rigl", equal_budget=False
    ),
    structured=StructuredSpec(True, (0.4,), channel_importance="taylor", round_to=1, epochs=0.5),
    correction=CorrectionSpec(True, 64),
)
LOSSY = ("onnx_int8", "bitmask_fp16", "bitmask_int8")


def black(images: ImageSet) -> ImageSet:
    return replace(images, images=np.zeros_like(np.asarray(images.images)))


def made(folder: Path, blind: bool) -> Cache:
    """The runs and the lossy files of their last points."""
    cache = Cache(folder)
    cache.prepare()
    whole = stage_inputs.data.load

    def load(*given: Any) -> Splits:
        found = whole(*given)
        return replace(found, validation=black(found.validation), test=black(found.test))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
        if blind:
            patch.setattr(stage_inputs.data, "load", load)
        run_here(cache, SPEC)
        last = points(cache)[-1]
        Queue(cache.queue).add([export_stage(last.key, name) for name in LOSSY])
        serve(cache)
    return cache


def points(cache: Cache) -> list[PlannedModel]:
    return list(plan(SPEC, Store(cache)).models)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Store, list[PlannedModel]]:
    caches = [made(tmp_path_factory.mktemp("unseen"), blind) for blind in (False, True)]
    first, second = map(Store, caches)
    return first, second, points(caches[0])


def test_every_model_has_the_same_bits(both: tuple[Store, Store, list[PlannedModel]]) -> None:
    first, second, there = both
    assert {p.strategy for p in there} == {
        *("baseline", "one_shot", "iterative", "correction", "structured")
    }
    for point in there:
        models = [store.file(point.key, MODEL_FILE).read_bytes() for store in (first, second)]
        assert models[0] == models[1], point


def test_so_has_every_file_that_rounds(both: tuple[Store, Store, list[PlannedModel]]) -> None:
    first, second, there = both
    for name in LOSSY:
        key = export_stage(there[-1].key, name).key
        file = first.read(key)["file"]
        assert first.file(key, file).read_bytes() == second.file(key, file).read_bytes(), name


def test_what_measures_did_see_other_images(both: tuple[Store, Store, list[PlannedModel]]) -> None:
    first, second, there = both
    found = [[store.read(point.key)["loss"] for point in there] for store in (first, second)]
    assert all(one != other for one, other in zip(*found, strict=True))

"""No model and no file depends on a validation or test image: these only measure.

The same runs with these images blacked out must end with the same bits, whatever uses images:
criteria, regrowth, training-free correction, channel importance, int8 calibration.
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
from tests.helpers.stages import SMALL, run_here
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
    """The run and the lossy files of its last model."""
    cache = Cache(folder)
    cache.prepare()
    read_splits = stage_inputs.read_splits

    def read_blind(*arguments: Any) -> Splits:
        splits = read_splits(*arguments)
        return replace(splits, validation=black(splits.validation), test=black(splits.test))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
        if blind:
            patch.setattr(stage_inputs, "read_splits", read_blind)
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
    first, second, models = both
    assert {p.strategy for p in models} == {
        *("baseline", "one_shot", "iterative", "correction", "structured")
    }
    for model in models:
        files = [store.file(model.key, MODEL_FILE).read_bytes() for store in (first, second)]
        assert files[0] == files[1], model


def test_every_lossy_file_has_the_same_bits(both: tuple[Store, Store, list[PlannedModel]]) -> None:
    first, second, models = both
    for name in LOSSY:
        key = export_stage(models[-1].key, name).key
        file = first.read(key)["file"]
        assert first.file(key, file).read_bytes() == second.file(key, file).read_bytes(), name


def test_the_measurements_used_other_images(both: tuple[Store, Store, list[PlannedModel]]) -> None:
    first, second, models = both
    losses = [[store.read(model.key)["loss"] for model in models] for store in (first, second)]
    assert all(seen != blind for seen, blind in zip(*losses, strict=True))

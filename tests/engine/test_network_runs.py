"""Networks through the stages of a run: trained, pruned, narrowed, and exported to files.

One network is run here. All networks of torchvision take hours:

    EVERY_NETWORK=1 pytest -n 0 tests/engine/test_network_runs.py
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.engine.models import build as models
from pruning_core.engine.structured.groups import trace
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.stages import SMALL, run_here
from tests.helpers.workers import execute_here

NETWORKS = models.names() if os.environ.get("EVERY_NETWORK") else ["mnasnet0_5"]
FORMATS = ("state_dict", "bitmask_fp32", "compact")
CLASSES = 10
GENTLE = TrainSpec(lr=0.001, batch_size=16)


def smallest_size(name: str) -> int:
    """The smallest image size of at least 32 pixels with which a network runs."""
    if name.startswith("vit_"):
        patch = int(name.rpartition("_")[2])
        return -(-32 // patch) * patch
    model = models.outline(name, CLASSES)
    return 32 if not models._failure(model, 32) else models._nearest_size(model, 32) or 0


def is_traceable(name: str, size: int) -> bool:
    """Whether structured pruning supports a network."""
    try:
        trace(models.make(name, CLASSES, image_size=size).eval(), size)
    except SpecError:
        return False
    return True


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_is_trained_pruned_narrowed_and_exported(name: str, cache: Cache) -> None:
    size = smallest_size(name)
    spec = replace(
        SMALL,
        data=DataSpec(train_size=40, test_size=20, image_size=size),
        model=ModelSpec(name=name),
        baseline=GENTLE,
        finetune=GENTLE,
        one_shot=OneShotSpec(amounts=(0.5,), epochs=1),
        iterative=IterativeSpec(enabled=False),
        recovery=RecoverySpec(method="weight_rewinding"),
        structured=StructuredSpec(
            enabled=is_traceable(name, size), ratios=(0.1,), ratio_of="parameters", round_to=1
        ),
    )
    run_here(cache, spec)
    queue, store = Queue(cache.queue), Store(cache)
    outline = Outline.from_json(queue.jobs()[0].outline)
    models_of_run = [model.key for model in outline.models]
    assert len(models_of_run) == 2 + spec.structured.enabled
    stages = [export_stage(key, name) for key in models_of_run for name in FORMATS]
    queue.add(stages)
    while row := queue.claim("token", 2):
        execute_here(cache, queue, row, ())
    for stage in stages:
        assert FILE_FORMATS[stage.settings["format"]].exact
        assert store.read(stage.key)["difference"] < 1e-2

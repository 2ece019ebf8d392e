"""What runs a model leaves each of its modules in the mode it had and without hooks, also after
an error.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import torch
from torch import nn

from pruning_core.engine.latency.kernels import product_shapes
from pruning_core.engine.models.batch_norm import recalibrate
from pruning_core.engine.models.macs import weight_uses
from pruning_core.engine.models.traced_layers import traced_layers
from pruning_core.engine.structured.fold import fold
from pruning_core.engine.structured.groups import trace
from pruning_core.engine.structured.importance import ImportanceInputs, hessian, taylor
from pruning_core.engine.training.evaluate import evaluate
from tests.helpers.training import DATA, SPLITS, Net

IMAGES = torch.zeros(2, 3, 8, 8)
BATCHES = [(IMAGES, torch.tensor([0, 1]))]
Run = Callable[[nn.Module], Any]
RUNS: dict[str, Run] = {
    "evaluate": lambda model: evaluate(model, SPLITS.test, DATA, "cpu"),
    "recalibrate": lambda model: recalibrate(
        model, SPLITS.train, DATA, "cpu", 20, 10, torch.Generator()
    ),
    "traced_layers": lambda model: traced_layers(model, IMAGES),
    "product_shapes": lambda model: product_shapes(model, IMAGES[:1]),
    "taylor": lambda model: taylor(ImportanceInputs(model, BATCHES)),
    "hessian": lambda model: hessian(ImportanceInputs(model, BATCHES)),
    "trace": lambda model: trace(model, 8),
    "weight_uses": lambda model: weight_uses(model, 8),
    "fold": lambda model: fold(model, 8),
}


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_modes_are_restored_and_hooks_removed(run: Run, error: bool) -> None:
    model = Net()
    model[1].eval()
    if error:
        model[5] = nn.Linear(7, 3)  # It does not fit the layer before.
    before = [module.training for module in model.modules()]
    with suppress(RuntimeError, ValueError):
        run(model)
        assert not error or run is RUNS["fold"], "The model does not run."
    assert [module.training for module in model.modules()] == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_recalibration_restores_the_momentum_after_an_error() -> None:
    model = Net()
    model[5] = nn.Linear(7, 3)
    with pytest.raises(RuntimeError):
        RUNS["recalibrate"](model)
    assert model[1].momentum == nn.BatchNorm2d(6).momentum

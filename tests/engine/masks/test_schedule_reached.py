"""The masks reach exactly the sparsities that the schedule chart shows, step by step."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pruning_core.engine.masks.regrowth import drop_and_grow
from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES
from pruning_core.planning.preview import training_series
from pruning_core.reports.charts.preview import preview_chart
from pruning_core.settings import pruning_steps
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec
from tests.helpers.pruning import masks_of

CUSTOM = (0.1234, 0.5, 0.5, 0.93)
PRUNING = to_dict(PruningSpec())
SIZES = {"stem": 27, "body": 991, "head": 130}


def chain(name: str) -> IterativeSpec:
    settings: dict[str, Any] = {"iterations": 7, "target": 0.93}
    if name == "custom":
        settings = {"custom_schedule": CUSTOM, "iterations": len(CUSTOM), "target": CUSTOM[-1]}
    return IterativeSpec(schedule=name, final_epochs=1.5, **settings)


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("name", SPARSITY_SCHEDULES)
def test_every_target_on_the_chart_is_reached_to_the_weight(name: str, allocation: str) -> None:
    generator = torch.Generator().manual_seed(3)
    weights = {n: torch.randn(size, generator=generator) for n, size in SIZES.items()}
    steps = pruning_steps.steps(chain(name))
    traces = preview_chart(training_series(Spec(iterative=chain(name)), {})).data
    (drawn,) = (
        t.y[::2] for t in traces if (t.name, t.mode) == ("iterative", "lines") and t.y[0] == 0
    )
    assert len(drawn) == len(steps) + 1
    masks = None
    for percent, step in zip(drawn[1:], steps, strict=True):
        before = None if step.dense else masks
        masks = masks_of(weights, step.target, allocation, min_density=0.01, previous=before)
        if step.regrowth:
            growth = {n: torch.rand(size, generator=generator) for n, size in SIZES.items()}
            magnitudes = {name: weight.abs() for name, weight in weights.items()}
            masks = drop_and_grow(masks, magnitudes, growth, step.regrowth, PRUNING)
        zeros = {n: int((~mask).sum()) for n, mask in masks.items()}
        if allocation == "uniform":
            assert zeros == {n: round(percent / 100 * size) for n, size in SIZES.items()}
        assert abs(sum(zeros.values()) - percent / 100 * sum(SIZES.values())) <= (
            0.5 if allocation == "global" else 0.5 * len(SIZES)
        )
        weights = {n: weights[n] * mask for n, mask in masks.items()}


def test_equal_targets_change_no_mask() -> None:
    weights = {"a": torch.randn(100, generator=torch.Generator().manual_seed(1))}
    before = masks_of(weights, 0.7)
    trained = {"a": torch.randn(100, generator=torch.Generator().manual_seed(2)) * before["a"]}
    for criterion in ("magnitude", "random"):
        after = masks_of(trained, 0.7, previous=before, criterion=criterion, seed=9)
        assert torch.equal(after["a"], before["a"])

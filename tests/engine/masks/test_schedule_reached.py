"""What the schedule chart draws is what the engine's masks reach, step by step."""

from __future__ import annotations

import pytest
import torch

from pruning_core.engine.masks.regrowth import drop_and_grow
from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES
from pruning_core.reports.charts.training import schedule_figure
from pruning_core.settings import strategies
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.strategies import IterativeSpec
from tests.helpers.pruning import cut

TYPED = (0.1234, 0.5, 0.5, 0.93)
PRUNE = to_dict(PruningSpec())
SIZES = {"stem": 27, "body": 991, "head": 130}


def chain(name: str) -> IterativeSpec:
    typed = {"custom_schedule": TYPED, "iterations": len(TYPED), "target": TYPED[-1]}
    settings = typed if name == "custom" else {"iterations": 7, "target": 0.93}
    return IterativeSpec(schedule=name, final_epochs=1.5, **settings)  # type: ignore[arg-type]


def _sizes(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: weight.abs() for name, weight in weights.items()}


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize("name", SPARSITY_SCHEDULES)
def test_every_drawn_target_is_reached_to_the_weight(name: str, scope: str) -> None:
    generator = torch.Generator().manual_seed(3)
    weights = {n: torch.randn(size, generator=generator) for n, size in SIZES.items()}
    steps = strategies.steps(chain(name))
    (drawn,) = schedule_figure({"iterative": [step.target for step in steps]}).data
    assert drawn.y[0] == 0
    assert len(drawn.y) == len(steps) + 1
    kept = None
    for percent, step in zip(drawn.y[1:], steps, strict=True):
        before = None if step.dense else kept
        kept = cut(weights, step.target, scope, floor=0.01, previous=before)
        if step.regrowth:
            slopes = {n: torch.rand(size, generator=generator) for n, size in SIZES.items()}
            kept = drop_and_grow(kept, _sizes(weights), slopes, step.regrowth, PRUNE)
        zeros = {n: int((~mask).sum()) for n, mask in kept.items()}
        if scope == "uniform":
            assert zeros == {n: round(percent / 100 * size) for n, size in SIZES.items()}
        assert abs(sum(zeros.values()) - percent / 100 * sum(SIZES.values())) <= (
            0.5 if scope == "global" else 0.5 * len(SIZES)
        )
        weights = {n: weights[n] * mask for n, mask in kept.items()}


def test_equal_targets_change_no_mask() -> None:
    weights = {"a": torch.randn(100, generator=torch.Generator().manual_seed(1))}
    before = cut(weights, 0.7)
    trained = {"a": torch.randn(100, generator=torch.Generator().manual_seed(2)) * before["a"]}
    for criterion in ("magnitude", "random"):
        after = cut(trained, 0.7, previous=before, criterion=criterion, seed=9)
        assert torch.equal(after["a"], before["a"])

"""SynFlow: a case by hand, the paper's conservation law, and no layer collapse."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torchvision.models import efficientnet_b0, mobilenet_v2, resnet18, vit_b_16

from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.synflow import (
    ROUNDS,
    absolute_model,
    flow_scores,
    round_sparsities,
    synflow,
    unsupported_reason,
)
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import weights
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.storage.stage_context import StageError
from tests.helpers.models import weight_of

PRUNING = to_dict(PruningSpec(allocation="global", min_density=0.0))


def chain() -> nn.Module:
    """Without biases, with ReLU, alternately narrow and wide."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 64, 3, groups=4, bias=False)]
    layers.append(nn.Conv2d(64, 4, 1, bias=False))
    rest = [nn.Flatten(), nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Linear(32, 5, bias=False)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU())), *rest)


def single_round(model: nn.Module) -> dict[str, torch.Tensor]:
    """The scores of a single round."""
    absolute = absolute_model(model)
    images = torch.ones(1, 3, 8, 8, dtype=torch.float64)
    return flow_scores(absolute, images, weights(absolute, "all"))


def inputs_of(model: nn.Module, target: float, size: int = 8) -> CriterionInputs:
    actual = weights(model, "all")
    return CriterionInputs(
        actual,
        model=model,
        compute_masks=lambda s, a: compute_masks(s, a, PRUNING),
        target=target,
        image_size=size,
    )


def test_two_layers_by_hand() -> None:
    """The score of a weight: its magnitude times those of all paths behind it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3, 2, bias=False), nn.Linear(2, 1, bias=False))
    first, second = torch.tensor([[1.0, -2, 3], [4, 5, -6]]), torch.tensor([[-7.0, 8]])
    model[1].weight.data, model[2].weight.data = first, second
    actual = synflow(inputs_of(model, 0.0, 1))
    assert actual["1.weight"].tolist() == [[7, 14, 21], [32, 40, 48]]
    assert actual["2.weight"].tolist() == [[42, 120]]


def test_every_layer_of_a_chain_has_the_same_sum() -> None:
    sums = [float(score.sum()) for score in single_round(chain()).values()]
    assert len(sums) == 5
    assert sums == pytest.approx([sums[0]] * 5, rel=1e-12)


def test_rounds_prevent_the_layer_collapse_of_a_single_round() -> None:
    model = chain()
    target = 1 - 12 / sum(w.numel() for w in weights(model, "all").values())
    single = compute_masks(single_round(model), target, PRUNING)
    assert any(not bool(mask.any()) for mask in single.values())
    stepwise = compute_masks(synflow(inputs_of(model, target)), target, PRUNING)
    assert all(bool(mask.any()) for mask in stepwise.values())
    assert sum(int(mask.sum()) for mask in stepwise.values()) == 12


def test_the_density_falls_by_a_constant_factor() -> None:
    actual = round_sparsities(0.2, 0.9)
    densities = [0.8, *(1 - amount for amount in actual), 0.1]
    assert len(actual) == ROUNDS - 1
    ratios = [b / a for a, b in itertools.pairwise(densities)]
    assert ratios == pytest.approx([0.125 ** (1 / ROUNDS)] * ROUNDS)
    assert round_sparsities(0.5, 0.5) == []


def test_remaining_weights_score_above_pruned_ones() -> None:
    model = chain()
    with torch.no_grad():
        weight_of(model, "0")[:4] = 0
    actual = synflow(inputs_of(model, 0.9))
    assert bool((actual["0.weight"][:4] == 0).all())
    total = sum(score.numel() for score in actual.values())
    remaining = sum(int((score > 0).sum()) for score in actual.values())
    assert total * 0.1 <= remaining < total * 0.11


def test_nothing_in_a_trained_mobilenet_limits_the_flow() -> None:
    """ReLU6 would limit it at the first layer; a subtracted running mean could too."""
    torch.manual_seed(0)
    model = mobilenet_v2(num_classes=10, width_mult=0.35)
    with torch.no_grad():
        model(torch.randn(8, 3, 32, 32))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.add_(100)
    for score in single_round(devices.place(model, "cpu")).values():
        assert float(score.sum()) > 0


def test_models_that_are_no_sums_of_products_are_unsupported() -> None:
    assert unsupported_reason(mobilenet_v2(width_mult=0.1)) == unsupported_reason(resnet18()) == ""
    assert "Sigmoid" in unsupported_reason(efficientnet_b0())
    assert "LayerNorm" in unsupported_reason(vit_b_16())
    gated = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Sigmoid(), nn.Flatten(), nn.Linear(128, 2))
    with pytest.raises(StageError, match=r"criterion `synflow` .* kind Sigmoid"):
        synflow(inputs_of(gated, 0.5))

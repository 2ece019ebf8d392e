"""The expected size of a pruned model against files that are written."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from pruning_core.engine.export import sparse_file
from pruning_core.engine.models.layers import layers
from pruning_core.methods.layers import Layer
from pruning_core.planning.size_estimate import MOST_SPARSITY, expected_size, sparsity_for
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from tests.helpers.pruning import masks_of

UNIFORM = replace(Spec(), pruning=PruningSpec(allocation="uniform"))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(16, 128, 3), nn.Conv2d(128, 256, 3), nn.Linear(256, 100))


@pytest.mark.parametrize("granularity", ["unstructured", "block:2", "block:4", "block:8"])
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.6, 0.9])
def test_the_size_of_a_written_file_is_expected_within_five_percent(
    sparsity: float, granularity: str
) -> None:
    model, spec = network(), replace(Spec(), pruning=PruningSpec(granularity=granularity))
    found = layers(model)
    with torch.no_grad():
        prunable: dict[str, Tensor] = {x.name: model.get_parameter(x.name) for x in found}
        for weight in prunable.values():
            nn.init.normal_(weight)
        for name, mask in masks_of(prunable, sparsity, granularity=granularity).items():
            prunable[name][~mask] = 0.0
    written = len(sparse_file.encode(model.state_dict()))
    number = sum(p.numel() for p in model.parameters())
    size = expected_size(spec, found, number, sparsity)
    nonzero = sum(int(torch.count_nonzero(p)) for p in model.parameters())
    assert size.nonzero == pytest.approx(nonzero, abs=0.002 * number)
    assert size.bytes == pytest.approx(written, rel=0.05)


def test_a_limit_needs_the_sparsity_at_which_the_file_has_its_size() -> None:
    model = network()
    found, number = layers(model), sum(p.numel() for p in model.parameters())
    for allocation in ("uniform", "global", "erk"):
        spec = replace(Spec(), pruning=PruningSpec(allocation=allocation, min_density=0.0))
        needed = sparsity_for(spec, found, number, 400_000)
        assert needed is not None
        assert expected_size(spec, found, number, needed).bytes == pytest.approx(400_000, rel=1e-3)
    assert sparsity_for(UNIFORM, found, number, 10**9) == 0.0
    assert sparsity_for(UNIFORM, found, number, 1) is None


def test_excluded_layers_and_patterns_keep_their_weights() -> None:
    found = [
        Layer("a.weight", "linear", "", (100, 100), 10_000),
        Layer("b.weight", "linear", "", (100, 99), 9_900),
    ]
    excluded = replace(Spec(), pruning=PruningSpec(exclude=("a.weight",)))
    assert expected_size(excluded, found, 19_900, 0.5).nonzero == 10_000 + 4_950
    pattern = replace(
        Spec(),
        pruning=PruningSpec(granularity="2:4"),
        one_shot=OneShotSpec((0.0, 0.5)),
        iterative=IterativeSpec(enabled=False),
    )
    assert expected_size(pattern, found, 19_900, 0.5).nonzero == 5_000 + 9_900
    assert expected_size(UNIFORM, found, 19_900, MOST_SPARSITY).nonzero == 20

"""Filters, kernels and N:M patterns, against torch and against loops."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from pruning_core.common.errors import SpecError
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.methods.granularity import GRANULARITIES, pattern_of
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from tests.helpers.models import named_weights
from tests.helpers.pruning import masks_of

PATTERNS = [name for name, granularity in GRANULARITIES.items() if granularity.pattern]


def conv() -> nn.Conv2d:
    torch.manual_seed(3)
    return nn.Conv2d(12, 16, 3)


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.55, 0.9])
@pytest.mark.parametrize("filter_norm", ["1", "2", "3.5", "inf"])
@pytest.mark.parametrize(
    ("layer", "filter_dim"),
    [*((conv(), dim) for dim in range(4)), *((nn.Linear(20, 10), dim) for dim in range(2))],
)
def test_filters_are_those_of_torch(
    layer: nn.Module, filter_dim: int, filter_norm: str, amount: float
) -> None:
    layer = copy.deepcopy(layer)
    settings: dict[str, Any] = {
        "granularity": "filter",
        "filter_norm": filter_norm,
        "filter_dim": filter_dim,
    }
    (mask,) = masks_of(named_weights(layer), amount, **settings).values()
    prune.ln_structured(layer, "weight", amount=amount, n=float(filter_norm), dim=filter_dim)
    assert torch.equal(mask, layer.get_buffer("weight_mask").bool())


def test_one_threshold_for_the_filters_of_all_layers() -> None:
    weights = {"a": torch.tensor([[3.0, 4.0], [0.0, 1.0]]), "b": torch.full((3, 9), 1.0)}
    # Norms 5, 1 and three times 3: pruned are the lowest and the first of the equal ones.
    actual = masks_of(weights, 0.4, "global", granularity="filter")
    assert actual["a"].tolist() == [[True, True], [False, False]]
    assert actual["b"][:, 0].tolist() == [False, True, True]


def test_kernels_are_those_of_a_loop() -> None:
    weight = conv().weight.detach()
    actual = masks_of({"w": weight}, 0.7, granularity="kernel")["w"]
    kernels = list(itertools.product(range(16), range(12)))
    norms = {kernel: float(weight[kernel].double().square().sum()) for kernel in kernels}
    pruned = sorted(kernels, key=lambda kernel: norms[kernel])[: round(0.7 * len(kernels))]
    for kernel in kernels:
        assert actual[kernel].unique().tolist() == [kernel not in pruned]


def test_kernels_of_linear_layers_are_single_weights() -> None:
    weights = {"conv": conv().weight, "linear": torch.linspace(-1, 1, 40).reshape(4, 10)}
    actual = masks_of(weights, 0.5, granularity="kernel")["linear"]
    assert torch.equal(actual, masks_of(weights, 0.5)["linear"])
    masks_of(weights, 0.5, "global", granularity="kernel")  # both in the same precision


@pytest.mark.parametrize(
    ("criterion", "kept"), [("magnitude", [True, False]), ("taylor", [False, True])]
)
def test_magnitudes_are_joined_by_the_norm_other_scores_by_their_sum(
    criterion: str, kept: list[bool]
) -> None:
    scores = torch.tensor([[5.0, 0.0], [3.0, 3.0]])  # norms 5 and 4.2, sums 5 and 6
    settings = {**to_dict(PruningSpec(granularity="filter")), "criterion": criterion}
    assert compute_masks({"w": scores}, 0.5, settings)["w"][:, 0].tolist() == kept


def test_random_scores_of_units_do_not_depend_on_their_size() -> None:
    """The sum of many random scores would be larger than that of few."""
    weights = {"narrow": torch.ones(200, 1), "wide": torch.ones(200, 50)}
    actual = masks_of(weights, 0.5, "global", criterion="random", granularity="filter")
    assert 60 < int(actual["narrow"][:, 0].sum()) < 140
    assert actual["wide"].all(1).equal(actual["wide"].any(1))


@pytest.mark.parametrize("granularity", PATTERNS)
@pytest.mark.parametrize("channels_last", [True, False])
def test_of_every_group_the_smallest_half_is_pruned(granularity: str, channels_last: bool) -> None:
    pattern = pattern_of(granularity)
    assert pattern is not None
    count, of = pattern
    torch.manual_seed(1)
    weight = (torch.randn(6, 16, 3, 3) * 2).round()  # many ties, many zeros
    if channels_last:
        weight = weight.contiguous(memory_format=torch.channels_last)
    actual = masks_of({"w": weight}, 0.5, granularity=granularity)["w"]
    for o, start, y, x in itertools.product(range(6), range(0, 16, of), range(3), range(3)):
        group = weight[o, start : start + of, y, x].abs()
        kept = actual[o, start : start + of, y, x]
        first = np.argsort(group.numpy(), kind="stable")[:count]
        assert sorted(np.flatnonzero(~kept.numpy())) == sorted(first)


def test_what_does_not_fit_a_pattern_stays_dense() -> None:
    weights = {"stem": torch.rand(8, 3, 3, 3), "linear": torch.rand(5, 12)}
    actual = masks_of(weights, 0.5, granularity="2:4")
    assert bool(actual["stem"].all())
    assert int(actual["linear"].sum()) == 30
    assert bool(masks_of(weights, 0.5, granularity="4:8")["linear"].all())
    assert bool(masks_of(weights, 0.0, granularity="2:4")["linear"].all())


def test_a_pattern_has_one_sparsity() -> None:
    with pytest.raises(SpecError, match=r"2:4 prunes 0\.5; 0\.6 is not possible with it"):
        masks_of({"w": torch.rand(4, 4)}, 0.6, granularity="2:4")


def test_a_pattern_keeps_pruned_weights_pruned() -> None:
    weight = torch.tensor([[4.0, 3.0, 2.0, 1.0]])
    before = {"w": torch.tensor([[False, True, True, True]])}
    actual = masks_of({"w": weight}, 0.5, previous=before, granularity="2:4")
    assert actual["w"].tolist() == [[False, True, True, False]]
    more_than_half = {"w": torch.tensor([[False, False, False, True]])}
    with pytest.raises(SpecError, match="more than 2 of 4"):
        masks_of({"w": weight}, 0.5, previous=more_than_half, granularity="2:4")
    pruning = {**to_dict(PruningSpec(granularity="2:4")), "keep_zeros": True}
    kept = compute_masks({"w": weight}, 0.5, pruning, more_than_half)
    assert torch.equal(kept["w"], more_than_half["w"])


def test_scores_that_are_not_numbers_keep_their_filter() -> None:
    weights = {"w": torch.tensor([[float("nan"), 1.0], [9.0, 9.0]])}
    assert masks_of(weights, 0.5, granularity="filter")["w"][:, 0].tolist() == [True, False]

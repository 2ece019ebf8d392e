"""Filters, kernels, blocks and N:M patterns, against torch and against loops."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.common.errors import SpecError
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.masks.units import joined_scores
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.granularity import GRANULARITIES, pattern_of
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from tests.helpers.models import named_weights
from tests.helpers.pruning import MASK_ALLOCATIONS, masks_of

BLOCKS = [name for name, granularity in GRANULARITIES.items() if granularity.block]
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


def test_scores_of_blocks_by_hand() -> None:
    """Six outputs of two inputs: a block of four, and one of two that counts like four."""
    scores = torch.tensor([[3.0, 1.0], [0.0, 1.0], [4.0, 1.0], [0.0, 1.0], [3.0, 0.5], [4.0, 2.5]])

    def joined(**pruning: Any) -> list[list[float]]:
        named = {**to_dict(PruningSpec(granularity="block:4")), **pruning}
        return joined_scores({"w": scores}, named)["w"].tolist()

    assert joined() == [[5, 2], [pytest.approx(50**0.5), pytest.approx(13**0.5)]]
    assert joined(criterion="taylor") == [[7, 4], [14, 6]]
    assert joined(criterion="random") == [[3, 1], [3, 0.5]]
    masks = compute_masks({"w": scores}, 0.5, to_dict(PruningSpec(granularity="block:4")))
    assert masks["w"].tolist() == [[True, False]] * 4 + [[True, False]] * 2
    signed = {**to_dict(PruningSpec(granularity="block:2")), "criterion": "movement"}
    (sums,) = joined_scores({"w": torch.tensor([[1.0], [-3.0], [-2.0]])}, signed).values()
    assert sums.tolist() == [[2.0], [0.0]]  # -2 and twice -2, less the lowest


def test_a_smaller_block_ranks_by_its_mean() -> None:
    """All weights are equal, so no block is pruned first for its size alone."""
    weights = {"a": torch.full((8, 3), 1.0), "b": torch.full((5, 3), 1.01), "c": torch.ones(1, 3)}
    actual = masks_of(weights, 0.5, "global", granularity="block:4")
    assert [bool(actual[name].any()) for name in weights] == [False, True, True]
    assert bool(actual["b"].all())


Shape = tuple[tuple[int, ...], int]  # of a weight, and the groups of the convolution


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Linear layers and convolutions: dense, grouped and depthwise."""
    groups, inputs = draw(st.sampled_from(((1, 3), (1, 1), (3, 2), (6, 1))))
    outputs = draw(st.integers(1, 19 if groups == 1 else 5)) * groups
    return (outputs, inputs, *draw(st.sampled_from(((), (1, 1), (3,), (2, 3))))), groups


def blocks_of(mask: Tensor, block: int, groups: int) -> list[Tensor]:
    """The entries of each block. One of a depthwise layer extends over its groups."""
    inputs, each = mask.shape[1], mask.shape[0] // groups
    each = mask.shape[0] if inputs == 1 else each
    starts = [
        (start, min(start + block, group + each))
        for group in range(0, mask.shape[0], each)
        for start in range(group, group + each, block)
    ]
    return [column for pair in starts for column in mask[slice(*pair)].flatten(1).unbind(1)]


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("allocation", MASK_ALLOCATIONS)
@given(
    drawn=st.lists(shapes(), min_size=1, max_size=3),
    granularity=st.sampled_from(BLOCKS),
    amounts=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=8)
def test_every_block_is_pruned_or_kept_and_their_number_is_exact(
    criterion: str,
    allocation: str,
    drawn: list[Shape],
    granularity: str,
    amounts: tuple[float, float],
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = {str(i): torch.randn(s, generator=generator) for i, (s, _) in enumerate(drawn)}
    if not CRITERIA[criterion].signed:
        scores = {name: score.abs() for name, score in scores.items()}
    pruning = {
        **to_dict(PruningSpec(criterion, granularity=granularity, min_density=0.0)),
        "allocation": allocation,
        "layer_sparsities": ("*=0.8",),
    }
    groups: Mapping[str, int] = {str(i): number for i, (_, number) in enumerate(drawn)}
    block, previous = int(granularity.split(":")[1]), None
    for amount in sorted(amounts):
        masks = compute_masks(scores, amount, pruning, previous, groups)
        blocks = {name: blocks_of(mask, block, groups[name]) for name, mask in masks.items()}
        assert all(bool(x.all()) or not bool(x.any()) for part in blocks.values() for x in part)
        pruned = [sum(not bool(x.any()) for x in part) for part in blocks.values()]
        planned = [round(amount * len(part)) for part in blocks.values()]
        total = round(amount * sum(map(len, blocks.values())))
        assert pruned == planned if allocation == "uniform" else sum(pruned) == total
        assert previous is None or all(not bool((masks[n] & ~previous[n]).any()) for n in masks)
        previous = masks
        scores = {name: score + 9.0 * ~masks[name] for name, score in scores.items()}


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

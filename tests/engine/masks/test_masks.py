"""Masks: exact counts, ties, minimum density, and zeros that stay zero."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.common.errors import SpecError
from pruning_core.engine.masks import masks
from pruning_core.methods.layers import units_to_keep
from tests.helpers.models import named_weights, weight_of
from tests.helpers.pruning import masks_of

Tensors = dict[str, Tensor]


@st.composite
def tied(draw: st.DrawFn) -> Tensors:
    """Layers with few distinct values, so that most are tied; some are zero or negative."""
    weights = {}
    for i in range(draw(st.integers(1, 4))):
        shape = draw(st.sampled_from([(1,), (7,), (3, 5), (4, 2, 3, 3), (8, 1, 2, 2)]))
        values = draw(st.lists(st.integers(-2, 2), min_size=1, max_size=math.prod(shape)))
        weights[f"{i}.weight"] = torch.tensor(np.resize(values, shape), dtype=torch.float32)
    return weights


amounts = st.floats(0, 0.999)


def pruned_count(actual: Tensors) -> int:
    return sum(int((~mask).sum()) for mask in actual.values())


def size(weights: Tensors) -> int:
    return sum(value.numel() for value in weights.values())


@given(tied(), amounts)
@settings(deadline=None, max_examples=60)
def test_per_layer_counts_are_exact(weights: Tensors, amount: float) -> None:
    for name, mask in masks_of(weights, amount).items():
        assert pruned_count({name: mask}) == round(amount * mask.numel())
        kept, pruned = weights[name].abs()[mask], weights[name].abs()[~mask]
        assert not len(kept) or not len(pruned) or pruned.max() <= kept.min()


@given(tied(), amounts)
@settings(deadline=None, max_examples=60)
def test_global_counts_are_exact_or_refused(weights: Tensors, amount: float) -> None:
    expected, most = round(amount * size(weights)), size(weights) - len(weights)
    assert pruned_count(masks_of(weights, amount, "global", min_density=0.0)) == expected
    if expected > most:
        with pytest.raises(SpecError, match=r"pruning\.min_density"):
            masks_of(weights, amount, "global", min_density=1e-5)
    else:
        actual = masks_of(weights, amount, "global", min_density=1e-5)
        assert pruned_count(actual) == expected
        assert masks.empty_layers(actual) == []


@given(tied(), st.floats(0, 0.6), st.sampled_from([0.0, 0.05, 0.3, 0.5]))
@settings(deadline=None, max_examples=60)
def test_every_layer_keeps_its_best_weights_up_to_the_minimum_density(
    weights: Tensors, amount: float, min_density: float
) -> None:
    kept_at_least = {name: units_to_keep(w.numel(), min_density) for name, w in weights.items()}
    expected = round(amount * size(weights))
    if expected > size(weights) - sum(kept_at_least.values()):
        return
    actual = masks_of(weights, amount, "global", min_density)
    assert pruned_count(actual) == expected
    for name, mask in actual.items():
        assert int(mask.sum()) >= kept_at_least[name]
        if 0 < int(mask.sum()) < mask.numel():
            assert weights[name].abs()[~mask].max() <= weights[name].abs()[mask].min()


@given(tied(), amounts, amounts, st.sampled_from(["uniform", "global"]))
@settings(deadline=None, max_examples=60)
def test_pruned_weights_stay_pruned(weights: Tensors, a: float, b: float, allocation: str) -> None:
    low, high = sorted((a, b))
    if round(high * size(weights)) > size(weights) - len(weights) and allocation == "global":
        return
    first = masks_of(weights, low, allocation)
    # Pruned weights that have grown since must not return.
    grown = {name: w + 9.0 * ~first[name] for name, w in weights.items()}
    second = masks_of(grown, high, allocation, previous=first)
    assert all(not bool((second[name] & ~first[name]).any()) for name in weights)
    if allocation == "global":
        assert pruned_count(second) == round(high * size(weights))


def test_of_equal_weights_the_first_is_pruned() -> None:
    weights = {"a": torch.ones(2, 3), "b": torch.ones(4)}
    actual = masks_of(weights, 0.8, "global")
    assert actual["a"].tolist() == [[False, False, False], [False, False, False]]
    assert actual["b"].tolist() == [False, False, True, True]
    actual = masks_of(weights, 0.8, "global", min_density=0.1)
    assert actual["a"].tolist() == [[False, False, False], [False, False, True]]
    assert actual["b"].tolist() == [False, False, False, True]
    actual = masks_of(weights, 0.7, "global", min_density=0.1)
    assert actual["b"].tolist() == [False, False, True, True]
    actual = masks_of(weights, 0.5)
    assert actual["a"].tolist() == [[False, False, False], [True, True, True]]


def convolutions(channels_last: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Flatten(), nn.Linear(64, 10)
    )
    for name in ("0", "1", "3"):
        nn.init.normal_(weight_of(model, name))
    return model.to(memory_format=torch.channels_last) if channels_last else model


def masks_of_torch(model: nn.Module) -> list[Tensor]:
    """The masks of the hooks of `torch.nn.utils.prune`, in the order of the layers."""
    buffers = model.named_buffers()
    return [mask.bool() for name, mask in buffers if name.endswith("weight_mask")]


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.55, 0.9])
def test_without_ties_the_masks_are_those_of_torch(amount: float) -> None:
    weights = named_weights(convolutions())
    model = convolutions()
    layers = [model.get_submodule(name) for name in ("0", "1", "3")]
    for layer in layers:
        prune.l1_unstructured(layer, "weight", amount=amount)
    expected = zip(masks_of_torch(model), masks_of(weights, amount).values(), strict=True)
    assert all(torch.equal(one, other) for one, other in expected)
    model = convolutions()
    layers = [model.get_submodule(name) for name in ("0", "1", "3")]
    prune.global_unstructured(
        [(layer, "weight") for layer in layers], prune.L1Unstructured, amount=amount
    )
    actual = masks_of(weights, amount, "global").values()
    assert all(torch.equal(a, b) for a, b in zip(masks_of_torch(model), actual, strict=True))


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_the_memory_format_changes_no_mask(allocation: str, criterion: str) -> None:
    plain, last = named_weights(convolutions()), named_weights(convolutions(channels_last=True))
    with torch.no_grad():  # many ties
        for value in (*plain.values(), *last.values()):
            value.copy_((value * 20).round())
    expected, actual = (masks_of(w, 0.6, allocation, criterion=criterion) for w in (plain, last))
    assert all(torch.equal(expected[name], actual[name]) for name in expected)
    factors = zip(masks.Masks(last, actual)._factors, last.values(), strict=True)
    assert all(factor.stride() == weight.stride() for factor, weight in factors)
    assert actual["0.weight"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    weights = {"w": torch.linspace(-1, 1, 101, dtype=torch.float64).to(dtype)}
    actual = masks_of(weights, 0.5)["w"]
    assert int((~actual).sum()) == 50
    assert weights["w"].abs()[~actual].max() <= weights["w"].abs()[actual].min()


def test_close_float64_weights_are_distinguished() -> None:
    weights = {"w": 1 + torch.arange(9, 0, -1, dtype=torch.float64) * 1e-12}
    assert masks_of(weights, 0.5)["w"].tolist() == [True] * 5 + [False] * 4
    with pytest.raises(SpecError, match=r"pruning\.allocation"):
        masks_of({**weights, "v": torch.ones(3)}, 0.5, "global")


def test_random_depends_on_the_generator_only() -> None:
    a, b = {"w": torch.randn(200)}, {"w": torch.randn(200)}
    actual = masks_of(a, 0.5, criterion="random")["w"]
    assert torch.equal(actual, masks_of(b, 0.5, criterion="random")["w"])
    assert not torch.equal(actual, masks_of(a, 0.5)["w"])
    assert not torch.equal(actual, masks_of(a, 0.5, criterion="random", seed=7)["w"])


@pytest.mark.parametrize("amount", [-0.1, 1.0, math.nan])
def test_amounts_outside_are_refused(amount: float) -> None:
    with pytest.raises(SpecError, match="amount"):
        masks_of({"w": torch.ones(4)}, amount)


@pytest.mark.parametrize("allocation", ["uniform", "global"])
def test_a_lower_sparsity_than_before_is_refused(allocation: str) -> None:
    weights = {"w": torch.arange(10.0)}
    with pytest.raises(SpecError, match="5 of the 10 weights"):
        masks_of(weights, 0.3, allocation, previous=masks_of(weights, 0.5, allocation))


def test_a_minimum_density_that_is_too_high_names_the_highest_sparsity() -> None:
    weights = {"a": torch.rand(100), "b": torch.rand(50)}
    with pytest.raises(SpecError, match=r"min_density.*at most 0\.7866 can be pruned"):
        masks_of(weights, 0.9, "global", min_density=0.203)
    masks_of(weights, 0.7866, "global", min_density=0.203)


def test_no_weights_are_refused() -> None:
    with pytest.raises(SpecError, match=r"pruning\.layers"):
        masks_of({}, 0.5)


def test_multiplying_leaves_plain_zeros() -> None:
    weights = {"w": torch.tensor([-1.0, 3.0, -0.5, 4.0])}
    masks.Masks(weights, {"w": torch.tensor([False, False, True, True])}).multiply()
    assert weights["w"].tolist() == [0.0, 0.0, -0.5, 4.0]
    assert not bool(torch.signbit(weights["w"][0]))


def test_empty_layers_are_found() -> None:
    actual = {"a": torch.tensor([False, False]), "b": torch.tensor([False, True])}
    assert masks.empty_layers(actual) == ["a"]


def test_masks_come_back_from_disk(tmp_path: Path) -> None:
    actual = masks_of(named_weights(convolutions(channels_last=True)), 0.8)
    masks.save(actual, tmp_path / "masks")
    back = masks.load(tmp_path / "masks")
    assert list(back) == list(actual)
    assert all(torch.equal(back[name], actual[name]) for name in actual)
    assert masks_of(named_weights(convolutions()), 0.9, previous=back)


def test_scores_that_are_not_numbers_count_as_largest() -> None:
    weights = {"w": torch.tensor([math.nan, 1.0, -math.inf, -0.0, 2.0])}
    assert masks_of(weights, 0.6)["w"].tolist() == [True, False, True, False, False]


def test_a_layer_below_its_minimum_density_regains_nothing() -> None:
    weights = {"a": torch.full((10,), 0.1), "b": torch.arange(1.0, 31.0)}
    first = masks_of(weights, 0.2, "global", min_density=0.1)
    assert int(first["a"].sum()) == 2
    second = masks_of(weights, 0.4, "global", min_density=0.5, previous=first)
    assert torch.equal(second["a"], first["a"])
    assert pruned_count(second) == 16

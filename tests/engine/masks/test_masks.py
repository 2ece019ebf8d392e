"""Masks: exact counts, ties, floors, and zeros that stay zero."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pruning_core.engine.criteria.table import CRITERIA
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.common.errors import SpecError
from pruning_core.engine.masks import masks
from pruning_core.methods.criteria import CRITERIA as CRITERION_NAMES
from pruning_core.methods.layers import LAYER_CHOICES as CHOICE_NAMES
from pruning_core.methods.layers import units_to_keep
from tests.helpers.pruning import cut

Tensors = dict[str, Tensor]


@st.composite
def tied(draw: st.DrawFn) -> Tensors:
    """Layers whose values are so few that most are tied; some zero, some negative."""
    found = {}
    for i in range(draw(st.integers(1, 4))):
        shape = draw(st.sampled_from([(1,), (7,), (3, 5), (4, 2, 3, 3), (8, 1, 2, 2)]))
        values = draw(st.lists(st.integers(-2, 2), min_size=1, max_size=math.prod(shape)))
        found[f"{i}.weight"] = torch.tensor(np.resize(values, shape), dtype=torch.float32)
    return found


amounts = st.floats(0, 0.999)


def total(found: Tensors) -> int:
    return sum(int((~kept).sum()) for kept in found.values())


def size(weights: Tensors) -> int:
    return sum(value.numel() for value in weights.values())


@given(tied(), amounts)
@settings(deadline=None, max_examples=60)
def test_per_layer_counts_are_exact(weights: Tensors, amount: float) -> None:
    for name, mask in cut(weights, amount).items():
        assert total({name: mask}) == round(amount * mask.numel())
        kept, gone = weights[name].abs()[mask], weights[name].abs()[~mask]
        assert not len(kept) or not len(gone) or gone.max() <= kept.min()


@given(tied(), amounts)
@settings(deadline=None, max_examples=60)
def test_global_counts_are_exact_or_refused(weights: Tensors, amount: float) -> None:
    wanted, most = round(amount * size(weights)), size(weights) - len(weights)
    assert total(cut(weights, amount, "global", floor=0.0)) == wanted
    if wanted > most:
        with pytest.raises(SpecError, match=r"pruning\.min_density"):
            cut(weights, amount, "global", floor=1e-5)
    else:
        found = cut(weights, amount, "global", floor=1e-5)
        assert total(found) == wanted
        assert masks.empty_layers(found) == []


@given(tied(), st.floats(0, 0.6), st.sampled_from([0.0, 0.05, 0.3, 0.5]))
@settings(deadline=None, max_examples=60)
def test_every_layer_keeps_its_floor_of_best(weights: Tensors, amount: float, floor: float) -> None:
    kept_at_least = {name: units_to_keep(w.numel(), floor) for name, w in weights.items()}
    wanted = round(amount * size(weights))
    if wanted > size(weights) - sum(kept_at_least.values()):
        return
    found = cut(weights, amount, "global", floor)
    assert total(found) == wanted
    for name, mask in found.items():
        assert int(mask.sum()) >= kept_at_least[name]
        if 0 < int(mask.sum()) < mask.numel():
            assert weights[name].abs()[~mask].max() <= weights[name].abs()[mask].min()


@given(tied(), amounts, amounts, st.sampled_from(["uniform", "global"]))
@settings(deadline=None, max_examples=60)
def test_removed_weights_stay_removed(weights: Tensors, a: float, b: float, scope: str) -> None:
    low, high = sorted((a, b))
    if round(high * size(weights)) > size(weights) - len(weights) and scope == "global":
        return
    first = cut(weights, low, scope)
    # Removed weights that have grown again must not come back.
    grown = {name: w + 9.0 * ~first[name] for name, w in weights.items()}
    second = cut(grown, high, scope, previous=first)
    assert all(not bool((second[name] & ~first[name]).any()) for name in weights)
    if scope == "global":
        assert total(second) == round(high * size(weights))


def test_of_equal_weights_the_first_goes() -> None:
    weights = {"a": torch.ones(2, 3), "b": torch.ones(4)}
    found = cut(weights, 0.8, "global")
    assert found["a"].tolist() == [[False, False, False], [False, False, False]]
    assert found["b"].tolist() == [False, False, True, True]
    found = cut(weights, 0.8, "global", floor=0.1)
    assert found["a"].tolist() == [[False, False, False], [False, False, True]]
    assert found["b"].tolist() == [False, False, False, True]
    found = cut(weights, 0.7, "global", floor=0.1)
    assert found["b"].tolist() == [False, False, True, True]
    found = cut(weights, 0.5)
    assert found["a"].tolist() == [[False, False, False], [True, True, True]]


def convolutions(channels_last: bool = False) -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), nn.Flatten(), nn.Linear(64, 10)
    )
    for layer in (model[0], model[1], model[3]):
        nn.init.normal_(layer.weight)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def weights_of(model: nn.Module) -> Tensors:
    return {name: value for name, value in model.named_parameters() if "weight" in name}


@pytest.mark.parametrize("amount", [0.0, 0.3, 0.55, 0.9])
def test_the_same_as_torch_where_nothing_is_tied(amount: float) -> None:
    model = convolutions()
    layers = [model[0], model[1], model[3]]
    per_layer, together = cut(weights_of(model), amount), cut(weights_of(model), amount, "global")
    for layer, mask in zip(layers, per_layer.values(), strict=True):
        prune.l1_unstructured(layer, "weight", amount=amount)
        assert torch.equal(layer.weight_mask.bool(), mask)
        prune.remove(layer, "weight")
    model = convolutions()
    layers = [model[0], model[1], model[3]]
    prune.global_unstructured(
        [(layer, "weight") for layer in layers], prune.L1Unstructured, amount=amount
    )
    for layer, mask in zip(layers, together.values(), strict=True):
        assert torch.equal(layer.weight_mask.bool(), mask)


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize("criterion", ["magnitude", "random"])
def test_the_memory_format_changes_no_mask(scope: str, criterion: str) -> None:
    plain, last = weights_of(convolutions()), weights_of(convolutions(channels_last=True))
    with torch.no_grad():  # many ties
        for value in (*plain.values(), *last.values()):
            value.copy_((value * 20).round())
    wanted, found = (cut(w, 0.6, scope, criterion=criterion) for w in (plain, last))
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    factors = zip(masks.Masks(last, found)._factors, last.values(), strict=True)
    assert all(factor.stride() == weight.stride() for factor, weight in factors)
    assert found["0.weight"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype: torch.dtype) -> None:
    weights = {"w": torch.linspace(-1, 1, 101, dtype=torch.float64).to(dtype)}
    found = cut(weights, 0.5)["w"]
    assert int((~found).sum()) == 50
    assert weights["w"].abs()[~found].max() <= weights["w"].abs()[found].min()


def test_close_float64_weights_are_told_apart() -> None:
    weights = {"w": 1 + torch.arange(9, 0, -1, dtype=torch.float64) * 1e-12}
    assert cut(weights, 0.5)["w"].tolist() == [True] * 5 + [False] * 4
    with pytest.raises(SpecError, match=r"pruning\.allocation"):
        cut({**weights, "v": torch.ones(3)}, 0.5, "global")


def test_random_depends_on_the_generator_only() -> None:
    a, b = {"w": torch.randn(200)}, {"w": torch.randn(200)}
    found = cut(a, 0.5, criterion="random")["w"]
    assert torch.equal(found, cut(b, 0.5, criterion="random")["w"])
    assert not torch.equal(found, cut(a, 0.5)["w"])
    assert not torch.equal(found, cut(a, 0.5, criterion="random", seed=7)["w"])


@pytest.mark.parametrize("amount", [-0.1, 1.0, math.nan])
def test_amounts_outside_are_refused(amount: float) -> None:
    with pytest.raises(SpecError, match="amount"):
        cut({"w": torch.ones(4)}, amount)


@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_asking_for_less_than_is_removed_is_refused(scope: str) -> None:
    weights = {"w": torch.arange(10.0)}
    with pytest.raises(SpecError, match="5 of the 10 weights"):
        cut(weights, 0.3, scope, previous=cut(weights, 0.5, scope))


def test_a_floor_that_is_too_high_tells_the_largest_amount() -> None:
    weights = {"a": torch.rand(100), "b": torch.rand(50)}
    with pytest.raises(SpecError, match=r"min_density.*at most 78.66% of all"):
        cut(weights, 0.9, "global", floor=0.203)
    cut(weights, 0.7866, "global", floor=0.203)


def test_no_weights_are_refused() -> None:
    with pytest.raises(SpecError, match=r"pruning\.layers"):
        cut({}, 0.5)


def test_the_registries_hold_what_a_spec_may_name() -> None:
    from pruning_core.methods.layers import LAYER_CHOICES

    assert set(CRITERIA) == set(CRITERION_NAMES)
    assert set(LAYER_CHOICES) == set(CHOICE_NAMES)


def test_multiplying_leaves_plain_zeros() -> None:
    weights = {"w": torch.tensor([-1.0, 3.0, -0.5, 4.0])}
    masks.Masks(weights, {"w": torch.tensor([False, False, True, True])}).multiply()
    assert weights["w"].tolist() == [0.0, 0.0, -0.5, 4.0]
    assert not bool(torch.signbit(weights["w"][0]))


def test_empty_layers_are_found() -> None:
    found = {"a": torch.tensor([False, False]), "b": torch.tensor([False, True])}
    assert masks.empty_layers(found) == ["a"]


def test_masks_come_back_from_disk(tmp_path: Path) -> None:
    found = cut(weights_of(convolutions(channels_last=True)), 0.8)
    masks.save(found, tmp_path / "masks")
    back = masks.load(tmp_path / "masks")
    assert list(back) == list(found)
    assert all(torch.equal(back[name], found[name]) for name in found)
    assert cut(weights_of(convolutions()), 0.9, previous=back)


def test_scores_that_are_not_numbers_count_as_largest() -> None:
    weights = {"w": torch.tensor([math.nan, 1.0, -math.inf, -0.0, 2.0])}
    assert cut(weights, 0.6)["w"].tolist() == [True, False, True, False, False]


def test_a_layer_below_its_floor_gets_nothing_back() -> None:
    weights = {"a": torch.full((10,), 0.1), "b": torch.arange(1.0, 31.0)}
    first = cut(weights, 0.2, "global", floor=0.1)
    assert int(first["a"].sum()) == 2
    second = cut(weights, 0.4, "global", floor=0.5, previous=first)
    assert torch.equal(second["a"], first["a"])
    assert sum(int((~kept).sum()) for kept in second.values()) == 16

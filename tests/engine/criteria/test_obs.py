"""Optimal Brain Surgeon against brute force, least squares, and small layers by hand."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.engine.correction.corrections import CorrectionInputs, weight_reconstruction
from pruning_core.engine.correction.least_squares import RIDGE
from pruning_core.engine.criteria import obs as module
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.obs import obs, output_curvatures, removal_losses, row_losses
from pruning_core.engine.masks.compensation import CompensatedStep
from pruning_core.engine.masks.masks import Masks, compute_masks
from pruning_core.engine.masks.pruning_step import norms_of_zero_filters
from pruning_core.engine.masks.units import mask_of_units, remaining_units
from pruning_core.engine.models.layers import convolution_groups, weights
from pruning_core.engine.models.traced_layers import traced_layers
from pruning_core.methods.granularity import GRANULARITIES, block_of, fits, pattern_of
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.storage.stage_context import Progress, StageError
from tests.helpers.models import weight_of
from tests.helpers.pruning import MASK_ALLOCATIONS

DOUBLE = torch.float64
MAGNITUDE = to_dict(PruningSpec())


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def gram_of(inputs: int, seed: int = 0) -> Tensor:
    """The Gram matrix (d, d) of correlated inputs."""
    x = random(40, inputs, seed=seed) @ random(inputs, inputs, seed=seed + 1)
    return x.T @ x / 40


def error_without(removed: tuple[int, ...], weight: Tensor, gram: Tensor) -> float:
    """The least (w - v)' G (w - v) of all v (d,) that are 0 at these columns."""
    rest = [j for j in range(len(weight)) if j not in removed]
    chosen = torch.tensor(removed)
    if not rest:
        return float(weight @ gram @ weight)
    cross = gram[chosen][:, rest]
    reduced = gram[chosen][:, chosen] - cross @ torch.linalg.solve(gram[rest][:, rest], cross.T)
    return float(weight[chosen] @ reduced @ weight[chosen])


def test_two_weights_by_hand() -> None:
    """G = [[2, 1], [1, 2]], so A = [[2, -1], [-1, 2]] / 3, of the weights 1 and 3.

    Without the first the error grows by 1 / (2/3) = 1.5, and the second becomes 3 + 1/2 = 3.5.
    Without that one too it grows by 2 * 3.5^2 = 24.5: 26 in all, which is w' G w.
    """
    inverse = torch.tensor([[[2.0, -1.0], [-1.0, 2.0]]], dtype=DOUBLE) / 3
    losses = removal_losses(torch.tensor([[[1.0, 3.0]]], dtype=DOUBLE), inverse)
    torch.testing.assert_close(losses, torch.tensor([[1.5, 24.5]], dtype=DOUBLE))


@pytest.mark.parametrize("seed", range(5))
def test_each_removal_is_the_best_of_all_single_removals(seed: int) -> None:
    """Of 8 weights, against solving for the others without each that remains."""
    weight, gram = random(8, seed=seed), gram_of(8, seed)
    losses = removal_losses(weight[None, None], torch.linalg.inv(gram)[None])[0]
    removed: tuple[int, ...] = ()
    error = highest = 0.0
    for j in losses.argsort(stable=True).tolist():
        rest = [i for i in range(8) if i not in removed]
        errors = {i: error_without((*removed, i), weight, gram) for i in rest}
        assert min(errors, key=lambda i: errors[i]) == j
        highest = max(highest, errors[j] - error)
        assert float(losses[j]) == pytest.approx(highest, rel=1e-4)
        removed, error = (*removed, j), errors[j]


def test_a_block_has_the_losses_of_one_removal_after_another() -> None:
    """All columns in one block: in the order of their single losses, whatever remains."""
    weight, gram = random(6, seed=3), gram_of(6, 3)
    inverse = torch.linalg.inv(gram)
    order = (weight.square() / inverse.diagonal()).argsort().tolist()
    sums = [error_without(tuple(order[:k]), weight, gram) for k in range(1, 7)]
    steps = [sums[0], *(b - a for a, b in itertools.pairwise(sums))]
    expected = torch.tensor(steps, dtype=DOUBLE).cummax(0).values
    actual = removal_losses(weight[None, None], inverse[None], block=1)[0]
    torch.testing.assert_close(actual[torch.tensor(order)], expected, rtol=1e-4, atol=0.0)


def test_rows_of_a_unit_lose_their_columns_together() -> None:
    """The sum over two rows decides; its first removal is the best of all."""
    weight, gram = random(2, 5, seed=4), gram_of(5, 4)
    losses = row_losses(weight[None], gram[None], rows=2, ridge=0.0)[0]
    sums = [sum(error_without((j,), row, gram) for row in weight) for j in range(5)]
    first = int(torch.tensor(sums).argmin())
    torch.testing.assert_close(losses[0], losses[1])
    assert int(losses[0].argmin()) == first
    assert float(2 * losses[0, first]) == pytest.approx(sums[first])


def test_groups_and_parts_of_columns_are_layers_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Grouped rows, the smaller last unit of each group, and few units at a time."""
    weight = random(3, 5, 6, seed=1)
    gram = torch.stack([gram_of(6, seed) for seed in range(3)])
    gram[2] = 0
    together = row_losses(weight, gram, rows=2)
    monkeypatch.setattr(module, "MAX_NUMBERS", 40)
    for i in range(3):
        alone = row_losses(weight[i : i + 1], gram[i : i + 1], rows=2)[0]
        torch.testing.assert_close(alone, together[i])
        last = row_losses(weight[i : i + 1, 4:], gram[i : i + 1])[0]
        torch.testing.assert_close(last, together[i, 4:])
    assert not bool(together[2].any())


def test_columns_of_a_wide_layer_are_removed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part beside all other columns; a sample of rows tells how much more all lose together.

    With one column at a time the order is that of the first removals.
    """
    weight, gram = random(1, 5, 6, seed=1), gram_of(6)[None]
    exact = row_losses(weight, gram)[0]
    monkeypatch.setattr(module, "ranked_inputs", lambda outputs, inputs: 1)
    monkeypatch.setattr(module, "RANKED_OUTPUTS", 5)
    damped = gram[0] + RIDGE * gram[0].diagonal().mean() * torch.eye(6, dtype=DOUBLE)
    first = weight[0].square() / torch.linalg.inv(damped).diagonal()
    actual = row_losses(weight, gram)[0]
    assert torch.equal(actual.argsort(1), first.argsort(1))
    totals = [float(losses.sum()) for losses in (first, actual, exact)]
    assert totals[0] < 0.5 * totals[2]
    assert totals[1] == pytest.approx(totals[2], rel=0.1)


def network() -> nn.Sequential:
    """Plain, depthwise, grouped and linear layers, with batch norm, bias, or neither."""
    torch.manual_seed(1)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True)),
        *(nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8), nn.ReLU6()),
        *(nn.Conv2d(8, 12, 3, stride=2, groups=2), nn.ReLU(inplace=True)),
        *(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(48, 5, bias=False)),
    )
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(16, 3, 8, 8))
    return model.eval()


def inputs_of(model: nn.Module, count: int = 40) -> CriterionInputs:
    images = random(count, 3, 8, 8, seed=2).float()
    batches = [(part, torch.zeros(len(part), dtype=torch.long)) for part in images.split(16)]
    generator = torch.Generator().manual_seed(3)
    return CriterionInputs(weights(model, "all"), generator, model, batches)


def test_curvature_of_the_last_layer_is_that_of_the_cross_entropy() -> None:
    """p (1 - p) of each logit, within the noise of the random directions."""
    model = network()
    inputs = inputs_of(model, 2000)
    layers = traced_layers(model, next(iter(inputs.batches))[0])
    curvatures = output_curvatures(inputs, layers)
    with torch.no_grad():
        shares = torch.cat([model(images) for images, _ in inputs.batches]).softmax(1).double()
    expected = (shares * (1 - shares)).mean(0)
    torch.testing.assert_close(curvatures["10"], expected, rtol=0.15, atol=0.0)
    assert {name: len(values) for name, values in curvatures.items()} == {
        "0": 8,
        "3": 8,
        "6": 12,
        "10": 5,
    }


def test_scores_estimate_the_loss_in_every_layer() -> None:
    """Removing a whole layer: the sum of its scores is the second-order loss of its outputs."""
    model = network()
    scores = obs(inputs_of(model))
    assert {name: score.shape for name, score in scores.items()} == {
        name: weight.shape for name, weight in weights(model, "all").items()
    }
    assert all(bool((score >= 0).all()) for score in scores.values())


def test_an_input_that_is_not_finite_names_its_layer() -> None:
    model = network()
    weights(model, "all")["3.weight"].data[0] = torch.nan
    with pytest.raises(StageError, match=r"`obs` .*the inputs of 6\.weight are not finite"):
        obs(inputs_of(model))


class Attention(nn.Module):
    """An attention layer, whose projections are not called as layers, and a linear one."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, images: Tensor) -> Tensor:
        tokens = images.flatten(2)
        mixed: Tensor = self.attention(tokens, tokens, tokens)[0]
        return torch.as_tensor(self.head(mixed.mean(1)))


def test_weights_that_no_layer_computes_get_the_scores_of_obd() -> None:
    torch.manual_seed(0)
    model = Attention().eval()
    images = random(12, 3, 2, 4).float()
    inputs = replace(inputs_of(model), batches=[(images, torch.zeros(12, dtype=torch.long))])
    scores = obs(inputs)
    assert list(scores) == ["attention.in_proj_weight", "attention.out_proj.weight", "head.weight"]
    assert all(bool((score > 0).any()) for score in scores.values())


def squared_error(pruned: nn.Module, dense: nn.Module, images: Tensor) -> float:
    with torch.no_grad():
        return float((pruned(images) - dense(images)).double().square().sum())


def calibration(images: Tensor) -> list[tuple[Tensor, Tensor]]:
    return [(images, torch.zeros(len(images), dtype=torch.long))]


def pruned_copy(dense: nn.Module, batches: Any, amount: float, **pruning: Any) -> Any:
    """A copy of a network after both passes, its masks and its notes."""
    model = copy.deepcopy(dense)
    settings = to_dict(PruningSpec(**{"criterion": "obs", **pruning}))
    generator = torch.Generator().manual_seed(3)
    block = block_of(settings["granularity"]) or 1
    inputs = CriterionInputs(weights(model, "all"), generator, model, batches, block=block)
    masks = compute_masks(obs(inputs), amount, settings, groups=convolution_groups(model))
    step = CompensatedStep(inputs, settings, amount, {}, {}, {})
    masks, notes = step.run(model, masks, {}, Progress())
    return model, masks, notes


@pytest.mark.parametrize("seed", range(4))
def test_a_linear_layer_has_at_most_the_error_of_magnitude_and_least_squares(seed: int) -> None:
    """With its own mask no more than least squares leaves, and less than with magnitude's mask."""
    torch.manual_seed(seed)
    images = torch.randn(40, 24) @ (torch.randn(24, 24) * torch.linspace(0.1, 2, 24))
    dense, batches = nn.Sequential(nn.Linear(24, 10)), calibration(images)
    model, masks, _ = pruned_copy(dense, batches, 0.75)
    by_size = compute_masks({"0.weight": weight_of(dense, "0").detach().abs()}, 0.75, MAGNITUDE)
    errors = []
    for mask in (masks, by_size):
        solved = copy.deepcopy(dense)
        weight_of(solved, "0").data.mul_(mask["0.weight"])
        weight_reconstruction(CorrectionInputs(solved, dense, batches, mask, lambda: None))
        errors.append(squared_error(solved, dense, images))
    own = squared_error(model, dense, images)
    assert own <= errors[0] * (1 + 1e-5)
    assert own < errors[1]


CASES = [(name, "uniform") for name in GRANULARITIES] + [
    *(("unstructured", allocation) for allocation in MASK_ALLOCATIONS if allocation != "uniform"),
    ("block:4", "global"),
]


@pytest.mark.parametrize(("granularity", "allocation"), CASES)
def test_masks_are_exact_to_the_unit_and_the_weights_are_zero(
    granularity: str, allocation: str
) -> None:
    """As many units as the first pass chose, in every layer, whatever the second pass chose."""
    dense = network()
    batches = [(images, labels) for images, labels in inputs_of(dense).batches]
    settings: dict[str, Any] = {
        "granularity": granularity,
        "allocation": allocation,
        "min_density": 0.02,
        "layer_sparsities": ("*=0.5",) if allocation == "custom" else (),
        "exclude": ("classifier",) if granularity == "filter" else (),
    }
    model, masks, notes = pruned_copy(dense, batches, 0.5, **settings)
    assert notes == []
    groups = convolution_groups(dense)
    pruning = to_dict(PruningSpec(criterion="magnitude", **settings))
    units = {name: remaining_units(mask, pruning, groups[name]) for name, mask in masks.items()}
    counts = {name: int(np.count_nonzero(~remaining)) for name, remaining in units.items()}
    sizes = {name: remaining.size for name, remaining in units.items()}
    if pattern_of(granularity):
        fitting = {name for name, mask in masks.items() if fits(mask.shape, granularity)}
        expected = {name: sizes[name] // 2 * (name in fitting) for name in masks}
        assert fitting
    elif allocation == "uniform":
        expected = {name: round(0.5 * size) for name, size in sizes.items()}
    else:
        expected = counts
        assert sum(counts.values()) == round(0.5 * sum(sizes.values()))
    assert counts == expected
    for name, weight in weights(model, "all").items():
        assert torch.equal(weight != 0, masks[name])
        assert torch.equal(mask_of_units(units[name], weight, pruning, groups[name]), masks[name])
    assert not any(
        torch.equal(w, weights(dense, "all")[n]) for n, w in weights(model, "all").items()
    )


def test_weights_pruned_before_stay_pruned_and_dense_layers_compensate() -> None:
    """A second step from compensated weights; the excluded layer keeps all of its weights."""
    dense = network()
    batches = list(inputs_of(dense).batches)
    first, before, _ = pruned_copy(dense, batches, 0.4, allocation="global")
    settings = to_dict(PruningSpec(criterion="obs", exclude=("10.weight",)))
    inputs = CriterionInputs(
        weights(first, "all", ["10.weight"]), torch.Generator(), first, batches
    )
    after = compute_masks(obs(inputs), 0.7, settings, before)
    classifier = weight_of(first, "10").detach().clone()
    step = CompensatedStep(inputs, settings, 0.7, before, {}, {})
    others = {"10.weight": before["10.weight"]}
    masks, _ = step.run(first, after, others, Progress())
    assert list(masks) == ["0.weight", "3.weight", "6.weight"]
    for name, mask in masks.items():
        assert int((~mask).sum()) == round(0.7 * mask.numel())
        assert not bool((mask & ~before[name]).any())
    assert not torch.equal(weight_of(first, "10"), classifier)
    assert torch.equal(weight_of(first, "10") != 0, before["10.weight"])


def test_the_second_pass_chooses_with_the_inputs_of_pruned_layers() -> None:
    """The first layer keeps its choice, a later one does not."""
    dense = network()
    inputs = inputs_of(dense)
    first_pass = compute_masks(obs(inputs), 0.7, to_dict(PruningSpec(criterion="obs")))
    _, masks, _ = pruned_copy(dense, list(inputs.batches), 0.7)
    assert any(not torch.equal(masks[name], first_pass[name]) for name in ("6.weight", "10.weight"))


@torch.no_grad()
def test_layers_after_a_zero_filter_are_solved_without_its_channel() -> None:
    """So the mean of their outputs is that of the dense model once the batch norm is zero, too."""
    dense, pruned = network(), network()
    inputs = inputs_of(pruned)
    settings = to_dict(PruningSpec(criterion="obs", granularity="filter", exclude=("10.weight",)))
    inputs = replace(inputs, weights=weights(pruned, "all", ["10.weight"]))
    masks = compute_masks(obs(inputs), 0.5, settings)
    norms = norms_of_zero_filters(pruned, masks, 8)
    assert norms
    masks, _ = CompensatedStep(inputs, settings, 0.5, {}, {}, norms).run(
        pruned, masks, {}, Progress()
    )
    Masks(dict(pruned.named_parameters()), masks, norms).multiply()
    images = torch.cat([images for images, _ in inputs.batches])
    means = [model[:7](images).mean((0, 2, 3)) for model in (dense, pruned)]
    torch.testing.assert_close(*means, rtol=1e-4, atol=1e-4)

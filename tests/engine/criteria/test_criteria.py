"""Criteria against formulas by hand, and what all criteria have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.engine.criteria.calibration import draw_calibration_set
from pruning_core.engine.criteria.gradients import obd, random_directions, snip, taylor
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.magnitude import movement
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.masks.units import joined_scores
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import weights
from pruning_core.methods.criteria import BASELINE, CRITERIA, IMAGES, MOVEMENT
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.storage.stage_context import StageError
from tests.helpers.models import weight_of

Tensors = dict[str, Tensor]
FEW = 5


def network() -> nn.Module:
    """Convolutions with and without groups, dropout, and batch norm with real statistics."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.Dropout(0.5)),
        *(nn.Conv2d(8, 8, 3, stride=2, groups=8), nn.BatchNorm2d(8), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(2), nn.Conv2d(8, 4, 2, groups=2), nn.Flatten(), nn.Linear(4, 3)),
    )
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, 3, 8, 8))
    return devices.place(model, "cpu").train()


def batches(count: int = 3, size: int = 4) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(size, 3, 8, 8), torch.randint(3, (size,))) for _ in range(count)]


def inputs_of(
    name: str, model: nn.Module | None = None, allocation: str = "uniform", target: float = 0.6
) -> CriterionInputs:
    """Exactly what a criterion needs according to its registry entry."""
    model = model or network()
    prunable, needs = weights(model, "all"), CRITERIA[name].needs
    pruning = to_dict(PruningSpec(criterion=name, allocation=allocation, min_density=0.0))
    return CriterionInputs(
        prunable,
        torch.Generator().manual_seed(3),
        model,
        batches() if IMAGES in needs else (),
        {n: torch.randn_like(w) for n, w in prunable.items()} if MOVEMENT in needs else {},
        lambda scores, amount: compute_masks(scores, amount, pruning),
        target,
        8,
    )


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scores_of(name: str, inputs: CriterionInputs) -> Tensors:
    scores: Tensors = CRITERIA.load(name)(inputs)
    return scores


def softmax_layer() -> tuple[nn.Module, np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """A linear softmax model of 4 inputs and 3 classes, its weights, and its prediction."""
    torch.manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).double()
    layer = model[1]
    assert isinstance(layer, nn.Linear)
    matrix, shift = (value.detach().numpy() for value in (layer.weight, layer.bias))

    def predict(inputs: np.ndarray) -> np.ndarray:
        powers = np.exp(inputs @ matrix.T + shift)
        return powers / powers.sum(1, keepdims=True)

    return model, matrix, predict


def samples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 4)), random.integers(0, 3, count)


def layer_inputs(
    model: nn.Module, given: list[tuple[np.ndarray, np.ndarray]], seed: int = 0
) -> CriterionInputs:
    batches = [(torch.from_numpy(x).reshape(-1, 1, 2, 2), torch.from_numpy(y)) for x, y in given]
    return CriterionInputs({"w": weight_of(model, "1")}, generator(seed), model, batches)


def test_taylor_and_snip_of_a_softmax_layer() -> None:
    """The gradient of the cross-entropy is (p - y) x."""
    model, matrix, predict = softmax_layer()
    given = [samples(5, 0), samples(3, 1)]
    sums = [(predict(x) - np.eye(3)[y]).T @ x for x, y in given]
    squares = [(total / len(x) * matrix) ** 2 for total, (x, _) in zip(sums, given, strict=True)]
    actual = taylor(layer_inputs(model, given))["w"].numpy()
    np.testing.assert_allclose(actual, sum(squares), rtol=1e-9)
    actual = snip(layer_inputs(model, given))["w"].numpy()
    np.testing.assert_allclose(actual, abs(sum(sums) * matrix), rtol=1e-9)


def test_random_directions_have_the_second_derivative_of_the_cross_entropy() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    drawn = random_directions(logits.expand(50_000, 3), torch.Generator().manual_seed(0))
    shares = logits.softmax(1)[0]
    hessian = torch.autograd.functional.hessian(
        lambda z: nn.functional.cross_entropy(z, torch.tensor([1])), logits
    )[0, :, 0]
    torch.testing.assert_close(shares.diag() - shares.outer(shares), hessian)
    torch.testing.assert_close(drawn.T @ drawn / len(drawn), hessian, rtol=0.03, atol=2e-3)


def test_obd_of_a_softmax_layer_is_its_second_derivative() -> None:
    """h is p (1 - p) x^2: here of one input repeated often, within the noise of the signs."""
    model, matrix, predict = softmax_layer()
    x, y = samples(1, 5)
    often = [(x.repeat(1500, 0), y.repeat(1500))]
    actual = obd(layer_inputs(model, often, seed=0))["w"].numpy()
    share = predict(x)[0]
    exact = (share * (1 - share))[:, None] * x**2 * matrix**2 / 2
    np.testing.assert_allclose(actual, exact, rtol=0.15)


def test_obd_squares_the_gradient_of_each_image() -> None:
    """The mean of the squares, not the square of the sum."""
    model, matrix, predict = softmax_layer()
    given = [samples(5, 0), samples(2, 1)]
    actual = obd(layer_inputs(model, given, seed=7))["w"].numpy()
    source, squares = generator(7), []
    for x in np.concatenate([x for x, _ in given]):
        drawn = random_directions(torch.from_numpy(np.log(predict(x[None]))), source)[0].numpy()
        squares.append(np.outer(drawn, x) ** 2)
    np.testing.assert_allclose(actual, np.mean(squares, 0) * matrix**2 / 2, rtol=1e-9)


def test_movement_keeps_the_order_over_all_layers() -> None:
    torch.manual_seed(0)
    given = {"a": torch.randn(50) * 1e-6, "b": torch.randn(5, 10), "c": torch.zeros(3)}
    sums = movement(
        CriterionInputs({n: torch.ones_like(v) for n, v in given.items()}, movement=given)
    )
    actual = joined_scores(sums, to_dict(PruningSpec(criterion="movement")))
    flat, scores = (torch.cat([v.flatten() for v in part.values()]) for part in (given, actual))
    assert float(scores.min()) == 0
    assert torch.equal(flat.argsort(stable=True), scores.argsort(stable=True))
    assert len(scores.unique()) == len(flat.unique())


def test_the_movement_of_a_filter_is_the_sum_over_its_weights() -> None:
    """Sums of -3 and 5 in large filters, of -1 and 1 in small ones: ranked by sum, not by size."""
    given = {"a": torch.tensor([[-1.0] * 3, [2.0, 2.0, 1.0]]), "b": torch.tensor([[-1.0], [1.0]])}
    pruning = to_dict(PruningSpec(criterion="movement", allocation="global", granularity="filter"))
    sums = movement(
        CriterionInputs({n: torch.ones_like(v) for n, v in given.items()}, movement=given)
    )
    for amount, pruned in ((0.25, "a0"), (0.5, "a0 b0"), (0.75, "a0 b0 b1")):
        kept = compute_masks(sums, amount, {**pruning, "min_density": 0.0})
        assert [
            f"{n}{i}" for n, m in kept.items() for i in (0, 1) if not m[i].any()
        ] == pruned.split()


def test_titles_are_unique_and_only_snip_scores_the_dense_baseline() -> None:
    titles = [choice.title for choice in CRITERIA.values()]
    assert len(set(titles)) == len(titles)
    assert {n for n, c in CRITERIA.items() if BASELINE in c.needs} == {"snip"}


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_needs_what_its_entry_says_and_no_more(name: str) -> None:
    inputs = inputs_of(name)
    assert scores_of(name, inputs).keys() == inputs.weights.keys()
    without = {IMAGES: replace(inputs, batches=()), MOVEMENT: replace(inputs, movement={})}
    for need in set(without) & set(CRITERIA[name].needs):
        with pytest.raises((ValueError, KeyError, StageError)):
            scores_of(name, without[need])


@pytest.mark.parametrize("allocation", ["uniform", "global"])
@pytest.mark.parametrize("name", CRITERIA)
def test_counts_are_exact_and_pruned_weights_stay_pruned(name: str, allocation: str) -> None:
    model = network()
    pruning = to_dict(PruningSpec(criterion=name, allocation=allocation, min_density=0.02))
    previous: Tensors | None = None
    for target in (0.3, 0.7):
        inputs = inputs_of(name, model, allocation, target)
        masks = compute_masks(scores_of(name, inputs), target, pruning, previous)
        sizes = [w.numel() for w in inputs.weights.values()]
        pruned = [int((~mask).sum()) for mask in masks.values()]
        if allocation == "uniform":
            assert pruned == [round(target * size) for size in sizes]
        else:
            assert sum(pruned) == round(target * sum(sizes))
        for weight, mask in masks.items():
            assert mask.shape == inputs.weights[weight].shape
            assert previous is None or not bool((mask & ~previous[weight]).any())
            inputs.weights[weight].data.mul_(mask)
        previous = masks


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_are_finite_and_repeatable(name: str) -> None:
    model = network()
    torch.manual_seed(9)
    inputs = inputs_of(name, model)
    one = scores_of(name, inputs)
    other = scores_of(name, replace(inputs, generator=generator(3)))
    for weight, score in one.items():
        assert score.shape == inputs.weights[weight].shape
        assert bool((score >= 0).all()) or CRITERIA[name].signed
        assert bool(torch.isfinite(score).all())
        assert not score.requires_grad
        assert torch.equal(score, other[weight])
    third = scores_of(name, replace(inputs, generator=generator(4)))
    random = any(not torch.equal(one[n], third[n]) for n in one)
    assert random == (name in ("random", "obd", "obs"))


@pytest.mark.parametrize("name", CRITERIA)
def test_scoring_leaves_the_model_unchanged(name: str) -> None:
    """Weights, statistics, modes, classes of modules, gradients, and random state."""
    model = network()
    model.get_submodule("3").eval()
    given = inputs_of(name, model)

    def tensors() -> list[Tensor]:
        values = [value.detach().clone() for value in model.state_dict().values()]
        return [*values, torch.random.get_rng_state()]

    def others() -> list[object]:
        modules = [(type(m), m.training) for m in model.modules()]
        return [*modules, *((p.grad, p.requires_grad) for p in model.parameters())]

    before = tensors(), others()
    scores_of(name, given)
    assert all(torch.equal(a, b) for a, b in zip(before[0], tensors(), strict=True))
    assert before[1] == others()


@pytest.mark.parametrize("name", ["taylor", "snip"])
def test_a_loss_that_is_not_finite_is_an_error(name: str) -> None:
    given = inputs_of(name)
    given.weights["10.weight"].data[0, 0] = math.nan
    with pytest.raises(StageError, match=rf"criterion `{name}` .* loss .* not finite"):
        scores_of(name, given)
    assert given.model.training


@pytest.mark.parametrize("name", ["obd", "obs", "wanda", "synflow", "movement"])
def test_scores_that_are_not_finite_are_an_error(name: str) -> None:
    given = inputs_of(name)
    given.weights["10.weight"].data[0, 0] = math.inf
    given.movement["10.weight"] = torch.full((3, 4), math.nan)
    with pytest.raises(StageError, match=rf"criterion `{name}` .* a score of .* is not finite"):
        scores_of(name, given)


@pytest.mark.parametrize("name", ["taylor", "snip", "synflow", "movement", "wanda", "obd", "obs"])
def test_scores_that_are_all_zero_are_refused(name: str) -> None:
    """Otherwise the position alone would decide which weights are pruned."""
    model = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.Flatten(), nn.Linear(128, 3))
    for value in model.parameters():
        value.data.zero_()
    given = inputs_of(name, model)
    still = {weight: torch.zeros_like(total) for weight, total in given.movement.items()}
    with pytest.raises(StageError, match=rf"criterion `{name}` .* every weight the score 0"):
        scores_of(name, replace(given, movement=still))


def test_calibration_images_are_drawn_by_seed_and_not_augmented() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    images = ImageSet(pixels, torch.arange(12), np.arange(4, 16))
    data = {"mean": [0.5] * 3, "std": [0.25] * 3}
    sample = draw_calibration_set(images, FEW, 1, data, 2, "cpu")
    drawn = torch.cat([labels for _, labels in sample])
    assert [len(labels) for _, labels in sample] == [2, 2, 1]
    assert len(set(drawn.tolist())) == FEW
    for batch, labels in sample:
        plain = torch.from_numpy(pixels[labels.numpy() + 4]).permute(0, 3, 1, 2)
        torch.testing.assert_close(batch, (plain / 255 - 0.5) / 0.25)
    again, other = (
        torch.cat([y for _, y in draw_calibration_set(images, FEW, s, data, 5, "cpu")])
        for s in (1, 2)
    )
    assert torch.equal(drawn, again)
    assert not torch.equal(drawn, other)
    assert sum(len(y) for _, y in draw_calibration_set(images, 512, 1, data, 5, "cpu")) == 12

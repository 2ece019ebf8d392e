"""Criteria against hand-made formulas, and what all of them have in common."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from pruning_core.engine.criteria.table import CRITERIA
from torch import Tensor, nn

from pruning_core.engine.criteria.calibration import draw_calibration_set
from pruning_core.engine.criteria.gradients import directions, obd, snip, taylor
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.magnitude import movement
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.masks.units import joined_scores
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import weights
from pruning_core.methods.criteria import BASELINE, CRITERIA, IMAGES, MOVEMENT
from pruning_core.methods.criteria import CRITERIA as NAMES
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.storage.stage_context import StageError

Tensors = dict[str, Tensor]
FEW = 5


def network(last: bool = False) -> nn.Module:
    """Convolutions with and without groups, dropout and batch norm that has learned something."""
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


def evidence(
    name: str, model: nn.Module | None = None, scope: str = "uniform", target: float = 0.6
) -> CriterionInputs:
    """Exactly what the table says that a criterion needs."""
    model = model or network()
    found, needs = weights(model, "all"), CRITERIA[name].needs
    pruning = to_dict(PruningSpec(criterion=name, allocation=scope, min_density=0.0))
    return CriterionInputs(
        found,
        torch.Generator().manual_seed(3),
        model,
        batches() if IMAGES in needs else (),
        {n: torch.randn_like(w) for n, w in found.items()} if MOVEMENT in needs else {},
        lambda scores, amount: compute_masks(scores, amount, pruning),
        target,
        8,
    )


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


def inputs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(count, 4)), random.integers(0, 3, count)


def of_layer(
    model: nn.Module, given: list[tuple[np.ndarray, np.ndarray]], **more: object
) -> CriterionInputs:
    both = [(torch.from_numpy(x).reshape(-1, 1, 2, 2), torch.from_numpy(y)) for x, y in given]
    found = CriterionInputs({"w": model[1].weight}, model=model, batches=both)  # type: ignore[index]
    return replace(found, **more)  # type: ignore[arg-type]


def test_taylor_and_snip_of_a_softmax_layer() -> None:
    """The gradient of the cross-entropy is (p - y) x."""
    model, matrix, predict = softmax_layer()
    given = [inputs(5, 0), inputs(3, 1)]
    sums = [(predict(x) - np.eye(3)[y]).T @ x for x, y in given]
    squares = [(total / len(x) * matrix) ** 2 for total, (x, _) in zip(sums, given, strict=True)]
    found = taylor(of_layer(model, given))["w"].numpy()
    np.testing.assert_allclose(found, sum(squares), rtol=1e-9)
    found = snip(of_layer(model, given))["w"].numpy()
    np.testing.assert_allclose(found, abs(sum(sums) * matrix), rtol=1e-9)


def test_the_random_directions_have_the_curvature_of_the_cross_entropy() -> None:
    logits = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    drawn = directions(logits.expand(50_000, 3), torch.Generator().manual_seed(0))
    shares = logits.softmax(1)[0]
    hessian = torch.autograd.functional.hessian(
        lambda z: nn.functional.cross_entropy(z, torch.tensor([1])), logits
    )[0, :, 0]
    torch.testing.assert_close(shares.diag() - shares.outer(shares), hessian)
    torch.testing.assert_close(drawn.T @ drawn / len(drawn), hessian, rtol=0.03, atol=2e-3)


def test_obd_of_a_softmax_layer_is_its_second_derivative() -> None:
    """h is p (1 - p) x^2, here of one input seen often, to within the luck of the signs."""
    model, matrix, predict = softmax_layer()
    x, y = inputs(1, 5)
    often = [(x.repeat(1500, 0), y.repeat(1500))]
    found = obd(of_layer(model, often, generator=torch.Generator().manual_seed(0)))["w"].numpy()
    share = predict(x)[0]
    exact = (share * (1 - share))[:, None] * x**2 * matrix**2 / 2
    np.testing.assert_allclose(found, exact, rtol=0.15)


def test_obd_takes_each_image_by_itself() -> None:
    """Squares of the images' gradients, not the square of their sum, and their mean."""
    model, matrix, predict = softmax_layer()
    given = [inputs(5, 0), inputs(2, 1)]
    found = obd(of_layer(model, given, generator=torch.Generator().manual_seed(7)))["w"].numpy()
    source, slopes = torch.Generator().manual_seed(7), []
    for x in np.concatenate([x for x, _ in given]):
        drawn = directions(torch.from_numpy(np.log(predict(x[None]))), source)[0].numpy()
        slopes.append(np.outer(drawn, x) ** 2)
    np.testing.assert_allclose(found, np.mean(slopes, 0) * matrix**2 / 2, rtol=1e-9)


def test_movement_keeps_the_order_over_all_layers() -> None:
    torch.manual_seed(0)
    given = {"a": torch.randn(50) * 1e-6, "b": torch.randn(5, 10), "c": torch.zeros(3)}
    sums = movement(
        CriterionInputs({n: torch.ones_like(v) for n, v in given.items()}, movement=given)
    )
    found = joined_scores(sums, to_dict(PruningSpec(criterion="movement")))
    flat, scores = (torch.cat([v.flatten() for v in part.values()]) for part in (given, found))
    assert float(scores.min()) == 0
    assert torch.equal(flat.argsort(stable=True), scores.argsort(stable=True))
    assert len(scores.unique()) == len(flat.unique())


def test_the_movement_of_a_filter_is_that_of_its_weights_in_all() -> None:
    """Sums of -3 and 5 in large filters, of -1 and 1 in small ones: in this order, not by size."""
    given = {"a": torch.tensor([[-1.0] * 3, [2.0, 2.0, 1.0]]), "b": torch.tensor([[-1.0], [1.0]])}
    pruning = to_dict(PruningSpec(criterion="movement", allocation="global", granularity="filter"))
    sums = movement(
        CriterionInputs({n: torch.ones_like(v) for n, v in given.items()}, movement=given)
    )
    for amount, gone in ((0.25, "a0"), (0.5, "a0 b0"), (0.75, "a0 b0 b1")):
        kept = compute_masks(sums, amount, {**pruning, "min_density": 0.0})
        assert [
            f"{n}{i}" for n, m in kept.items() for i in (0, 1) if not m[i].any()
        ] == gone.split()


def test_the_table_and_the_registry_name_the_same() -> None:
    assert list(CRITERIA) == list(CRITERIA) == list(NAMES)
    titles = [choice.title for choice in CRITERIA.values()]
    assert len(set(titles)) == len(titles)
    assert {n for n, c in CRITERIA.items() if BASELINE in c.needs} == {"snip"}


@pytest.mark.parametrize("name", CRITERIA)
def test_a_criterion_needs_what_the_table_says_and_no_more(name: str) -> None:
    whole = evidence(name)
    assert CRITERIA[name](whole).keys() == whole.weights.keys()
    for need, field in ((IMAGES, {"batches": ()}), (MOVEMENT, {"movement": {}})):
        if need in CRITERIA[name].needs:
            with pytest.raises((ValueError, KeyError, StageError)):
                CRITERIA[name](replace(whole, **field))  # type: ignore[arg-type]


@pytest.mark.parametrize("scope", ["uniform", "global"])
@pytest.mark.parametrize("name", CRITERIA)
def test_counts_are_exact_and_what_was_removed_stays_removed(name: str, scope: str) -> None:
    model = network()
    pruning = to_dict(PruningSpec(criterion=name, allocation=scope, min_density=0.02))
    previous: Tensors | None = None
    for target in (0.3, 0.7):
        seen = evidence(name, model, scope, target)
        kept = compute_masks(CRITERIA[name](seen), target, pruning, previous)
        sizes = [w.numel() for w in seen.weights.values()]
        gone = [int((~mask).sum()) for mask in kept.values()]
        if scope == "uniform":
            assert gone == [round(target * size) for size in sizes]
        else:
            assert sum(gone) == round(target * sum(sizes))
        for found, mask in kept.items():
            assert mask.shape == seen.weights[found].shape
            assert previous is None or not bool((mask & ~previous[found]).any())
            seen.weights[found].data.mul_(mask)
        previous = kept


@pytest.mark.parametrize("name", CRITERIA)
def test_scores_are_finite_numbers_that_repeat(name: str) -> None:
    model = network()
    torch.manual_seed(9)
    first = evidence(name, model)
    one, other = CRITERIA[name](first), CRITERIA[name](replace(first, generator=seeded(3)))
    for found, score in one.items():
        assert score.shape == first.weights[found].shape
        assert bool((score >= 0).all()) or name == "movement"
        assert bool(torch.isfinite(score).all())
        assert not score.requires_grad
        assert torch.equal(score, other[found])
    third = CRITERIA[name](replace(first, generator=seeded(4)))
    by_chance = any(not torch.equal(one[n], third[n]) for n in one)
    assert by_chance == (name in ("random", "obd"))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", CRITERIA)
def test_scoring_leaves_no_trace(name: str) -> None:
    """Weights, statistics, modes, kinds of modules, gradients, random state: all as before."""
    model = network()
    model[3].eval()  # type: ignore[index, operator]
    given = evidence(name, model)

    def state() -> list[object]:
        values = [value.detach().clone() for value in model.state_dict().values()]
        modules = [(type(m), m.training) for m in model.modules()]
        gradients = [p.grad for p in model.parameters()]
        needed = [p.requires_grad for p in model.parameters()]
        return [values, modules, gradients, needed, torch.random.get_rng_state()]

    before = state()
    CRITERIA[name](given)
    after = state()
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))  # type: ignore
    assert before[1:4] == after[1:4]
    assert torch.equal(before[4], after[4])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["taylor", "snip"])
def test_a_loss_that_is_not_finite_is_told(name: str) -> None:
    given = evidence(name)
    given.weights["10.weight"].data[0, 0] = math.nan
    with pytest.raises(StageError, match=rf"criterion `{name}` .* loss .* not finite"):
        CRITERIA[name](given)
    assert given.model.training


@pytest.mark.parametrize("name", ["obd", "wanda", "synflow", "movement"])
def test_scores_that_are_not_finite_are_told(name: str) -> None:
    given = evidence(name)
    given.weights["10.weight"].data[0, 0] = math.inf
    given.movement["10.weight"] = torch.full((3, 4), math.nan)
    with pytest.raises(StageError, match=rf"criterion `{name}` .* not a finite number"):
        CRITERIA[name](given)


@pytest.mark.parametrize("name", ["taylor", "snip", "synflow", "movement", "wanda", "obd"])
def test_scores_that_tell_nothing_are_refused(name: str) -> None:
    """All 0, the first weights would go by their place alone."""
    model = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.Flatten(), nn.Linear(128, 3))
    for value in model.parameters():
        value.data.zero_()
    given = evidence(name, model)
    still = {found: torch.zeros_like(total) for found, total in given.movement.items()}
    with pytest.raises(StageError, match=rf"criterion `{name}` .* every weight the score 0"):
        CRITERIA[name](replace(given, movement=still))


def test_the_sample_is_seeded_training_images_as_they_are() -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8)
    images = ImageSet(pixels, torch.arange(12), np.arange(4, 16))
    data = {"mean": [0.5] * 3, "std": [0.25] * 3}
    sample = draw_calibration_set(images, FEW, 1, data, 2, "cpu")
    seen = torch.cat([labels for _, labels in sample])
    assert [len(labels) for _, labels in sample] == [2, 2, 1]
    assert len(set(seen.tolist())) == FEW
    for batch, labels in sample:
        plain = torch.from_numpy(pixels[labels.numpy() + 4]).permute(0, 3, 1, 2)
        torch.testing.assert_close(batch, (plain / 255 - 0.5) / 0.25)
    again, other = (
        torch.cat([y for _, y in draw_calibration_set(images, FEW, s, data, 5, "cpu")])
        for s in (1, 2)
    )
    assert torch.equal(seen, again)
    assert not torch.equal(seen, other)
    assert sum(len(y) for _, y in draw_calibration_set(images, 512, 1, data, 5, "cpu")) == 12

"""Weights that change places: by hand, against autograd, and in whole chains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.common.paths import Cache
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.masks.pruning_step import surviving_zeros
from pruning_core.engine.masks.regrowth import drop_and_grow, growth_scores
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE
from pruning_core.planning.plan import plan
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec
from pruning_core.storage.store import Store
from tests.engine.test_stages import run_here
from tests.helpers.workers import TINY

PRUNE = to_dict(PruningSpec())
CHAIN = replace(
    TINY,
    lr_schedule_span="pruning",
    pruning=PruningSpec(allocation="global", calibration_images=64),
    baseline_epochs=1,
    one_shot=replace(TINY.one_shot, amounts=()),
)
RIGL = replace(
    CHAIN,
    iterative=IterativeSpec(
        schedule="rigl", target=0.8, iterations=3, epochs=0.5, equal_budget=False
    ),
)
DENSE = replace(
    CHAIN,
    iterative=IterativeSpec(schedule="dense_sparse_dense", target=0.8, iterations=2, epochs=1),
)


def swapped(kept: list[int], scores: list[float], slopes: list[float], share: float) -> list[int]:
    found = drop_and_grow(
        {"a": torch.tensor(kept, dtype=torch.bool)},
        {"a": torch.tensor(scores)},
        {"a": torch.tensor(slopes)},
        share,
        PRUNE,
    )
    return found["a"].int().tolist()


def test_the_smallest_goes_and_the_steepest_comes() -> None:
    """Of four that are left one goes, the 1.0; of the three removed the steepest comes back."""
    kept, scores = [1, 1, 1, 1, 0, 0, 0], [3.0, 1.0, 2.0, 4.0, 0.0, 0.0, 0.0]
    slopes = [9.0, 0.1, 9.0, 9.0, 0.2, 0.5, 0.3]
    assert swapped(kept, scores, slopes, 0.25) == [1, 0, 1, 1, 0, 1, 0]
    slopes[1:3] = [0.1, 0.1]
    assert swapped(kept, scores, slopes, 0.5) == [1, 0, 0, 1, 0, 1, 1]


def test_what_has_just_gone_may_come_back_at_once() -> None:
    """The paper grows from all that is then inactive."""
    assert swapped([1, 1, 0], [1.0, 2.0, 0.0], [5.0, 1.0, 0.5], 0.5) == [1, 1, 0]


def test_where_nothing_pulls_nothing_comes_back_and_fewer_go() -> None:
    assert swapped([1, 1, 0, 0], [1.0, 2.0, 0.0, 0.0], [0.1, 0.1, 0.0, 0.0], 0.5) == [1, 1, 0, 0]
    kept, scores = [1, 1, 1, 1, 0, 0], [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]
    assert swapped(kept, scores, [0.0, 0.0, 0.0, 0.0, 0.3, 0.0], 0.5) == [0, 1, 1, 1, 1, 0]


def test_of_equal_ones_the_first() -> None:
    assert swapped([1, 1, 0, 0], [1.0] * 4, [0.5, 0.5, 0.7, 0.7], 0.5) == [0, 1, 1, 0]


@pytest.mark.parametrize("granularity", ["weight", "kernel", "filter"])
def test_each_layer_keeps_its_number_of_pieces(granularity: str) -> None:
    generator = torch.Generator().manual_seed(0)
    pruning = {**PRUNE, "granularity": granularity}
    draw = lambda: {"a": torch.rand(8, 6, 3, 3, generator=generator)}  # noqa: E731
    scores, slopes = draw(), draw()
    before = compute_masks(scores, 0.5, pruning)
    after = drop_and_grow(before, scores, slopes, 0.3, pruning)
    assert after["a"].sum() == before["a"].sum()
    assert not torch.equal(after["a"], before["a"])
    whole = after["a"].flatten({"weight": 4, "kernel": 2, "filter": 1}.get(granularity, 1) - 4)
    if granularity != "weight":
        assert bool((whole.all(-1) | ~whole.any(-1)).all())


def test_the_gradient_is_that_of_the_loss_by_removed_weights_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 4, 3))
    images, labels = torch.randn(6, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    weight = model[0].weight
    with torch.no_grad():
        weight[0] = 0.0
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    found = growth_scores(CriterionInputs({"0.weight": weight}, model=model, batches=batches))
    loss = functional.cross_entropy(model(images), labels, reduction="sum")
    (wanted,) = torch.autograd.grad(loss, [weight])
    torch.testing.assert_close(found["0.weight"], wanted.abs())
    assert bool((found["0.weight"][0] > 0).any())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("regrowth"))
    cache.prepare()
    for spec in (RIGL, DENSE):
        run_here(cache, spec)
    return cache


def levels(cache: Cache, spec: Spec) -> list[tuple[dict[str, object], dict[str, Tensor]]]:
    store = Store(cache)
    keys = [p.key for p in plan(spec, store).models if p.strategy == "iterative"]
    return [(store.read(key), masks.load(store.file(key, MASK_FILE))) for key in keys]


def test_rigl_keeps_each_layer_as_sparse_and_moves_its_weights(ran: Cache) -> None:
    first, *later = levels(ran, RIGL)
    assert first[0]["returned"] == 0
    for (result, kept), (_, before) in zip(later, levels(ran, RIGL), strict=False):
        asked, zeros = round(0.8 * size(result)), int(str(result["prunable_zeros"]))
        assert asked <= zeros < 1.01 * asked
        assert (zeros > asked) == bool(result["notes"])
        assert [int(m.sum()) for m in kept.values()] == [int(m.sum()) for m in before.values()]
        moved = sum(int((kept[name] & ~before[name]).sum()) for name in kept)
        assert result["returned"] == moved > 0


def test_what_is_removed_now_is_zero(ran: Cache) -> None:
    store = Store(ran)
    for point in plan(RIGL, store).models[1:]:
        kept = masks.load(store.file(point.key, MASK_FILE))
        weights = sparse_file.load(store.file(point.key, MODEL_FILE))
        for name, mask in kept.items():
            assert not bool(weights[name][~mask].any())


def test_dense_sparse_dense_ends_with_all_weights_back(ran: Cache) -> None:
    (sparse, _), (dense, kept) = levels(ran, DENSE)
    assert all(bool(mask.all()) for mask in kept.values())
    assert dense["returned"] == sparse["prunable_zeros"] == round(0.8 * size(sparse))
    zeros = int(str(dense["prunable_zeros"]))
    assert zeros < 0.3 * size(dense)
    assert bool(zeros) == bool(dense["notes"])


def test_what_stays_and_is_zero_all_the_same_is_told() -> None:
    weights = {"a": torch.tensor([1.0, 0.0, 0.0, 2.0])}
    chosen = masks.Masks(weights, {"a": torch.tensor([True, True, False, True])})
    assert surviving_zeros(chosen)[0].startswith("Zero without having been removed: 1 weight,")
    weights["a"][1] = 0.5
    assert surviving_zeros(chosen) == []


def test_a_last_batch_of_one_image_is_left_out() -> None:
    """Batch norm on maps of one pixel has no statistics of it."""
    model = nn.Sequential(nn.Conv2d(3, 2, 4), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    images, labels = torch.randn(5, 3, 4, 4), torch.zeros(5).long()
    weights = {"0.weight": model[0].weight}
    four, five = (
        growth_scores(
            CriterionInputs(weights, model=model, batches=[(images[:4], labels[:4]), *rest])
        )
        for rest in ([], [(images[4:], labels[4:])])
    )
    assert torch.equal(four["0.weight"], five["0.weight"])


def test_looking_at_the_gradient_leaves_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5))
    model.append(nn.Linear(2 * 4, 3)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    batches = [(torch.randn(6, 3, 4, 4, generator=torch.Generator()), torch.zeros(6).long())]
    growth_scores(CriterionInputs({"0.weight": model[0].weight}, model=model, batches=batches))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(module.training for module in model.modules())


def size(result: dict[str, object]) -> int:
    return int(str(result["prunable"]))

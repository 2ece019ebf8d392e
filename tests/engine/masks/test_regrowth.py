"""RigL and dense-sparse-dense: by hand, against autograd, and in whole runs."""

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
from pruning_core.engine.masks.units import mask_of_units, remaining_units
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE
from pruning_core.methods.granularity import GRANULARITIES
from pruning_core.planning.plan import plan
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec
from pruning_core.storage.store import Store
from tests.helpers.models import weight_of
from tests.helpers.stages import run_here
from tests.helpers.workers import TINY

PRUNING = to_dict(PruningSpec())
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
ALTERNATING = replace(
    CHAIN,
    iterative=IterativeSpec(
        schedule="ac_dc", target=0.8, iterations=3, epochs=1, equal_budget=False
    ),
)
DENSE = replace(
    CHAIN,
    iterative=IterativeSpec(schedule="dense_sparse_dense", target=0.8, iterations=2, epochs=1),
)


def moved(mask: list[int], scores: list[float], growth: list[float], share: float) -> list[int]:
    actual = drop_and_grow(
        {"a": torch.tensor(mask, dtype=torch.bool)},
        {"a": torch.tensor(scores)},
        {"a": torch.tensor(growth)},
        share,
        PRUNING,
    )
    return actual["a"].int().tolist()


def test_the_lowest_score_is_dropped_and_the_largest_gradient_grown() -> None:
    """Of four remaining weights the 1.0 is dropped; of three pruned ones the 0.5 is grown."""
    kept, scores = [1, 1, 1, 1, 0, 0, 0], [3.0, 1.0, 2.0, 4.0, 0.0, 0.0, 0.0]
    growth = [9.0, 0.1, 9.0, 9.0, 0.2, 0.5, 0.3]
    assert moved(kept, scores, growth, 0.25) == [1, 0, 1, 1, 0, 1, 0]
    growth[1:3] = [0.1, 0.1]
    assert moved(kept, scores, growth, 0.5) == [1, 0, 0, 1, 0, 1, 1]


def test_a_dropped_weight_can_be_grown_at_once() -> None:
    """The paper grows from all weights that are inactive after the drop."""
    assert moved([1, 1, 0], [1.0, 2.0, 0.0], [5.0, 1.0, 0.5], 0.5) == [1, 1, 0]


def test_without_gradient_nothing_is_grown_and_fewer_are_dropped() -> None:
    assert moved([1, 1, 0, 0], [1.0, 2.0, 0.0, 0.0], [0.1, 0.1, 0.0, 0.0], 0.5) == [1, 1, 0, 0]
    kept, scores = [1, 1, 1, 1, 0, 0], [1.0, 2.0, 3.0, 4.0, 0.0, 0.0]
    assert moved(kept, scores, [0.0, 0.0, 0.0, 0.0, 0.3, 0.0], 0.5) == [0, 1, 1, 1, 1, 0]


def test_of_equal_weights_the_first_is_dropped_and_grown() -> None:
    assert moved([1, 1, 0, 0], [1.0] * 4, [0.5, 0.5, 0.7, 0.7], 0.5) == [0, 1, 1, 0]


@pytest.mark.parametrize("granularity", [n for n, g in GRANULARITIES.items() if not g.pattern])
@pytest.mark.parametrize("groups", [1, 2])
def test_each_layer_keeps_its_number_of_units(granularity: str, groups: int) -> None:
    """Of the outputs of a group, 6, the last block of 4 holds two."""
    generator = torch.Generator().manual_seed(0)
    pruning = {**PRUNING, "granularity": granularity}
    draw = lambda: {"a": torch.rand(12, 6, 3, 3, generator=generator)}  # noqa: E731
    scores, growth = draw(), draw()
    before = compute_masks(scores, 0.5, pruning, groups={"a": groups})
    after = drop_and_grow(before, scores, growth, 0.3, pruning, {"a": groups})["a"]
    assert not torch.equal(after, before["a"])
    units = remaining_units(after, pruning, groups)
    assert units.sum() == remaining_units(before["a"], pruning, groups).sum()
    assert torch.equal(after, mask_of_units(units, after, pruning, groups))


def test_growth_is_the_gradient_of_pruned_weights_too() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 4, 3))
    images, labels = torch.randn(6, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    weight = weight_of(model, "0")
    with torch.no_grad():
        weight[0] = 0.0
    batches = [(images[:4], labels[:4]), (images[4:], labels[4:])]
    actual = growth_scores(CriterionInputs({"0.weight": weight}, model=model, batches=batches))
    loss = functional.cross_entropy(model(images), labels, reduction="sum")
    (expected,) = torch.autograd.grad(loss, [weight])
    torch.testing.assert_close(actual["0.weight"], expected.abs())
    assert bool((actual["0.weight"][0] > 0).any())


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("regrowth"))
    cache.prepare()
    for spec in (RIGL, DENSE, ALTERNATING):
        run_here(cache, spec)
    return cache


def pruned_models(cache: Cache, spec: Spec) -> list[tuple[dict[str, object], dict[str, Tensor]]]:
    store = Store(cache)
    keys = [p.key for p in plan(spec, store).models if p.strategy == "iterative"]
    return [(store.read(key), masks.load(store.file(key, MASK_FILE))) for key in keys]


def test_rigl_keeps_the_sparsity_of_each_layer_and_moves_weights(ran: Cache) -> None:
    first, *later = pruned_models(ran, RIGL)
    assert first[0]["returned"] == 0
    for (result, masks_now), (_, before) in zip(later, pruned_models(ran, RIGL), strict=False):
        target, zeros = round(0.8 * size(result)), int(str(result["prunable_zeros"]))
        assert target <= zeros < 1.01 * target
        assert (zeros > target) == bool(result["notes"])
        assert [int(m.sum()) for m in masks_now.values()] == [int(m.sum()) for m in before.values()]
        returned = sum(int((masks_now[n] & ~before[n]).sum()) for n in masks_now)
        assert result["returned"] == returned > 0


def test_pruned_weights_are_zero(ran: Cache) -> None:
    store = Store(ran)
    for model in plan(RIGL, store).models[1:]:
        kept = masks.load(store.file(model.key, MASK_FILE))
        weights = sparse_file.load(store.file(model.key, MODEL_FILE))
        for name, mask in kept.items():
            assert not bool(weights[name][~mask].any())


def test_dense_sparse_dense_ends_with_all_weights(ran: Cache) -> None:
    (sparse, _), (dense, kept) = pruned_models(ran, DENSE)
    assert all(bool(mask.all()) for mask in kept.values())
    assert dense["returned"] == sparse["prunable_zeros"] == round(0.8 * size(sparse))
    zeros = int(str(dense["prunable_zeros"]))
    assert zeros < 0.3 * size(dense)
    assert bool(zeros) == bool(dense["notes"])


def test_ac_dc_prunes_again_after_its_dense_step(ran: Cache) -> None:
    """Weights that the dense step has trained replace some that the first step had kept."""
    (first, before), (dense, kept), (last, after) = pruned_models(ran, ALTERNATING)
    assert all(bool(mask.all()) for mask in kept.values())
    assert dense["returned"] == first["prunable_zeros"] == last["prunable_zeros"]
    assert last["prunable_zeros"] == round(0.8 * size(last))
    assert any(not torch.equal(before[name], mask) for name, mask in after.items())


def test_remaining_weights_that_are_zero_are_noted() -> None:
    weights = {"a": torch.tensor([1.0, 0.0, 0.0, 2.0])}
    applied = masks.Masks(weights, {"a": torch.tensor([True, True, False, True])})
    assert surviving_zeros(applied)[0].startswith("1 remaining weight got no gradient")
    weights["a"][1] = 0.5
    assert surviving_zeros(applied) == []


def test_a_last_batch_of_one_image_is_left_out() -> None:
    """Batch norm on maps of one pixel cannot compute statistics of it."""
    model = nn.Sequential(nn.Conv2d(3, 2, 4), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    images, labels = torch.randn(5, 3, 4, 4), torch.zeros(5).long()
    weights: dict[str, Tensor] = {"0.weight": weight_of(model, "0")}
    four, five = (
        growth_scores(
            CriterionInputs(weights, model=model, batches=[(images[:4], labels[:4]), *rest])
        )
        for rest in ([], [(images[4:], labels[4:])])
    )
    assert torch.equal(four["0.weight"], five["0.weight"])


def test_the_growth_scores_leave_the_model_unchanged() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(0.5))
    model.append(nn.Linear(2 * 4, 3)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    batches = [(torch.randn(6, 3, 4, 4, generator=torch.Generator()), torch.zeros(6).long())]
    growth_scores(
        CriterionInputs({"0.weight": weight_of(model, "0")}, model=model, batches=batches)
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    assert not any(module.training for module in model.modules())


def size(result: dict[str, object]) -> int:
    return int(str(result["prunable"]))

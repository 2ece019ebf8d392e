"""The assignment's Python API: its sections Key Functions, Calculate Statistics and the rest."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.utils import prune
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from pruning_core.common.errors import SpecError
from pruning_core.engine.pruning_strategies import IterativePruning, OneShotPruning, PruningStrategy

Loader = DataLoader[Any]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def images(count: int = 32, batch: int = 8) -> Loader:
    """Classes that differ in the brightness of the red channel."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 4
    pixels = torch.randn(count, 3, 8, 8, generator=generator)
    pixels[:, 0] += 3.0 * labels[:, None, None]
    return DataLoader(TensorDataset(pixels, labels), batch_size=batch)


WEIGHTS, PARAMETERS = 216 + 32, 216 + 16 + 36


def weight(model: nn.Module, index: int = 0) -> Tensor:
    """The weight of a layer of `network()`."""
    return model.get_submodule(str(index)).get_parameter("weight")


def zeros(model: nn.Module) -> int:
    return sum(int((weight(model, i) == 0).sum()) for i in (0, 5))


def test_one_shot_as_in_the_assignment() -> None:
    one_shot = OneShotPruning(network())
    result = one_shot.prune(amount=0.7, train_loader=images(), fine_tune_epochs=2)
    assert set(result) == {"amount", "sparsity", "model_size"}
    assert result["amount"] == 0.7
    assert zeros(one_shot.model) == round(0.7 * 216) + round(0.7 * 32)
    assert result["sparsity"] == one_shot.get_sparsity()
    assert result["model_size"] == one_shot.get_model_size()
    assert 0 <= one_shot.evaluate(images()) <= 100


def test_iterative_as_in_the_assignment() -> None:
    iterative = IterativePruning(network())
    results = iterative.prune(
        target_sparsity=0.9,
        num_iterations=5,
        train_loader=images(),
        test_loader=images(),
        fine_tune_epochs=1,
    )
    assert [row["iteration"] for row in results] == [1, 2, 3, 4, 5]
    assert all(set(row) == {"iteration", "sparsity", "model_size", "accuracy"} for row in results)
    assert zeros(iterative.model) == round(0.9 * 216) + round(0.9 * 32)
    sizes = [row["model_size"] for row in results]
    assert sizes == sorted(sizes, reverse=True)
    assert results[-1]["accuracy"] == iterative.evaluate(images())


def test_the_schedule_is_geometric_and_in_percent() -> None:
    model = nn.Sequential(nn.Linear(100, 100, bias=False))
    results = IterativePruning(model).prune(0.9, 5)
    sparsities = [row["sparsity"] for row in results]
    assert sparsities == pytest.approx([36.90, 60.19, 74.88, 84.15, 90.00], abs=0.01)
    assert [row["accuracy"] for row in results] == [None] * 5


def test_statistics_as_in_the_assignment() -> None:
    pruner = PruningStrategy(network())
    total_params, nonzero_params = pruner.count_parameters()
    sparsity = pruner.get_sparsity()
    model_size_mb = pruner.get_model_size()
    assert (total_params, nonzero_params) == (PARAMETERS, PARAMETERS - 8)  # batch norm's biases
    assert sparsity == pytest.approx(100 * 8 / PARAMETERS)
    assert 0.001 < model_size_mb < 0.01


def test_the_file_shrinks_with_sparsity() -> None:
    pruner = OneShotPruning(nn.Sequential(nn.Linear(300, 300)))
    dense, sparse = (pruner.prune(amount)["model_size"] for amount in (0.0, 0.9))
    assert dense > 0.28  # 90,000 weights of 4 bytes, in units of a million bytes
    assert sparse < dense / 6


def test_the_given_model_stays_as_it_is() -> None:
    model = network()
    before = copy.deepcopy(model.state_dict())
    IterativePruning(model).prune(0.9, 2, images(), images())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def hooked(forwarded: bool = True) -> nn.Sequential:
    """A model with pruning hooks; after a forward pass its weight is no leaf tensor."""
    model = network()
    prune.l1_unstructured(model[0], "weight", amount=0.5)
    prune.ln_structured(model[5], "weight", amount=0.5, n=2, dim=0)
    if forwarded:
        model(torch.randn(2, 3, 8, 8))
    return model


@pytest.mark.parametrize("forwarded", [True, False])
def test_models_with_pruning_hooks_are_copied_and_counted(forwarded: bool) -> None:
    model = hooked(forwarded)
    pruner = PruningStrategy(model)
    assert pruner.count_parameters() == (PARAMETERS, PARAMETERS - 8 - 108 - 16)
    assert prune.is_pruned(pruner.model)
    assert torch.equal(
        pruner.model.eval()(torch.ones(1, 3, 8, 8)), model.eval()(torch.ones(1, 3, 8, 8))
    )
    size = pruner.get_model_size()
    for index in (0, 5):
        prune.remove(pruner.model.get_submodule(str(index)), "weight")
    assert pruner.get_model_size() == size


def test_hooks_on_the_copy_count_and_hold_in_training() -> None:
    pruner = PruningStrategy(network())
    prune.ln_structured(pruner.model.get_submodule("0"), name="weight", amount=0.5, n=2, dim=0)
    before = pruner.get_sparsity()
    pruner.fine_tune(images(), epochs=1)
    assert before > 40
    without_gradient = 4  # the norm's biases of channels without weights
    assert pruner.count_parameters()[1] == PARAMETERS - 108 - without_gradient
    size = pruner.get_model_size()
    prune.remove(pruner.model.get_submodule("0"), "weight")
    assert pruner.count_parameters()[1] == PARAMETERS - 108 - without_gradient
    assert pruner.get_model_size() == size


def test_weights_pruned_by_hooks_stay_pruned() -> None:
    model = hooked()
    pruned = model[0].get_buffer("weight_mask") == 0
    one_shot = OneShotPruning(model)
    one_shot.prune(0.7, images())
    assert not prune.is_pruned(one_shot.model)
    assert bool((weight(one_shot.model)[pruned] == 0).all())
    assert zeros(one_shot.model) == round(0.7 * 216) + round(0.7 * 32)


def test_each_call_starts_from_the_same_weights() -> None:
    one_shot = OneShotPruning(network())
    first = one_shot.prune(0.5)
    one_shot.prune(0.9, images())
    assert one_shot.prune(0.5) == first
    iterative = IterativePruning(network())
    assert iterative.prune(0.9, 3) == iterative.prune(0.9, 3)


def test_training_before_the_first_pruning_step_is_kept() -> None:
    one_shot = OneShotPruning(network())
    one_shot.fine_tune(images(), epochs=10, lr=0.2)
    trained = one_shot.evaluate(images())
    assert trained > 80
    one_shot.prune(0.0)
    assert one_shot.evaluate(images()) == trained


def custom_fine_tune(model: nn.Module, train_loader: Loader, epochs: int = 5) -> None:
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    for _ in range(epochs):
        for batch, labels in train_loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(batch), labels).backward()
            optimizer.step()
        scheduler.step()


def test_custom_training_of_the_copy_is_measured_as_it_is() -> None:
    one_shot = OneShotPruning(network())
    before = one_shot.prune(0.7)["sparsity"]
    custom_fine_tune(one_shot.model, images())
    assert one_shot.get_sparsity() < before


@pytest.mark.parametrize("epochs", [0, 1])
def test_without_loader_or_epochs_nothing_is_trained(epochs: int) -> None:
    loader = None if epochs else images()
    one_shot = OneShotPruning(network())
    one_shot.prune(0.5, loader, epochs)
    original = network()
    kept = weight(one_shot.model) != 0
    assert torch.equal(weight(one_shot.model)[kept], weight(original)[kept])


def test_zeros_stay_zero_in_further_training() -> None:
    one_shot = OneShotPruning(network())
    one_shot.prune(0.7, images(), 1)
    pruned = zeros(one_shot.model)
    one_shot.fine_tune(images(), epochs=3, lr=0.1)
    assert zeros(one_shot.model) == pruned


def test_evaluate_restores_the_modes() -> None:
    pruner = PruningStrategy(network())
    pruner.model.train()
    pruner.model.get_submodule("1").eval()
    first = pruner.evaluate(images())
    assert [module.training for module in pruner.model.children()] == [
        True,
        False,
        True,
        True,
        True,
        True,
    ]
    assert pruner.evaluate(images(batch=5)) == first


class Stream(IterableDataset[Any]):
    """A data set without a length."""

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        for i in range(9):
            yield torch.randn(3, 8, 8), i % 4


def test_loaders_without_length_and_with_a_last_batch_of_one() -> None:
    stream = OneShotPruning(network()).prune(0.5, DataLoader(Stream(), batch_size=8), 2)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4))
    ragged = OneShotPruning(flat).prune(0.5, images(9, 8), 1)
    assert stream["amount"] == ragged["amount"] == 0.5
    assert min(stream["sparsity"], ragged["sparsity"]) > 40


class Auxiliary(nn.Module):
    """Gives two outputs in training, as Inception does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, batch: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        scores = self.body(batch)
        return (scores, scores * 2) if self.training else scores


def test_models_with_several_outputs_in_training() -> None:
    pruner = OneShotPruning(Auxiliary())
    pruner.prune(0.5, images(), 1)
    assert 0 <= pruner.evaluate(images()) <= 100


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(12, 12), nn.Linear(12, 12)
        self.second.weight = self.first.weight

    def forward(self, batch: Tensor) -> Tensor:
        return self.second(self.first(batch.flatten(1)[:, :12]))


def test_tied_weights_stay_tied_and_count_once() -> None:
    one_shot = OneShotPruning(Tied())
    one_shot.prune(0.5, images(), 1)
    model = one_shot.model
    assert isinstance(model, Tied)
    assert model.first.weight is model.second.weight
    assert int((model.first.weight == 0).sum()) == 72
    assert one_shot.count_parameters() == (144 + 24, 144 + 24 - 72)


@pytest.mark.parametrize("amount", [-0.1, 1.0, 1.5, math.nan])
def test_amounts_outside_0_to_1_are_refused(amount: float) -> None:
    with pytest.raises(SpecError):
        OneShotPruning(network()).prune(amount)
    with pytest.raises(ValueError, match="fraction"):
        IterativePruning(network()).prune(amount)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="num_iterations"):
        IterativePruning(network()).prune(0.5, 0)
    with pytest.raises(ValueError, match="fine_tune_epochs"):
        OneShotPruning(network()).prune(0.5, images(), -1)
    with pytest.raises(ValueError, match="no convolution or linear weight to prune"):
        OneShotPruning(nn.Sequential(nn.BatchNorm2d(3))).prune(0.5)
    with pytest.raises(ValueError, match="no images"):
        PruningStrategy(network()).evaluate(DataLoader(TensorDataset(torch.empty(0, 3))))
    with pytest.raises(SpecError, match="device"):
        PruningStrategy(network(), device="tpu")

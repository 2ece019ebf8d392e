"""The assignment's Python API: its sections Key Functions, Calculate Statistics and the rest."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn, optim
from torch.nn.utils import prune
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, TensorDataset

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
    assert [row["iteration"] for row in results] == [0, 1, 2, 3, 4, 5]
    assert all(set(row) == {"iteration", "sparsity", "model_size", "accuracy"} for row in results)
    assert zeros(iterative.model) == round(0.9 * 216) + round(0.9 * 32)
    sizes = [row["model_size"] for row in results]
    assert sizes == sorted(sizes, reverse=True)
    assert results[-1]["accuracy"] == iterative.evaluate(images())


def test_the_schedule_is_geometric_and_in_percent() -> None:
    model = nn.Sequential(nn.Linear(100, 100, bias=False))
    results = IterativePruning(model).prune(0.9, 5)
    sparsities = [row["sparsity"] for row in results]
    assert sparsities == pytest.approx([0, 36.90, 60.19, 74.88, 84.15, 90.00], abs=0.01)
    assert [row["accuracy"] for row in results] == [None] * 6


def test_iteration_0_is_the_dense_model() -> None:
    dense = PruningStrategy(network())
    first = IterativePruning(network()).prune(0.9, 2, images(), images(), 1)[0]
    assert first == {
        "iteration": 0,
        "sparsity": dense.get_sparsity(),
        "model_size": dense.get_model_size(),
        "accuracy": dense.evaluate(images()),
    }


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
    with pytest.warns(UserWarning, match=r"0\.weight \(108 of 216\) and 5\.weight \(16 of 32\)"):
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
    one_shot = OneShotPruning(network())
    if epochs:
        with pytest.warns(UserWarning, match="without train_loader"):
            one_shot.prune(0.5, None, epochs)
    else:
        one_shot.prune(0.5, images(), epochs)
    original = network()
    kept = weight(one_shot.model) != 0
    assert torch.equal(weight(one_shot.model)[kept], weight(original)[kept])


def test_zeros_stay_zero_in_further_training() -> None:
    one_shot = OneShotPruning(network())
    one_shot.prune(0.7, images(), 1)
    pruned = zeros(one_shot.model)
    one_shot.fine_tune(images(), epochs=3, lr=0.1)
    assert zeros(one_shot.model) == pruned


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "loader", [images(), [], [(torch.zeros(2, 3, 8, 8), torch.tensor([0, 9]))]]
)
def test_every_method_keeps_the_modes_also_after_an_error(training: bool, loader: Any) -> None:
    pruner = IterativePruning(network().train(training))
    pruner.model.get_submodule("2").train(not training)
    before = modes(pruner.model)
    for method in (pruner.evaluate, pruner.fine_tune, lambda x: pruner.prune(0.5, 2, x, x, 1)):
        with suppress(ValueError):
            method(loader)
        assert modes(pruner.model) == before


def test_the_accuracy_does_not_depend_on_the_batches() -> None:
    pruner = PruningStrategy(network())
    assert pruner.evaluate(images(batch=5)) == pruner.evaluate(images())


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


@pytest.mark.parametrize(
    "amount",
    [
        *(-0.1, 1.0, 50, math.nan, True, "0.5", None, torch.tensor(2.0), np.array([0.5])),
        *(np.ma.masked, torch.empty((), device="meta")),
    ],
)
def test_amounts_that_are_no_fraction_are_refused(amount: Any) -> None:
    with pytest.raises(SpecError):
        OneShotPruning(network()).prune(amount)
    with pytest.raises(ValueError, match=r"target_sparsity: .* fraction"):
        IterativePruning(network()).prune(amount)


@pytest.mark.parametrize(
    "number", [np.float32(0.5), np.float64(0.5), torch.tensor(0.5), np.array(0.5), Fraction(1, 2)]
)
def test_numbers_of_numpy_and_torch_are_numbers(number: Any) -> None:
    one_shot = OneShotPruning(network())
    result = one_shot.prune(number, images(), number)
    assert result["amount"] == 0.5
    assert type(result["amount"]) is float
    assert result == OneShotPruning(network()).prune(0.5, images(), 0.5)
    steps = number * 4
    assert len(IterativePruning(network()).prune(0.5, steps)) == 3


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, True, "1", None, [1]])
def test_bad_numbers_are_refused(value: Any) -> None:
    with pytest.raises(SpecError, match="fine_tune_epochs"):
        OneShotPruning(network()).prune(0.5, images(), value)
    with pytest.raises(SpecError, match="num_iterations"):
        IterativePruning(network()).prune(0.5, value)
    with pytest.raises(SpecError, match="epochs"):
        OneShotPruning(network()).fine_tune(images(), value)
    with pytest.raises(SpecError, match="lr"):
        OneShotPruning(network()).fine_tune(images(), 1, value if value != 1 else -1)


class OfWrongLength:
    """A loader that says nine batches and yields four."""

    def __len__(self) -> int:
        return 9

    def __iter__(self) -> Iterator[Any]:
        return iter(images())


def test_equal_sums_of_epochs_are_equal_steps() -> None:
    """Half epochs of five batches are rounded over all iterations, not each alone."""
    steps = 0

    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()

        def forward(self, batch: Tensor) -> Tensor:
            nonlocal steps
            steps += self.training
            return self.body(batch)

    IterativePruning(Counted()).prune(0.5, 4, images(40, 8), None, 0.5)
    assert steps == 10
    with pytest.raises(SpecError, match="less than one training step"):
        OneShotPruning(network()).prune(0.5, images(40, 8), 0.05)
    with pytest.raises(SpecError, match="length is 9, but it yields 4 batches"):
        OneShotPruning(network()).prune(0.5, OfWrongLength(), 0.5)
    with pytest.raises(SpecError, match="need a loader with a length"):
        OneShotPruning(network()).prune(0.5, DataLoader(Stream(), batch_size=8), 0.5)


def generator() -> Iterator[Any]:
    yield from images()


class Exhausted:
    """An iterable that yields its batches once."""

    def __init__(self) -> None:
        self.batches = generator()

    def __iter__(self) -> Iterator[Any]:
        return self.batches


SINGLE = [(torch.ones(1, 3, 8, 8), torch.tensor([1]))] * 3


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (DataLoader(images(6, 8).dataset, batch_size=8, drop_last=True), "drop_last=True"),
        ([], "yields no batch"),
        (SINGLE, "single image"),
        (generator(), "read only once"),
        (Exhausted(), "no batch in epoch 2: it can be read only once"),
        (3, "of type int"),
        (images().dataset, "Wrap the data set in a DataLoader"),
    ],
    ids=["drop_last", "empty", "single images", "generator", "exhausted", "number", "data set"],
)
def test_a_loader_without_batches_to_train_on_is_refused(loader: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        OneShotPruning(network()).prune(0.5, loader, 2)


def test_batches_of_one_image_train_a_model_without_batch_norm() -> None:
    one_shot = OneShotPruning(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)))
    before = weight(one_shot.model, 1).clone()
    one_shot.fine_tune(SINGLE)
    assert not torch.equal(weight(one_shot.model, 1), before)


def test_a_batch_sampler_may_end_with_one_image() -> None:
    sampler = BatchSampler(range(9), 8, drop_last=False)
    loader = DataLoader(images(9).dataset, batch_sampler=sampler)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 4), nn.BatchNorm1d(4))
    assert OneShotPruning(flat).prune(0.5, loader, 1)["amount"] == 0.5


def test_frozen_models_are_pruned_and_not_trained() -> None:
    frozen = network().requires_grad_(False)
    assert zeros_after(OneShotPruning(frozen), 0.5) == 108 + 16
    with pytest.raises(SpecError, match="requires_grad"):
        OneShotPruning(frozen).prune(0.5, images(), 1)
    frozen.get_submodule("5").requires_grad_(True)
    partly = OneShotPruning(frozen)
    partly.prune(0.5, images(), 1)
    kept = weight(partly.model) != 0
    assert torch.equal(weight(partly.model)[kept], weight(frozen)[kept])
    assert not torch.equal(weight(partly.model, 5), weight(frozen, 5))


@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_batch_norm_in_evaluation_mode_keeps_its_statistics(frozen: bool) -> None:
    model = network()
    model[1].eval().requires_grad_(not frozen)
    pruner = PruningStrategy(model)
    pruner.fine_tune(images())
    mean = pruner.model.get_buffer("1.running_mean")
    assert bool((mean == 0).all()) is frozen
    assert not pruner.model.get_submodule("1").training


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_training_works_where_gradients_are_off(context: Any) -> None:
    with context():
        result = OneShotPruning(network()).prune(0.5, images(), 1)
        assert not torch.is_grad_enabled()
    assert result == OneShotPruning(network()).prune(0.5, images(), 1)


def zeros_after(one_shot: OneShotPruning, amount: float) -> int:
    one_shot.prune(amount)
    return zeros(one_shot.model)


@pytest.mark.parametrize("hooks", [True, False])
@pytest.mark.parametrize(("amount", "expected"), [(0.0, 194), (0.5, 194), (0.95, 205)])
def test_zeros_of_an_earlier_pruning_stay(hooks: bool, amount: float, expected: int) -> None:
    model = network()
    prune.l1_unstructured(model[0], "weight", amount=0.9)
    if not hooks:
        prune.remove(model[0], "weight")
    pruned = model[0].weight == 0
    one_shot, iterative = OneShotPruning(model), IterativePruning(model)
    with pytest.warns(UserWarning, match=r"0\.weight \(194 of 216\).*stay zero"):
        one_shot.prune(amount, images(), 2)
    with pytest.warns(UserWarning, match=r"0\.weight \(194 of 216\).*stay zero"):
        iterative.prune(amount, 2, images(), None, 2)
    for strategy in (one_shot, iterative):
        assert int((weight(strategy.model) == 0).sum()) == expected
        assert bool((weight(strategy.model)[pruned] == 0).all())
        assert int((weight(strategy.model, 5) == 0).sum()) == round(amount * 32)


def test_zeros_stay_in_fine_tuning_and_initial_zeros_are_trained() -> None:
    model = network()
    with torch.no_grad():
        weight(model)[:4] = 0.0
        weight(model, 5).zero_()
    pruner = PruningStrategy(model)
    with (
        pytest.warns(UserWarning, match=r"zero before: 0\.weight \(108 of 216\)\. They"),
        pytest.warns(UserWarning, match=r"All weights of '5\.weight' are zero\. .* in training"),
    ):
        pruner.fine_tune(images())
    assert bool((weight(pruner.model)[:4] == 0).all())
    assert bool((weight(pruner.model, 5) != 0).any())


def test_masked_biases_stay_zero() -> None:
    model = network()
    prune.l1_unstructured(model[5], "bias", amount=2)
    one_shot = OneShotPruning(model)
    with pytest.warns(UserWarning, match=r"5\.bias \(2 of 4\)"):
        one_shot.prune(0.5, images(), 2)
    assert int((one_shot.model.get_parameter("5.bias") == 0).sum()) == 2


def test_scores_that_are_no_numbers_count_as_wrong() -> None:
    model = network()
    pruner = PruningStrategy(model)
    with torch.no_grad():
        pruner.model.get_parameter("5.bias").fill_(math.nan)
    with pytest.warns(UserWarning, match="32 of 32 images are not numbers"):
        assert pruner.evaluate(images()) == 0.0
    with pytest.raises(SpecError, match=r"before any training step\. Values of 5\.bias are not"):
        pruner.fine_tune(images())
    with pytest.raises(SpecError, match=r"The training diverged.*Lower the learning rate"):
        PruningStrategy(network()).fine_tune(images(), 2, lr=1e30)


def with_threshold(last: nn.Module) -> nn.Sequential:
    """A model with one output: class 1 where the red channel is bright; not trained."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1), last)
    with torch.no_grad():
        weight(model, 2).copy_(torch.tensor([[1.0, 0.01, 0.01]]))
        model.get_parameter("2.bias").fill_(-4.5)
    return model


@pytest.mark.parametrize("last", [nn.Identity(), nn.Sigmoid(), nn.Flatten(0)])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_one_output_decides_two_classes(last: nn.Module, shape: tuple[int, ...]) -> None:
    pixels, labels = images().dataset[:]
    two = (labels > 1).float().reshape(shape)
    loader = DataLoader(TensorDataset(pixels, two), batch_size=8)
    pruner = PruningStrategy(with_threshold(last))
    assert pruner.evaluate(loader) == 100.0
    with torch.no_grad():
        pruner.model.get_parameter("2.bias").zero_()
    assert pruner.evaluate(loader) < 80
    pruner.fine_tune(loader, 40, lr=0.1)
    assert pruner.evaluate(loader) > 95


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({}, "not a torch.nn.Module"),
        (nn.LazyLinear(3), "no shape yet"),
        (nn.Linear(3, 3, device="meta"), "no values"),
        (nn.Linear(3, 3).to(torch.float8_e4m3fn), "float8_e4m3fn"),
        (nn.BatchNorm2d(3), "no convolution or linear weight to prune"),
        (nn.Embedding(3, 3), r"stay dense: weight\."),
    ],
)
def test_models_that_cannot_be_pruned_are_refused(model: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        OneShotPruning(model, "cpu").prune(0.5)


def test_an_unknown_device_and_a_loader_without_images_are_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        PruningStrategy(network()).evaluate(DataLoader(TensorDataset(torch.empty(0, 3))))
    with pytest.raises(SpecError, match="read only once"):
        IterativePruning(network()).prune(0.5, 2, None, generator())
    for device in ("tpu", "cpu:1", "cpu:x", "cuda:99"):
        with pytest.raises(SpecError, match=f"device: {device} is not available"):
            PruningStrategy(network(), device)
    assert PruningStrategy(network(), "cpu:0").evaluate(images()) >= 0


def test_a_layer_without_any_weight_is_named() -> None:
    with pytest.warns(UserWarning, match=r"Every weight of 5\.weight is pruned"):
        OneShotPruning(network()).prune(0.99)
    with pytest.warns(UserWarning, match=r"Every weight of 5\.weight is pruned"):
        IterativePruning(network()).prune(0.99, 2)


def test_a_model_with_other_layers_than_before_is_refused() -> None:
    one_shot = OneShotPruning(network())
    one_shot.prune(0.5)
    one_shot.model.register_module("5", nn.Linear(8, 3))
    with pytest.raises(SpecError, match=r"layers of `model` have changed.* new OneShotPruning"):
        one_shot.prune(0.5)


@pytest.mark.parametrize(
    "values", [torch.randn(64, dtype=torch.complex64), torch.randn(64, 8).to(torch.float8_e5m2)]
)
def test_buffers_of_other_types_count_with_their_bytes(values: Tensor) -> None:
    model = network()
    size = PruningStrategy(model).get_model_size()
    model.register_buffer("other", values)
    one_shot = OneShotPruning(model)
    assert 300e-6 < one_shot.get_model_size() - size < 700e-6
    assert one_shot.prune(0.5, images(), 1)["amount"] == 0.5


class WithStateDict(nn.Sequential):
    """Its checkpoints have one more level."""

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        return {"model": super().state_dict(*arguments, **options)}


def test_a_state_dict_of_the_class_changes_no_size_and_no_weight() -> None:
    expected, actual = OneShotPruning(network()), OneShotPruning(WithStateDict(*network()))
    for amount in (0.5, 0.3):
        assert actual.prune(amount) == expected.prune(amount)

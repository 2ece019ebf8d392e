"""The assignment's Python API: one-shot and iterative pruning of any model with any data loader.

Units are those of the assignment: sparsity and accuracy in percent, sizes in MB (1 MB =
1,000,000 bytes), amounts as fractions. Pruning is layer-wise magnitude pruning: the same fraction
of each layer's convolution, linear and attention weights, smallest magnitude first (Han et al.
2015, https://arxiv.org/abs/1506.02626). A loader yields pairs of images and labels (N,).
"""

from __future__ import annotations

import copy
import math
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune
from torch.utils.data import DataLoader

from pruning_core.common.errors import SpecError
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.magnitude import magnitude
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks.masks import Masks, compute_masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.layers import count_zeros, fold_hooks, parameters, weights
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.methods.sparsity_schedules import geometric
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

Loader = DataLoader[Any]
BYTES_PER_MB = 1e6
LR = OPTIMIZERS["sgd"].lr
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


class PruningStrategy:
    """A copy of a model, in `model`, with what both strategies need.

    The model that is passed in is never changed. It may be pruned by `torch.nn.utils.prune`.
    """

    def __init__(self, model: nn.Module, device: str = "auto") -> None:
        """`device` is `cuda`, `mps`, `cpu`, or `auto` for the first of these that is available.

        Raises `SpecError`, a `ValueError`, for a device that this machine lacks.
        """
        self.device = devices.resolve(device)
        self.model = _copied(model).to(self.device)
        self._masks: Masks | None = None
        self._initial_state: dict[str, Any] | None = None

    def get_sparsity(self) -> float:
        """Percent of all parameters that are zero, including biases and normalization."""
        total, nonzero = self.count_parameters()
        return 100.0 * (total - nonzero) / max(total, 1)

    def count_parameters(self) -> tuple[int, int]:
        """The numbers of all and of non-zero parameters, with the masks of hooks applied."""
        values = parameters(self.model)
        total = sum(value.numel() for value in values.values())
        return total, total - count_zeros(values)

    def get_model_size(self) -> float:
        """The size in MB of the model's sparse file (see `sparse_file`), written to disk.

        Values of -0.0, which hooks of `torch.nn.utils.prune` produce, are written as 0.0.
        """
        state = self.model.state_dict()
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        plain = {
            name: value + 0.0 if value.is_floating_point() else value
            for name, value in fold_hooks(tensors).items()
        }
        with tempfile.TemporaryDirectory() as folder:
            stored = sparse_file.with_versions(plain, sparse_file.versions_of(state))
            return sparse_file.save(stored, Path(folder) / "model") / BYTES_PER_MB

    @torch.inference_mode()
    def evaluate(self, loader: Loader) -> float:
        """Accuracy in percent. Raises `ValueError` for a loader without images."""
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        correct = images = 0
        try:
            for batch, labels in loader:
                scores = _scores(self.model(batch.to(self.device)))
                correct += int((scores.argmax(1) == labels.to(self.device)).sum())
                images += len(labels)
        finally:
            for module, mode in modes.items():
                module.training = mode
        if images == 0:
            raise ValueError("The loader has no images.")
        return 100.0 * correct / images

    def fine_tune(self, train_loader: Loader, epochs: int = 1, lr: float = LR) -> None:
        """Train with SGD (momentum 0.9); the learning rate falls from `lr` to 0 along a cosine.

        Pruned weights stay zero, also those that hooks mask. A last batch with a single image is
        skipped where batches are larger, because batch norm cannot train on it.
        """
        optimizer = torch.optim.SGD(
            self.model.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self.model.train()
        for epoch in range(epochs):
            for fraction, batch, labels in _batches(train_loader):
                step_lr = lr * (1 + math.cos(math.pi * (epoch + fraction) / epochs)) / 2
                self._step(optimizer, step_lr, batch, labels)
        if self._masks:
            self._masks.check()

    def _step(self, optimizer: torch.optim.SGD, lr: float, batch: Tensor, labels: Tensor) -> None:
        optimizer.param_groups[0]["lr"] = lr
        optimizer.zero_grad()
        scores = _scores(self.model(batch.to(self.device)))
        nn.functional.cross_entropy(scores, labels.to(self.device)).backward()
        optimizer.step()
        if self._masks:
            self._masks.multiply()

    def _reset(self) -> None:
        """Make hooks permanent, and restore the weights that the model had at the first call."""
        _remove_hooks(self.model)
        if self._initial_state is None:
            self._initial_state = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(self._initial_state)
        self._masks = None

    def _prune_to(self, amount: float) -> None:
        """Prune to a sparsity; weights pruned before count towards it."""
        prunable = weights(self.model, "all")
        if not prunable:
            raise ValueError("The model has no convolution or linear weight to prune.")
        previous = self._masks.weight_masks if self._masks else None
        scores = magnitude(CriterionInputs(prunable))
        self._masks = Masks(
            prunable, compute_masks(scores, amount, to_dict(PruningSpec()), previous)
        )
        self._masks.multiply()

    def _fine_tune_after_pruning(self, train_loader: Loader | None, epochs: int) -> None:
        if epochs < 0:
            raise SpecError("fine_tune_epochs", f"{epochs} is too small; use 0 or more.")
        if train_loader is not None and epochs:
            self.fine_tune(train_loader, epochs)


class OneShotPruning(PruningStrategy):
    """One-shot pruning: a single pruning step, then fine-tuning."""

    def prune(
        self, amount: float, train_loader: Loader | None = None, fine_tune_epochs: int = 0
    ) -> dict[str, float]:
        """Prune a fraction `amount` of the weights of each layer, then fine-tune.

        There is no fine-tuning without a loader or with 0 epochs. Returns `amount`, `sparsity`
        (percent) and `model_size` (MB). Each call starts from the weights that the model had
        before the first call. Raises `SpecError`, a `ValueError`, for an amount outside [0, 1).
        """
        _check_amount(amount)
        self._reset()
        self._prune_to(amount)
        self._fine_tune_after_pruning(train_loader, fine_tune_epochs)
        return {
            "amount": amount,
            "sparsity": self.get_sparsity(),
            "model_size": self.get_model_size(),
        }


class IterativePruning(PruningStrategy):
    """Iterative pruning: several pruning steps, with fine-tuning after each."""

    def prune(
        self,
        target_sparsity: float,
        num_iterations: int = 5,
        train_loader: Loader | None = None,
        test_loader: Loader | None = None,
        fine_tune_epochs: int = 0,
    ) -> list[dict[str, Any]]:
        """Prune to `target_sparsity` (a fraction, S) in `num_iterations` (N) steps.

        The schedule is geometric: each step prunes `1 - (1 - S)^(1/N)` of the remaining weights,
        and the last one ends exactly at S. There is no fine-tuning without a loader or with 0
        epochs. Returns a dict for each step: `iteration` (from 1), `sparsity` (percent),
        `model_size` (MB) and `accuracy` (percent; None without a test loader). Each call starts
        from the weights that the model had before the first call. Raises `SpecError`, a
        `ValueError`, for a target outside [0, 1) and for less than one iteration.
        """
        _check_amount(target_sparsity)
        if type(num_iterations) is not int or num_iterations < 1:
            raise SpecError(
                "num_iterations",
                "{value} is not a whole number of 1 or more.",
                value=num_iterations,
            )
        self._reset()
        results = []
        for i, amount in enumerate(geometric(target_sparsity, num_iterations), start=1):
            self._prune_to(amount)
            self._fine_tune_after_pruning(train_loader, fine_tune_epochs)
            results.append(self._result(i, test_loader))
        return results

    def _result(self, iteration: int, test_loader: Loader | None) -> dict[str, Any]:
        return {
            "iteration": iteration,
            "sparsity": self.get_sparsity(),
            "model_size": self.get_model_size(),
            "accuracy": None if test_loader is None else self.evaluate(test_loader),
        }


def _check_amount(amount: float) -> None:
    if not 0 <= amount < 1:
        raise SpecError("amount", f"{amount} is not a fraction: use 0 to less than 1.")


def _scores(output: Any) -> Tensor:
    """The main output; Inception and GoogLeNet return several in training."""
    return output[0] if isinstance(output, tuple) else output


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy. `deepcopy` alone refuses the non-leaf tensors that pruning hooks compute."""
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, memo=dict(computed))


def _remove_hooks(model: nn.Module) -> None:
    """Make the pruning of `torch.nn.utils.prune` permanent."""
    for module in model.modules():
        masked = [name.removesuffix("_mask") for name, _ in module.named_buffers(recurse=False)]
        for name in masked:
            if f"{name}_orig" in module._parameters:
                torch_prune.remove(module, name)


def _batches(loader: Loader) -> Iterable[tuple[float, Tensor, Tensor]]:
    """Each batch with the fraction of the epoch before it; 0 where a loader has no length."""
    length = 0
    with suppress(TypeError):
        length = len(loader)
    larger_batches = (getattr(loader, "batch_size", None) or 1) > 1
    for i, (batch, labels) in enumerate(loader):
        if len(labels) > 1 or not larger_batches:
            yield (i / length if length else 0.0), batch, labels

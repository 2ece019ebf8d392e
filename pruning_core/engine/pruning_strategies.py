"""One-shot and iterative pruning of any model with any data loader, as the assignment has them.

Here, as there, sparsity and accuracy are percent and sizes are MB (1 MB = 1,000,000 bytes);
the amounts asked for are fractions of the convolution, linear and attention weights, the same
fraction of each layer, smallest magnitudes first (Han et al. 2015). A loader gives pairs of
(images, labels).
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
    """A copy of a model, kept as `model`, with what both strategies need.

    The given model is never changed, and may carry hooks of `torch.nn.utils.prune`. `device`
    is `auto` (cuda, mps or cpu, the first there is) or one of these.
    """

    def __init__(self, model: nn.Module, device: str = "auto") -> None:
        self.device = devices.resolve(device)
        self.model = _copied(model).to(self.device)
        self._masks: Masks | None = None
        self._start: dict[str, Any] | None = None

    def get_sparsity(self) -> float:
        """Percent of all parameters that are zero, biases and normalization included."""
        total, nonzero = self.count_parameters()
        return 100.0 * (total - nonzero) / max(total, 1)

    def count_parameters(self) -> tuple[int, int]:
        """All parameters and those that are not zero, with the masks of hooks applied."""
        values = parameters(self.model)
        total = sum(value.numel() for value in values.values())
        return total, total - count_zeros(values)

    def get_model_size(self) -> float:
        """MB of the model's sparse file (see `sparse_file`), which is written and read back.

        The -0.0 that hooks of `torch.nn.utils.prune` leave behind are written as zeros.
        """
        state = self.model.state_dict().items()
        tensors = {name: value for name, value in state if isinstance(value, Tensor)}
        plain = {
            name: value + 0.0 if value.is_floating_point() else value
            for name, value in fold_hooks(tensors).items()
        }
        with tempfile.TemporaryDirectory() as folder:
            return sparse_file.save(plain, Path(folder) / "model") / BYTES_PER_MB

    @torch.inference_mode()
    def evaluate(self, loader: Loader) -> float:
        """Percent of the loader's images that the model classifies correctly."""
        modes = {module: module.training for module in self.model.modules()}
        self.model.eval()
        right = images = 0
        try:
            for batch, labels in loader:
                scores = _scores(self.model(batch.to(self.device)))
                right += int((scores.argmax(1) == labels.to(self.device)).sum())
                images += len(labels)
        finally:
            for module, mode in modes.items():
                module.training = mode
        if images == 0:
            raise ValueError("The loader has no images, so there is no accuracy.")
        return 100.0 * right / images

    def fine_tune(self, train_loader: Loader, epochs: int = 1, lr: float = LR) -> None:
        """Train with SGD, momentum 0.9, the rate falling from `lr` to 0 along a cosine.

        What `prune` removed, or a hook masks, stays zero. A last batch of a single image is
        left out where batches are larger, because batch normalization cannot use it.
        """
        optimizer = torch.optim.SGD(
            self.model.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY
        )
        self.model.train()
        for epoch in range(epochs):
            for share, batch, labels in _batches(train_loader):
                rate = lr * (1 + math.cos(math.pi * (epoch + share) / epochs)) / 2
                self._step(optimizer, rate, batch, labels)
        if self._masks:
            self._masks.check()

    def _step(self, optimizer: torch.optim.SGD, rate: float, batch: Tensor, labels: Tensor) -> None:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        scores = _scores(self.model(batch.to(self.device)))
        nn.functional.cross_entropy(scores, labels.to(self.device)).backward()
        optimizer.step()
        if self._masks:
            self._masks.multiply()

    def _from_the_start(self) -> None:
        """Make hooks permanent, and go back to the weights of the first call."""
        _remove_hooks(self.model)
        if self._start is None:
            self._start = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(self._start)
        self._masks = None

    def _cut(self, amount: float) -> None:
        """Remove weights up to an absolute amount; what is removed already counts."""
        found = weights(self.model, "all")
        if not found:
            raise ValueError("The model has no convolution or linear weight that could be pruned.")
        previous = self._masks.weight_masks if self._masks else None
        scores = magnitude(CriterionInputs(found))
        self._masks = Masks(found, compute_masks(scores, amount, to_dict(PruningSpec()), previous))
        self._masks.multiply()

    def _recover(self, train_loader: Loader | None, epochs: int) -> None:
        if epochs < 0:
            raise SpecError("fine_tune_epochs", f"{epochs} is too small; give 0 or more.")
        if train_loader is not None and epochs:
            self.fine_tune(train_loader, epochs)


class OneShotPruning(PruningStrategy):
    """All weights go in one cut; then the model is fine-tuned."""

    def prune(
        self, amount: float, train_loader: Loader | None = None, fine_tune_epochs: int = 0
    ) -> dict[str, float]:
        """Prune a fraction `amount` of each layer's weights, then fine-tune.

        Without a loader or without epochs nothing is fine-tuned.
        Returns `amount` as given, `sparsity` (percent) and `model_size` (MB). A further call
        starts from the weights that the model had before the first one. Raises `SpecError`, a
        `ValueError`, for an amount outside [0, 1).
        """
        _check_amount(amount)
        self._from_the_start()
        self._cut(amount)
        self._recover(train_loader, fine_tune_epochs)
        return {
            "amount": amount,
            "sparsity": self.get_sparsity(),
            "model_size": self.get_model_size(),
        }


class IterativePruning(PruningStrategy):
    """The weights go in several cuts, with fine-tuning after each."""

    def prune(
        self,
        target_sparsity: float,
        num_iterations: int = 5,
        train_loader: Loader | None = None,
        test_loader: Loader | None = None,
        fine_tune_epochs: int = 0,
    ) -> list[dict[str, Any]]:
        """Prune to `target_sparsity` (a fraction) in `num_iterations` equal shares of the rest.

        Each cut removes `1 - (1 - S)^(1/N)` of what is left; the last ends exactly on S.
        Without a loader or without epochs nothing is fine-tuned.
        Returns a dict per cut: `iteration` (from 1), `sparsity` (percent), `model_size` (MB)
        and `accuracy` (percent, None without a test loader). A further call starts from the
        weights that the model had before the first one. Raises `SpecError`, a `ValueError`,
        for a target outside [0, 1) and for no iterations.
        """
        _check_amount(target_sparsity)
        if type(num_iterations) is not int or num_iterations < 1:
            message = f"{num_iterations} is no number of cuts; give 1 or more."
            raise SpecError("num_iterations", message)
        self._from_the_start()
        results = []
        for i, amount in enumerate(geometric(target_sparsity, num_iterations), start=1):
            self._cut(amount)
            self._recover(train_loader, fine_tune_epochs)
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
        message = f"{amount} is not a fraction from 0 up to, but not including, 1."
        raise SpecError("amount", message)


def _scores(output: Any) -> Tensor:
    """The main output, also of Inception and GoogLeNet in training, which give several."""
    return output[0] if isinstance(output, tuple) else output


def _copied(model: nn.Module) -> nn.Module:
    """A deep copy, also of tensors that hooks computed, which deepcopy alone refuses."""
    computed = {
        id(value): value.detach().clone()
        for module in model.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(model, memo=dict(computed))


def _remove_hooks(model: nn.Module) -> None:
    for module in model.modules():
        masked = [name.removesuffix("_mask") for name, _ in module.named_buffers(recurse=False)]
        for name in masked:
            if f"{name}_orig" in module._parameters:
                torch_prune.remove(module, name)


def _batches(loader: Loader) -> Iterable[tuple[float, Tensor, Tensor]]:
    """Each batch with the share of the epoch before it; 0 where a loader has no length."""
    length = 0
    with suppress(TypeError):
        length = len(loader)
    several = (getattr(loader, "batch_size", None) or 1) > 1
    for i, (batch, labels) in enumerate(loader):
        if len(labels) > 1 or not several:
            yield (i / length if length else 0.0), batch, labels

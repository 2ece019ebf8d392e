"""The assignment's Python API: one-shot and iterative pruning of any model with any data loader.

Units are those of the assignment: sparsity and accuracy in percent, sizes in MB (1 MB =
1,000,000 bytes), amounts as fractions. Pruning is layer-wise magnitude pruning: the same fraction
of each weight of convolutions, linear, recurrent and attention layers, smallest magnitude first
(Han et al. 2015, https://arxiv.org/abs/1506.02626). A warning names the weights that stay dense.

A loader is a DataLoader or any other iterable of batches that can be read again. With N images
and C classes:

- A batch is a tuple or list that begins with images and labels, or a mapping, dataclass or named
  tuple with `pixel_values` or `images` (also `image`, `inputs`, `x`) and `labels` (also `label`,
  `targets`, `y`). `training.loaders` lists all names.
- Images are a tensor or array (N, ...). Floating-point images get the type of the model.
- Labels are class numbers 0 to C - 1 of any type, (N,) or (N, 1), one-hot (N, C), or shares of
  the classes (N, C) that add up to 1.
- The model returns scores (N, C), also (N, C, 1, 1), or (N,) or (N, 1) for two classes: the logit
  of class 1, or its probability out of a sigmoid. Scores may be inside a tuple, list, mapping or
  object, as `logits` or first.

Everything else is refused with a `SpecError`, a `ValueError`, that says what a batch or output is.
Threads and the precision of products are those of torch's settings, such as TF32 on CUDA.
"""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.engine.arguments import Number, finite_number, fraction, whole_number
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.magnitude import magnitude
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks.masks import (
    Masks,
    compute_masks,
    zero_masks,
)
from pruning_core.engine.models import devices
from pruning_core.engine.models.computed_weights import (
    check_model,
    copied,
    has_pruned_computed_weight,
    make_plain,
    remove_hooks,
)
from pruning_core.engine.models.layers import count_zeros, fold_hooks, parameters, weights
from pruning_core.engine.pruning_notes import (
    notes_on_computed,
    notes_on_dense,
    notes_on_empty,
    notes_on_zeros,
    sparser_layers,
)
from pruning_core.engine.training.loader_training import LoaderTraining, measure_accuracy
from pruning_core.engine.training.loaders import (
    Loader,
    length_of,
    steps_of,
)
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.methods.sparsity_schedules import geometric
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

BYTES_PER_MB = 1e6
LR = OPTIMIZERS["sgd"].lr


class PruningStrategy:
    """A copy of a model, in `model`, with what both strategies need.

    The model that is passed in is never changed. It may be pruned by `torch.nn.utils.prune`, and
    its weights may be computed by `weight_norm` and other parametrizations. `model` keeps the
    training or evaluation mode of each of its modules, also where a method ends with an error.
    """

    def __init__(self, model: nn.Module, device: str = "auto") -> None:
        """`device` is `cuda`, `cuda:1`, `mps`, `cpu`, a `torch.device`, or `auto` for the first
        of these types that is available.

        Raises `SpecError`, a `ValueError`, for a device that this machine lacks, for what is no
        module, and for a model that cannot be copied or whose parameters have no plain values.
        """
        self.device = devices.resolve_with_index(str(device))
        check_model(model)
        with torch.inference_mode(False):  # Else the copy could never be trained.
            self.model = copied(model).to(self.device)
        self._masks: Masks | None = None
        self._initial_state: dict[str, Any] | None = None
        self._initial_masks: dict[str, Tensor] = {}

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

        Values of -0.0, which hooks of `torch.nn.utils.prune` produce, are written as 0.0. Tensors
        of a type that the file does not know, such as complex numbers, count with their bytes.
        """
        state = _state_of(self.model)
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        plain = {name: _storable(value) for name, value in fold_hooks(tensors).items()}
        with tempfile.TemporaryDirectory() as folder:
            stored = sparse_file.with_versions(plain, sparse_file.versions_of(state))
            return sparse_file.save(stored, Path(folder) / "model") / BYTES_PER_MB

    def evaluate(self, loader: Loader) -> float:
        """Accuracy in percent: the share of images whose label has the highest score.

        An image with a score that is not a number counts as wrong, with a warning. Raises
        `ValueError` for a loader without images, and for batches, labels and outputs of other
        forms than those at the head of this file.
        """
        counts = measure_accuracy(self.model, loader, self.device)
        if counts.undefined:
            images = format_count(counts.images, "image")
            self._warn(
                [
                    f"The scores of {counts.undefined:,} of {images} are not numbers. These images "
                    "count as wrong. The training may have diverged."
                ]
            )
        return 100.0 * counts.correct / counts.images

    def fine_tune(self, train_loader: Loader, epochs: Number = 1, lr: Number = LR) -> None:
        """Train with SGD (momentum 0.9); the learning rate falls from `lr` to 0 along a cosine.

        The loss is cross-entropy, or binary cross-entropy for one output. Pruned weights stay
        zero: also those that hooks mask, and those that were zero before, for which computed
        weights become plain parameters as in `OneShotPruning.prune`. `epochs` may be a
        fraction if the loader has a length: that share of its batches. A batch of a single image
        is left out where the model has batch norm, which cannot train on it, unless the loader's
        `batch_size` is 1. Frozen parameters stay as they are, and so does a batch norm that is
        frozen and in evaluation mode.

        Raises `SpecError`, a `ValueError`, where no batch or no parameter is left to train on,
        where the training diverges, and as `evaluate` does.
        """
        epochs, lr = finite_number("epochs", epochs, 0), finite_number("lr", lr, 0)
        if self._masks is None:
            computed = {}
            if has_pruned_computed_weight(self.model):
                computed = make_plain(self.model)
            masks = zero_masks(self.model)
            self._warn(
                [*notes_on_computed(computed), *notes_on_zeros(masks, [], self.model)],
            )
            self._masks = Masks(weights(self.model, "all"), masks)
            try:
                self._train(train_loader, epochs, lr)
            finally:
                self._masks = None
        else:
            self._train(train_loader, epochs, lr)

    def _train(
        self, train_loader: Loader, epochs: float, lr: float = LR, done: float = 0.0
    ) -> None:
        if epochs:
            LoaderTraining(self.model, self._masks, self.device).run(train_loader, epochs, lr, done)

    def _reset(self) -> list[str]:
        """Restore the weights that the model had at the first call, all as plain parameters.

        Hooks become permanent, and weights that were computed become parameters. What was zero
        stays zero. Returns notes on what happened.
        """
        masks = remove_hooks(self.model)
        computed = make_plain(self.model)
        notes = notes_on_computed(computed)
        if self._initial_state is None:
            self._initial_state = copy.deepcopy(_state_of(self.model))
            self._initial_masks = masks | zero_masks(self.model)
        try:
            nn.Module.load_state_dict(self.model, self._initial_state)
        except RuntimeError as error:
            raise SpecError(
                "model",
                "The layers of `model` have changed since the first call of prune, so the weights "
                "of that time cannot be restored. Pass the changed model to a new "
                f"{type(self).__name__}.",
            ) from error
        prunable = weights(self.model, "all")
        if not prunable:
            raise SpecError(
                "model",
                "The model has no convolution or linear weight to prune, and no recurrent or "
                "attention weight." + "".join(f" {note}" for note in notes_on_dense(self.model)),
            )
        parameters_by_name = self._all_parameters()
        kept = {
            name: mask.to(self.device)
            for name, mask in self._initial_masks.items()
            if name in parameters_by_name  # What a weight was computed from is no parameter now.
        }
        self._masks = Masks(
            parameters_by_name,
            {name: kept[name] for name in prunable if name in kept},
            {name: mask for name, mask in kept.items() if name not in prunable},
        )
        return [*notes, *notes_on_dense(self.model)]

    def _prune_to(self, amount: float) -> list[str]:
        """Prune to a sparsity; weights pruned before count towards it, and stay pruned.

        Returns notes on the layers of which nothing remains.
        """
        assert self._masks is not None
        previous, others = self._masks.weight_masks, self._masks.norm_masks
        prunable = weights(self.model, "all")
        scores = magnitude(CriterionInputs(prunable))
        done = sparser_layers(previous, amount)
        open_scores = {name: score for name, score in scores.items() if name not in done}
        masks = {name: previous[name] for name in done}
        if open_scores:
            masks |= compute_masks(open_scores, amount, to_dict(PruningSpec()), previous)
        self._masks = Masks(
            self._all_parameters(), {name: masks[name] for name in prunable}, others
        )
        self._masks.multiply()
        return notes_on_empty(self._masks.weight_masks)

    def _all_parameters(self) -> dict[str, Tensor]:
        """The parameters under each of their names: a shared one may have a mask under any."""
        return dict(self.model.named_parameters(remove_duplicate=False))

    def _fine_tune_after_pruning(
        self, train_loader: Loader | None, epochs: float, done: float = 0.0
    ) -> None:
        if train_loader is not None:
            self._train(train_loader, epochs, done=done)

    def _prepared(
        self, amount: float, train_loader: Loader | None, epochs: float, passes: int
    ) -> list[str]:
        """Check what can be checked before the first step, and reset. Returns notes."""
        if train_loader is not None and epochs:
            length = length_of(train_loader)
            for i in range(passes):
                steps_of("train_loader", length, epochs, i * epochs)
            if isinstance(train_loader, Iterator) and epochs * passes > 1:
                raise SpecError(
                    "train_loader",
                    "An iterator can be read only once. Pass a DataLoader or a list of batches.",
                )
        notes = self._reset()
        assert self._masks is not None
        sparser = sparser_layers(self._masks.weight_masks, amount)
        notes += notes_on_zeros(self._masks.all, sparser, self.model)
        if epochs and train_loader is None:
            notes.append("Nothing is fine-tuned: fine_tune_epochs is given without train_loader.")
        return notes

    def _warn(self, notes: Iterable[str]) -> None:
        """Warn at the line that called a method of this class."""
        for note in notes:
            warnings.warn(note, stacklevel=3)


class OneShotPruning(PruningStrategy):
    """One-shot pruning: a single pruning step, then fine-tuning."""

    def prune(
        self, amount: Number, train_loader: Loader | None = None, fine_tune_epochs: Number = 0
    ) -> dict[str, float]:
        """Prune a fraction `amount` of the weights of each layer, then fine-tune.

        There is no fine-tuning without a loader or with 0 epochs; see `fine_tune`. Returns
        `amount`, `sparsity` (percent) and `model_size` (MB). Each call starts from the weights
        that the model had before the first call. Weights that were zero then stay zero and count
        towards the amount; a layer in which they are more keeps its sparsity. Weights that
        `weight_norm` or another parametrization computed become plain parameters. Warnings say
        so, and name the weights that stay dense.

        Numbers may be those of NumPy and torch. Raises `SpecError`, a `ValueError`, for an amount
        outside [0, 1), negative epochs, a model without prunable weights, and as `fine_tune` does.
        """
        amount = fraction("amount", amount)
        epochs = finite_number("fine_tune_epochs", fine_tune_epochs, 0)
        self._warn(self._prepared(amount, train_loader, epochs, 1))
        self._warn(self._prune_to(amount))
        self._fine_tune_after_pruning(train_loader, epochs)
        return {
            "amount": amount,
            "sparsity": self.get_sparsity(),
            "model_size": self.get_model_size(),
        }


class IterativePruning(PruningStrategy):
    """Iterative pruning: several pruning steps, with fine-tuning after each."""

    def prune(
        self,
        target_sparsity: Number,
        num_iterations: Number = 5,
        train_loader: Loader | None = None,
        test_loader: Loader | None = None,
        fine_tune_epochs: Number = 0,
    ) -> list[dict[str, Any]]:
        """Prune to `target_sparsity` (a fraction, S) in `num_iterations` (N) steps.

        The schedule is geometric: each step prunes `1 - (1 - S)^(1/N)` of the remaining weights,
        and the last one ends exactly at S. There is no fine-tuning without a loader or with 0
        epochs; fractions of an epoch are rounded over all steps.

        Returns N + 1 dicts. The first, iteration 0, is the model before pruning, with which the
        others are compared; then one for each step: `iteration`, `sparsity` (percent),
        `model_size` (MB) and `accuracy` (percent; None without a test loader).

        Each call starts from the weights that the model had before the first call. What is said
        in `OneShotPruning.prune` of zeros, computed weights, numbers and warnings holds here.
        Raises `SpecError`, a `ValueError`, for a target outside [0, 1), for less than one
        iteration, and as `fine_tune` and `evaluate` do.
        """
        target = fraction("target_sparsity", target_sparsity)
        iterations = whole_number("num_iterations", num_iterations)
        epochs = finite_number("fine_tune_epochs", fine_tune_epochs, 0)
        if isinstance(test_loader, Iterator):
            raise SpecError(
                "test_loader",
                "An iterator can be read only once. Pass a DataLoader or a list of batches.",
            )
        notes = self._prepared(target, train_loader, epochs, iterations)
        self._warn(notes)
        results = [self._result(0, test_loader)]
        for i, amount in enumerate(geometric(target, iterations)):
            notes = self._prune_to(amount)
            self._fine_tune_after_pruning(train_loader, epochs, done=i * epochs)
            results.append(self._result(i + 1, test_loader))
        self._warn(notes)
        return results

    def _result(self, iteration: int, test_loader: Loader | None) -> dict[str, Any]:
        return {
            "iteration": iteration,
            "sparsity": self.get_sparsity(),
            "model_size": self.get_model_size(),
            "accuracy": None if test_loader is None else self.evaluate(test_loader),
        }


def _state_of(model: nn.Module) -> dict[str, Any]:
    """The state dict, also of a model whose class has a `state_dict` of its own."""
    state: dict[str, Any] = nn.Module.state_dict(model)
    return state


def _storable(value: Tensor) -> Tensor:
    """A tensor as the sparse file can store it, with the same number of bytes."""
    if value.dtype in sparse_file.DTYPES.values():
        return value + 0.0 if value.is_floating_point() else value
    if value.is_quantized:
        return value.int_repr()
    return value.detach().cpu().contiguous().reshape(-1).view(torch.uint8)

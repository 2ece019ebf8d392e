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
import math
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError, shortened
from pruning_core.common.formatting import format_count, join_words
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.magnitude import magnitude
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks.masks import (
    Masks,
    compute_masks,
    empty_layers,
    zero_layers,
    zero_masks,
)
from pruning_core.engine.models import devices
from pruning_core.engine.models.batch_norm import has_batch_norm
from pruning_core.engine.models.computed_weights import (
    check_model,
    copied,
    has_pruned_computed_weight,
    make_plain,
    remove_hooks,
    unprunable_weights,
)
from pruning_core.engine.models.layers import count_zeros, fold_hooks, parameters, weights
from pruning_core.engine.models.modes import evaluation_mode, fine_tuning_mode
from pruning_core.engine.training.classification import (
    count_correct,
    mean_loss,
    one_score_is_probability,
    read_labels,
    read_scores,
    run_model,
)
from pruning_core.engine.training.loaders import (
    Loader,
    batches_of,
    length_of,
    read_batch,
    steps_of,
    why_no_batch,
)
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.methods.sparsity_schedules import geometric
from pruning_core.planning.layer_checks import zero_layers_note
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

Number = Any  # int, float, and numbers of NumPy and torch without a dimension
BYTES_PER_MB = 1e6
LR = OPTIMIZERS["sgd"].lr
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4


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
        correct = images = undefined = 0
        probability: bool | None = None
        with evaluation_mode(self.model):
            for batch in batches_of(loader, "loader"):
                pixels, labels = read_batch(batch)
                if not len(pixels):
                    continue
                with torch.no_grad():
                    scores = self._scores(pixels)
                if probability is None:
                    probability = scores.shape[1] == 1 and self._gives_probability(pixels)
                correct += count_correct(scores, read_labels(labels, scores), probability)
                undefined += int(scores.isnan().any(1).sum())
                images += len(pixels)
        if images == 0:
            raise SpecError(
                "loader", "The loader has no images. An iterator can be read only once."
            )
        if undefined:
            self._warn(
                [
                    f"The scores of {undefined:,} of {format_count(images, 'image')} are not "
                    "numbers. These images count as wrong. The training may have diverged."
                ]
            )
        return 100.0 * correct / images

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
        epochs, lr = _number("epochs", epochs, 0), _number("lr", lr, 0)
        if self._masks is None:
            computed = {}
            if has_pruned_computed_weight(self.model):
                computed = make_plain(self.model)
            masks = zero_masks(self.model)
            self._warn(
                [*_notes_on_computed(computed), *_notes_on_zeros(masks, [], self.model)],
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
        """Train for some epochs after `done` epochs of the same loader.

        Fractions are rounded over all epochs, so that equal sums of epochs are equal steps.
        """
        if not epochs:
            return
        trained = [p for p in self.model.parameters() if p.requires_grad]
        undefined = _not_finite(self.model)
        if not trained:
            raise SpecError(
                "model",
                "None of its parameters can be trained: all have requires_grad=False. Call "
                "model.requires_grad_(True) first, or set the number of epochs to 0.",
            )
        optimizer = torch.optim.SGD(trained, lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        with fine_tuning_mode(self.model):
            losses = []
            for fraction, pixels, labels in self._training_batches(train_loader, epochs, done):
                optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * fraction)) / 2
                losses.append(self._step(optimizer, pixels, labels))
            if not losses:
                raise SpecError(
                    "train_loader",
                    "All of its batches have a single image, and batch norm cannot train on one. "
                    "Use a larger batch size.",
                )
            finite = torch.stack(losses).isfinite()
            if not bool(finite.all()):
                raise _not_finite_loss(undefined, bool(finite[0]))
        if self._masks:
            self._masks.check()

    def _training_batches(
        self, train_loader: Loader, epochs: float, done: float
    ) -> Iterator[tuple[float, Tensor, Tensor]]:
        """Images (N, ...) and labels of each batch, with the share of the training before it."""
        length = length_of(train_loader)
        steps = steps_of("train_loader", length, epochs, done)
        position = 0
        for epoch in range(math.ceil(epochs)):
            batches = 0
            for i, batch in enumerate(batches_of(train_loader, "train_loader")):
                if position == steps:
                    return
                position, batches = position + 1, batches + 1
                pixels, labels = read_batch(batch)
                if self._is_trainable(train_loader, pixels):
                    share = (epoch + (i / length if length else 0.0)) / epochs
                    yield (share if steps is None else (position - 1) / steps), pixels, labels
            if not batches and position != steps:
                raise SpecError("train_loader", why_no_batch(train_loader, epoch))
        if steps is not None and position < steps:
            yielded = format_count(batches, "batch", "batches")
            raise SpecError(
                "train_loader",
                f"Its length is {length:,}, but it yields {yielded}. Fractions of epochs need the "
                "true length.",
            )

    def _is_trainable(self, loader: Loader, pixels: Tensor) -> bool:
        if len(pixels) != 1 or getattr(loader, "batch_size", None) == 1:
            return len(pixels) > 0
        return not has_batch_norm(self.model)

    def _step(self, optimizer: torch.optim.SGD, pixels: Tensor, labels: Tensor) -> Tensor:
        """One step. Returns the loss, a scalar without gradient."""
        optimizer.zero_grad()
        scores = self._scores(pixels)
        if not scores.requires_grad:
            raise SpecError("model", "Its scores do not depend on a parameter that is trained.")
        loss = mean_loss(scores, read_labels(labels, scores))
        loss.backward()
        optimizer.step()
        if self._masks:
            self._masks.multiply()
        return loss.detach()

    def _scores(self, pixels: Tensor) -> Tensor:
        return read_scores(run_model(self.model, pixels, self.device), len(pixels))

    @torch.enable_grad()
    def _gives_probability(self, pixels: Tensor) -> bool:
        # With a gradient of the images, the operations can be read also in a frozen model.
        if pixels.is_floating_point():
            pixels = pixels.detach().clone().requires_grad_()
        return one_score_is_probability(self._scores(pixels))

    def _reset(self) -> list[str]:
        """Restore the weights that the model had at the first call, all as plain parameters.

        Hooks become permanent, and weights that were computed become parameters. What was zero
        stays zero. Returns notes on what happened.
        """
        masks = remove_hooks(self.model)
        computed = make_plain(self.model)
        notes = _notes_on_computed(computed)
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
                "attention weight." + "".join(f" {note}" for note in _notes_on_dense(self.model)),
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
        return [*notes, *_notes_on_dense(self.model)]

    def _notes_on_empty(self) -> list[str]:
        assert self._masks is not None
        layers = empty_layers(self._masks.weight_masks)
        if not layers:
            return []
        return [
            f"Every weight of {join_words(layers)} is pruned, so no information about the image "
            "passes there. Use a smaller amount."
        ]

    def _prune_to(self, amount: float) -> None:
        """Prune to a sparsity; weights pruned before count towards it, and stay pruned."""
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
        notes += _notes_on_zeros(self._masks.all, sparser, self.model)
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
        amount = _fraction("amount", amount)
        epochs = _number("fine_tune_epochs", fine_tune_epochs, 0)
        self._warn(self._prepared(amount, train_loader, epochs, 1))
        self._prune_to(amount)
        self._warn(self._notes_on_empty())
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
        target = _fraction("target_sparsity", target_sparsity)
        iterations = _whole("num_iterations", num_iterations)
        epochs = _number("fine_tune_epochs", fine_tune_epochs, 0)
        if isinstance(test_loader, Iterator):
            raise SpecError(
                "test_loader",
                "An iterator can be read only once. Pass a DataLoader or a list of batches.",
            )
        self._warn(self._prepared(target, train_loader, epochs, iterations))
        results = [self._result(0, test_loader)]
        for i, amount in enumerate(geometric(target, iterations)):
            self._prune_to(amount)
            self._fine_tune_after_pruning(train_loader, epochs, done=i * epochs)
            results.append(self._result(i + 1, test_loader))
        self._warn(self._notes_on_empty())
        return results

    def _result(self, iteration: int, test_loader: Loader | None) -> dict[str, Any]:
        return {
            "iteration": iteration,
            "sparsity": self.get_sparsity(),
            "model_size": self.get_model_size(),
            "accuracy": None if test_loader is None else self.evaluate(test_loader),
        }


def sparser_layers(masks: dict[str, Tensor], amount: float) -> list[str]:
    """The names of the masks (True: stays) that prune more than `amount` of their weights."""
    return [
        name
        for name, mask in masks.items()
        if mask.numel() - int(mask.sum()) > round(amount * mask.numel())
    ]


def _notes_on_computed(computed: dict[str, str]) -> list[str]:
    if not computed:
        return []
    names = join_words(f"{name} ({title})" for name, title in computed.items())
    return [
        "Weights that the model computed are plain parameters of the copy from now on, so that "
        f"pruned weights stay zero: {names}. The names in its state_dict change."
    ]


def _notes_on_dense(model: nn.Module) -> list[str]:
    names = unprunable_weights(model)
    if not names:
        return []
    return [
        f"These weights stay dense: {join_words(names)}. Only parameters of convolutions, linear, "
        "recurrent and attention layers are pruned."
    ]


def _notes_on_zeros(masks: dict[str, Tensor], sparser: list[str], model: nn.Module) -> list[str]:
    zeros = {name: mask.numel() - int(mask.sum()) for name, mask in masks.items()}
    layers = join_words(
        f"{name} ({zeros[name]:,} of {mask.numel():,})"
        for name, mask in masks.items()
        if zeros[name]
    )
    if not layers:
        return []
    note = (
        f"Weights were zero before: {layers}. They stay zero, also in training, and count "
        "towards the sparsity."
    )
    if sparser:
        note += f" In {join_words(sparser)} they are more than the amount, and no more is pruned."
    others = [name for name in zero_layers(model) if name not in masks]
    return [note, *zero_layers_note(others)]


def _number(field: str, value: Number, low: float) -> float:
    """A finite number of at least `low`. Raises `SpecError` for anything else."""
    number = _float(value)
    if not math.isfinite(number):
        raise SpecError(field, "{value} is not a number.", value=shortened(value))
    if number < low:
        raise SpecError(field, f"{number:g} is too small; use {low:g} or more.")
    return number


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


def _not_finite(model: nn.Module) -> list[str]:
    """The names of the parameters with a value that is NaN or infinite, and buffers with NaN.

    An infinite buffer can be right: attention is masked by minus infinity.
    """
    return [
        *(name for name, value in model.named_parameters() if not bool(value.isfinite().all())),
        *(name for name, value in model.named_buffers() if bool(value.isnan().any())),
    ]


def _not_finite_loss(undefined: list[str], first_is_finite: bool) -> SpecError:
    """Why a loss is not finite; `undefined` are the tensors that were not before the training."""
    if first_is_finite:
        return SpecError(
            "lr", "The training diverged: the loss is not finite. Lower the learning rate."
        )
    message = "The loss of the first batch is not finite, before any training step."
    if undefined:
        message += f" Values of {join_words(undefined)} are not finite. Load other weights."
    else:
        message += " The values in the model are too large: scale the images or the weights down."
    return SpecError("model", message)


def _fraction(field: str, value: Number) -> float:
    number = _float(value)
    if not 0 <= number < 1:
        hint = f" For {number:g} percent give {number / 100:g}." if 1 < number < 100 else ""
        raise SpecError(
            field,
            "{value} is not a fraction: use 0 to less than 1.{hint}",
            value=shortened(value),
            hint=hint,
        )
    return number


def _whole(field: str, value: Number) -> int:
    number = _float(value)
    if not number.is_integer() or number < 1:
        raise SpecError(
            field, "{value} is not a whole number of 1 or more.", value=shortened(value)
        )
    return int(number)


def _float(value: Number) -> float:
    """A number of Python, NumPy or torch as a float; NaN for text, truth values and all else."""
    if value is np.ma.masked or (isinstance(value, Tensor) and value.is_meta):
        return math.nan
    if isinstance(value, Tensor | np.ndarray | np.generic) and not value.ndim:
        value = value.item()
    if isinstance(value, bool | str | bytes | Tensor | np.ndarray):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan

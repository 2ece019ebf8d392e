"""Outputs of any model as scores of classes, and their loss and accuracy.

Shapes: N images of a batch, C classes. A loss or an accuracy is computed only from scores (N, C)
and labels that fit them image by image; whatever else a loader or a model gives is refused with a
sentence, because two shapes that do not fit can still broadcast to a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count, join_words
from pruning_core.engine.models.computed_weights import FLOATS
from pruning_core.engine.training.loaders import LABELS, named_values, shape_of, without_ones

SCORE_NAMES = ("logits", "scores", "out", "output", "pred", "preds", "predictions", "y_hat")
SCORES = (
    "A model must return one score for each class, a tensor (N, C), or (N,) or (N, 1) for two "
    "classes; alone, first in a tuple or list, or with the name logits"
)
TOLERANCE = 1e-3
# Autograd's names of operations that change the shape of scores but not their values.
RESHAPING = {"Squeeze", "Unsqueeze", "View", "UnsafeView", "Select", "Slice", "Clone", "ToCopy"}
RESHAPING |= {"Transpose", "T", "Permute", "Clamp", "Expand", "ReshapeAlias", "Split", "Unbind"}
# Operations that make probabilities, those that make logarithms of probabilities, and those after
# which a score is a logit.
PROBABILITIES = ("Sigmoid", "Hardsigmoid", "Softmax")
LOGARITHMS = ("LogSigmoid", "LogSoftmax", "Log")
LINEAR = {"Addmm", "Mm", "Bmm", "Baddbmm", "Addmv", "Mv", "Dot", "Linear", "Convolution"}
LINEAR |= {"MkldnnConvolution", "Mean", "Sum", "Tanh"}
# What to do, by a part of the message with which torch refuses a batch.
HINTS = {
    "more than 1 value per channel": "Batch norm cannot train on one image. Use a larger batch "
    "size",
}
# Compiled and scripted models hide their operations.
HIDDEN = ("Compiled", "torch::")


def run_model(model: nn.Module, images: Tensor, device: str) -> Any:
    """What the model returns for images (N, ...), which are moved to the device.

    Images of floating-point numbers get the type of the model's parameters, if these have one
    type. Raises `SpecError` where the model does not take the images.
    """
    types = {p.dtype for p in model.parameters() if p.is_floating_point()}
    dtype = types.pop() if len(types) == 1 and images.is_floating_point() else images.dtype
    try:
        return model(images.to(device, dtype))
    except (torch.OutOfMemoryError, SpecError):
        raise
    except (RuntimeError, TypeError, ValueError, AssertionError, AttributeError, LookupError) as e:
        text = f"{type(e).__name__} {e}" if isinstance(e, LookupError) else str(e)
        reason = (text.strip().splitlines() or [type(e).__name__])[0].rstrip(".")
        hints = [hint for part, hint in HINTS.items() if part in reason]
        if not images.is_floating_point():
            hints.append("Pass floating-point numbers: transforms.ToTensor(), or divide by 255")
        raise SpecError(
            "loader",
            f"The model does not take the images of the loader, a tensor {shape_of(images)} of "
            f"{_type(images)}: {reason}. {(hints or ['It is called as model(images)'])[0]}.",
        ) from e


def read_scores(output: Any, images: int) -> Tensor:
    """The scores (N, C) of an output for N images; C is 1 where one score decides two classes.

    An output is a tensor (N, C), (N, C, 1, 1) or (N,); or a tuple, list, mapping, dataclass or
    other object with such tensors. Of several the one with a name of SCORE_NAMES counts, else the
    first, if all have the same number of columns. Raises `SpecError` for any other output.
    """
    returned = _main_output(output)
    scores = without_ones(returned)
    if images == 1 and returned.ndim < 2:
        # A model that squeezes its output returns (C,) or a scalar for a batch of one image.
        scores = returned.reshape(1, -1)
    if scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2 or len(scores) != images or not scores.shape[1]:
        number = format_count(images, "image")
        shape = shape_of(returned)
        raise SpecError("model", f"It returns a tensor {shape} for {number}. {SCORES}.")
    if scores.dtype not in FLOATS:
        raise SpecError("model", f"It returns scores of {_type(scores)}. {SCORES}.")
    return scores.float() if scores.dtype.itemsize < 4 else scores


def _main_output(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    named = named_values(output)
    for name in SCORE_NAMES:
        value = named.get(name, getattr(output, name, None))
        if isinstance(value, Tensor) and value.is_floating_point():
            return value
    values: Iterable[Any] = output if isinstance(output, tuple | list) else named.values()
    tensors = [value for value in values if isinstance(value, Tensor)]
    # A loss (a scalar), feature maps and attention beside the scores are no scores.
    tables = [x for x in tensors if without_ones(x).ndim == 2] or tensors[:1]
    if not tables:
        names = f" with the names {', '.join(map(str, named))}" if named else ""
        raise SpecError(
            "model", f"It returns no tensor but {type(output).__name__}{names}. {SCORES}."
        )
    if len({without_ones(x).shape for x in tables}) > 1:
        shapes = join_words(shape_of(x) for x in tables)
        raise SpecError("model", f"It returns several tensors, {shapes}. {SCORES}.")
    return tables[0]


def one_score_is_probability(scores: Tensor) -> bool:
    """Whether the scores (N, 1) of a model are probabilities, so that 0.5 and not 0 decides.

    They are after a sigmoid or softmax. The scores need a gradient. Raises `SpecError` where
    neither the operations nor the values tell.
    """
    last = _last_operation(scores)
    if last in PROBABILITIES:
        return True
    if last in LOGARITHMS:
        raise SpecError(
            "model",
            "Its one output is the logarithm of a probability. Return the logit or the "
            "probability of class 1, or two scores for the two classes.",
        )
    if last not in LINEAR and bool(((scores >= 0) & (scores <= 1)).all()):
        raise SpecError(
            "model",
            "Its one output is between 0 and 1 for every image, and its operations do not show "
            "whether it is a probability or a logit. Return two scores for the two classes.",
        )
    return False


def _last_operation(scores: Tensor) -> str:
    """Autograd's name of the operation that made the values of scores; empty where hidden."""
    step = scores.grad_fn
    while step is not None and not step.name().startswith(HIDDEN):
        name = step.name().split("Backward")[0]
        if name not in RESHAPING or not step.next_functions:
            return name
        step = step.next_functions[0][0]
    return ""


def read_labels(labels: Tensor, scores: Tensor) -> Tensor:
    """The labels of images with scores (N, C): class numbers (N,), int64; or shares (N, C).

    Labels are (N,) or (N, 1) of any type with the whole numbers 0 to C - 1 (0 and 1 for scores
    (N, 1)), or (N, C) with rows that add up to 1: one-hot labels, or shares of the classes.
    Raises `SpecError` for other shapes and values.
    """
    labels = without_ones(labels)
    count, columns = scores.shape
    if len(labels) != count or labels.ndim > 2:
        raise _wrong_labels(labels, scores)
    values = labels.cpu().double()
    if not bool(torch.isfinite(values).all()):
        raise SpecError("loader", "A label is not finite.")
    if labels.ndim == 2:
        if labels.shape[1] != columns or columns == 1:
            raise _wrong_labels(labels, scores)
        if bool((values < 0).any()) or bool(((values.sum(1) - 1).abs() > TOLERANCE).any()):
            raise SpecError(
                "loader",
                f"Labels of shape {shape_of(labels)} must be one-hot or shares of the classes: at "
                "least 0, and each row adds up to 1.",
            )
        one_hot = bool(((values == 0) | (values == 1)).all())
        return (values.argmax(1) if one_hot else values.to(scores.dtype)).to(scores.device)
    if bool((values != values.round()).any()):
        raise SpecError(
            "loader", f"A label is {_first(values, values != values.round())}. {LABELS}."
        )
    classes = max(columns, 2)
    outside = (values < 0) | (values >= classes)
    if bool(outside.any()):
        outputs = "one output, so its labels are" if columns == 1 else f"{columns} outputs: labels"
        raise SpecError(
            "loader",
            f"A label is {_first(values, outside)}, and the model has {outputs} 0 to "
            f"{classes - 1}.",
        )
    return values.long().to(scores.device)


def count_correct(scores: Tensor, labels: Tensor, probability: bool = False) -> int:
    """How many of N images have their label as the class with the highest score.

    `scores` are (N, C), `labels` as `read_labels` returns them. One score (N, 1) stands for class
    1 above 0, or above 0.5 where it is a probability. An image with a score that is not a number
    is not correct. Raises `SpecError` where shares leave the class of an image open.
    """
    if labels.ndim == 2:
        highest = labels.topk(2, dim=1).values
        if bool((highest[:, 0] == highest[:, 1]).any()):
            raise SpecError("loader", "Two classes of an image have equal shares in its label.")
        labels = labels.argmax(1)
    if scores.shape[1] == 1:
        predicted = (scores[:, 0] > (0.5 if probability else 0.0)).long()
    else:
        predicted = scores.argmax(1)
    return int(((predicted == labels) & ~scores.isnan().any(1)).sum())


def mean_loss(scores: Tensor, labels: Tensor, probability: bool = False) -> Tensor:
    """The mean cross-entropy of scores (N, C), a scalar; `labels` as `read_labels` returns them.

    One score (N, 1) is the logit of class 1, or its probability. Of more scores, those that a
    softmax made are probabilities.
    """
    if scores.shape[1] == 1:
        target = labels.to(scores.dtype)
        if probability:
            return functional.binary_cross_entropy(scores[:, 0], target)
        return functional.binary_cross_entropy_with_logits(scores[:, 0], target)
    if _last_operation(scores) == "Softmax":
        scores = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
    return functional.cross_entropy(scores, labels)


def _wrong_labels(labels: Tensor, scores: Tensor) -> SpecError:
    shapes = f"Labels of shape {shape_of(labels)} do not fit scores of shape {shape_of(scores)}"
    return SpecError("loader", f"{shapes}. {LABELS}.")


def _first(values: Tensor, where: Tensor) -> str:
    return f"{float(values[where][0]):g}"


def _type(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")

"""torchvision's classification models, built by name with random weights."""

from __future__ import annotations

import difflib
import functools
from typing import Any

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models import get_model, list_models

from pruning_core.common.errors import Ref, SpecError
from pruning_core.engine.models.macs import run_on_shapes
from pruning_core.methods.models import WIDTH_MODELS

INCEPTIONS = ("googlenet", "inception_v3")
# The sizes that a `DataSpec` allows.
MIN_SIZE, MAX_SIZE = 28, 224
FAILURES = (RuntimeError, ValueError, AssertionError)


def names() -> list[str]:
    """Every torchvision classification model, in alphabetical order."""
    return sorted(list_models(module=torchvision.models))


def build(settings: dict[str, Any], classes: int, image_size: int) -> nn.Module:
    """A model with random weights from torch's global random state, in training mode.

    `settings` holds `name`, `width` and `stem_stride` of a `ModelSpec`; other entries are
    ignored. The input is (N, 3, image_size, image_size), the output (N, classes). Raises
    `SpecError` for an unknown name, a width or stride that the model does not have, and an image
    size with which it cannot run.
    """
    model = rebuild(settings, classes, image_size)
    _check_runs(model, settings, image_size)
    return model


def rebuild(settings: dict[str, Any], classes: int, image_size: int) -> nn.Module:
    """As `build`, for settings that have been checked before, without running the model."""
    model = make(settings["name"], classes, settings["width"], image_size)
    if settings["stem_stride"] == 1:
        _set_stem_stride(model, settings["name"])
    return model


def make(name: str, classes: int, width: float = 1.0, image_size: int = 224) -> nn.Module:
    """A model as torchvision builds it, without auxiliary classifiers.

    GoogLeNet and Inception convert ImageNet-normalized input to their own range, as torchvision's
    pretrained ones do.
    """
    return get_model(name, weights=None, **options(name, classes, width, image_size))


def options(name: str, classes: int, width: float, image_size: int) -> dict[str, Any]:
    """The arguments with which torchvision builds a model. Raises `SpecError`."""
    if name not in names():
        raise SpecError("model.name", _unknown(name))
    arguments: dict[str, Any] = {"num_classes": classes}
    if name in INCEPTIONS:
        arguments |= {"aux_logits": False, "init_weights": True, "transform_input": True}
    if name.startswith("vit_"):
        _check_patches(name, image_size)
        arguments["image_size"] = image_size
    if width != 1.0:
        _check_width(name, width)
        arguments["width_mult"] = width
    return arguments


@functools.cache
def shapes(name: str, classes: int) -> dict[str, torch.Size]:
    """The shapes in a model's state dict at width 1, without allocating its tensors."""
    return {key: value.shape for key, value in outline(name, classes).state_dict().items()}


def outline(name: str, classes: int, image_size: int = 224) -> nn.Module:
    """A model at width 1 whose weights have shapes and no values; it uses no random numbers."""
    with torch.random.fork_rng(devices=[]), _NoStorage():
        return make(name, classes, image_size=image_size)


class _NoStorage(TorchFunctionMode):
    """Makes `torch.empty`, with which layers allocate their weights, return shapes only.

    `torch.device("meta")` would do so for all tensors, and RegNet computes with some of them.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        if func is torch.empty:
            options["device"] = "meta"
        return func(*args, **options)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), names(), n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"{name!r} is not a torchvision classification model.{hint}"


def _check_width(name: str, width: float) -> None:
    if name not in WIDTH_MODELS:
        raise SpecError(
            "model.width",
            f"{name} has only width 1, not {width:g}. Models with a width multiplier are "
            f"{', '.join(WIDTH_MODELS)}.",
        )


def _check_patches(name: str, image_size: int) -> None:
    """Refuse an image size that is no multiple of the patch size, and suggest the nearest one."""
    patch = int(name.rsplit("_", 1)[1])
    if image_size % patch:
        multiples = range(-(-MIN_SIZE // patch) * patch, MAX_SIZE + 1, patch)
        nearest = min(multiples, key=lambda size: abs(size - image_size))
        raise SpecError(
            "data.image_size",
            f"{name} divides images into patches of {patch} pixels, so the size must be a multiple "
            f"of {patch}. {image_size} is not; choose {nearest}.",
        )


def _set_stem_stride(model: nn.Module, name: str) -> None:
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    stride = stem.stride[0]
    if stride == 2 and stem.kernel_size[0] > stride:
        stem.stride = (1, 1)
        return
    reason = f"has stride {stride}, and only a stride of 2 can be changed to 1"
    if stride == 1:
        reason = "has stride 1 already"
    elif stride == stem.kernel_size[0]:
        reason = f"divides the image into patches of {stride} pixels, so its stride is fixed"
    message = f"the first convolution of {name} {reason}. Choose 2."
    raise SpecError("model.stem_stride", message)


def _check_runs(model: nn.Module, settings: dict[str, Any], image_size: int) -> None:
    """Refuse an image size with which the model cannot run, and name one with which it can."""
    if not (failure := _failure(model, image_size)):
        return
    stride = " with {stem_stride} 1" if settings["stem_stride"] == 1 else ""
    possible = _nearest_size(model, image_size)
    remedy = "{nearest} pixels, or another model" if possible else "another model"
    raise SpecError(
        "data.image_size",
        f"{{model}}{stride} cannot run on images of {{size}} pixels ({{reason}}). Choose {remedy}.",
        model=settings["name"],
        stem_stride=Ref("model.stem_stride"),
        size=image_size,
        reason=failure,
        nearest=possible,
    )


def _failure(model: nn.Module, image_size: int) -> str:
    """Why a model cannot run on images of this size; empty where it can."""
    try:
        run_on_shapes(model, (2, 3, image_size, image_size))
    except FAILURES as error:
        return str(error).splitlines()[0].rstrip(".")
    return ""


def _nearest_size(model: nn.Module, image_size: int) -> int | None:
    """The nearest larger size with which a model runs, else the nearest smaller; None without one.

    A model that runs on the largest images runs from some size on, which bisection finds. Without
    that, sizes are tried one by one.
    """
    if image_size < MAX_SIZE and not _failure(model, MAX_SIZE):
        low, high = image_size, MAX_SIZE
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _failure(model, middle) else (low, middle)
        return high
    sizes = (*range(image_size + 1, MAX_SIZE), *range(image_size - 1, MIN_SIZE - 1, -1))
    return next((size for size in sizes if not _failure(model, size)), None)

"""torchvision's classification models by name, built with random weights."""

from __future__ import annotations

import difflib
import functools
from typing import Any

import torch
import torchvision
from torch import nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torchvision.models import get_model, list_models

from pruning_core.common.errors import SpecError

WIDTH_MODELS = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
INCEPTIONS = ("googlenet", "inception_v3")
FAILURES = (RuntimeError, ValueError, AssertionError)


def names() -> list[str]:
    """Every torchvision classification model, in alphabetical order."""
    return sorted(list_models(module=torchvision.models))


def width_models() -> tuple[str, ...]:
    """The models whose layers can be made wider or narrower."""
    return WIDTH_MODELS


def build(settings: dict[str, Any], classes: int, image_size: int) -> nn.Module:
    """A model with random weights from torch's global random state, in training mode.

    `settings` holds `name`, `width` and `stem_stride` as a `ModelSpec` does; other entries
    are ignored. The input is (N, 3, image_size, image_size), the output (N, classes).
    Raises `SpecError` for an unknown name, a width or stride that the model does not have,
    and an image size on which it cannot run.
    """
    model = rebuild(settings, classes, image_size)
    stem = " with stem_stride 1" if settings["stem_stride"] == 1 else ""
    _check_runs(model, settings["name"] + stem, image_size)
    return model


def rebuild(settings: dict[str, Any], classes: int, image_size: int) -> nn.Module:
    """The same for settings that have been built before, so that nothing need be tried."""
    model = make(settings["name"], classes, settings["width"], image_size)
    if settings["stem_stride"] == 1:
        _set_stem_stride(model, settings["name"])
    return model


def make(name: str, classes: int, width: float = 1.0, image_size: int = 224) -> nn.Module:
    """A model as torchvision builds it, without auxiliary classifiers.

    GoogLeNet and Inception convert ImageNet-normalized input to their own range, as
    torchvision has them do with pretrained weights.
    """
    return get_model(name, weights=None, **options(name, classes, width, image_size))


def options(name: str, classes: int, width: float, image_size: int) -> dict[str, Any]:
    """What torchvision is told when it builds a model. Raises `SpecError`."""
    if name not in names():
        raise SpecError("model.name", _unknown(name))
    found: dict[str, Any] = {"num_classes": classes}
    if name in INCEPTIONS:
        found |= {"aux_logits": False, "init_weights": True, "transform_input": True}
    if name.startswith("vit_"):
        found["image_size"] = _checked_patches(name, image_size)
    if width != 1.0:
        found["width_mult"] = _checked_width(name, width)
    return found


@functools.cache
def shapes(name: str, classes: int) -> dict[str, torch.Size]:
    """The shapes in a model's state dict at width 1, without filling or even holding it."""
    with torch.random.fork_rng(devices=[]), _NoStorage():
        return {key: value.shape for key, value in make(name, classes).state_dict().items()}


class _NoStorage(TorchFunctionMode):
    """Has `torch.empty`, from which layers make their weights, give shapes only.

    `torch.device("meta")` would do the same to all tensors, on which RegNet computes.
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


def _checked_width(name: str, width: float) -> float:
    if name not in WIDTH_MODELS:
        message = (
            f"{name} comes in width 1 only, not {width:g}. "
            f"A width can be chosen for {', '.join(WIDTH_MODELS)}."
        )
        raise SpecError("model.width", message)
    return width


def _checked_patches(name: str, image_size: int) -> int:
    patch = int(name.rsplit("_", 1)[1])
    if image_size % patch:
        message = (
            f"{name} cuts images into patches of {patch} pixels, so image_size must be a "
            f"multiple of {patch}; {image_size} is not. Take {_multiple(image_size, patch)}."
        )
        raise SpecError("data.image_size", message)
    return image_size


def _multiple(image_size: int, patch: int) -> int:
    """The nearest multiple of the patch from 28 to 224, the sizes a spec allows."""
    there = range(-(-28 // patch) * patch, 224 + 1, patch)
    return min(there, key=lambda size: abs(size - image_size))


def _set_stem_stride(model: nn.Module, name: str) -> None:
    stem = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    stride = stem.stride[0]
    if stride == 2 and stem.kernel_size[0] > stride:
        stem.stride = (1, 1)
        return
    reason = f"moves {stride} pixels a step, and only a step of 2 can be made 1"
    if stride == 1:
        reason = "has stride 1 as published"
    elif stride == stem.kernel_size[0]:
        reason = f"cuts the image into patches of {stride} pixels, so its stride is fixed"
    message = f"the first convolution of {name} {reason}. Leave stem_stride at 2."
    raise SpecError("model.stem_stride", message)


def _check_runs(model: nn.Module, name: str, image_size: int) -> None:
    """Run shapes only, without values: neither time nor random numbers are spent."""
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shapes = {key: value.to("meta") for key, value in state.items()}
    images = torch.empty(2, 3, image_size, image_size, device="meta")
    model.eval()
    try:
        with torch.no_grad():
            functional_call(model, shapes, (images,))
    except FAILURES as error:
        reason = str(error).splitlines()[0].rstrip(".")
        message = (
            f"{name} cannot run with image_size {image_size} ({reason}). "
            "Choose another size, up to 224, or another model."
        )
        raise SpecError("data.image_size", message) from error
    finally:
        model.train()

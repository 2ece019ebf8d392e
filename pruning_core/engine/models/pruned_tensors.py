"""The masks that tools for pruning leave in a checkpoint beside the weights."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from pruning_core.engine.models.stored_tensors import StoredTensor, endings, is_mask, shape_of

# Names by which tools call masks.
MASKS = re.compile(r"(?<![a-z])masks?(?![a-z])", re.IGNORECASE)
PARAMETRIZED = re.compile(r"\.parametrizations\.(\w+)\.original$")


def with_masks(tensors: Mapping[str, Tensor]) -> dict[str, StoredTensor]:
    """The tensors of a file; a weight and a mask of its shape in its module are one tensor."""
    stored, masks = {}, set()
    for name, value in tensors.items():
        plain, mask_names = _mask_names(name)
        mask = next((x for x in mask_names if _is_for(tensors.get(x), value)), "")
        if mask:
            stored[plain] = StoredTensor(name, value, tensors[mask], mask)
            masks.add(mask)
        else:
            stored.setdefault(name, StoredTensor(name, value))
    return {name: tensor for name, tensor in stored.items() if tensor.name not in masks}


def masks_beside(
    weights: Mapping[str, StoredTensor], tensors: Mapping[str, Tensor]
) -> dict[str, StoredTensor]:
    """The weights of a network for which a file has masks in a dict of their own, with them.

    Masks have the names of the weights or of their modules, and values of 0 and 1. Of several
    sets of masks none is taken.
    """
    entries = {entry for name in tensors for entry, _ in endings(name) if MASKS.search(entry)}
    sets = [masked for entry in entries if (masked := _masked(weights, tensors, entry))]
    return sets[0] if len(sets) == 1 else {}


def _masked(
    weights: Mapping[str, StoredTensor], tensors: Mapping[str, Tensor], entry: str
) -> dict[str, StoredTensor]:
    masked = {}
    for key, stored in weights.items():
        for name in (f"{entry}.{key}", f"{entry}.{key.removesuffix('.weight')}"):
            if stored.mask is None and _is_for(mask := tensors.get(name), stored.value):
                masked[key] = StoredTensor(stored.name, stored.value, mask, name)
    masks = [stored.mask for stored in masked.values() if stored.mask is not None]
    return masked if all(map(is_mask, masks)) else {}


def _mask_names(name: str) -> tuple[str, list[str]]:
    """The name of a weight without what pruning adds to it, and the names its mask may have.

    `torch.nn.utils.prune` writes `x_orig` and `x_mask`, `torch.ao.pruning` a parametrization, and
    layers of other tools keep `mask` or `weight_mask` beside `weight`.
    """
    if parametrized := PARAMETRIZED.search(name):
        plain = f"{name[: parametrized.start()]}.{parametrized[1]}"
        return plain, [f"{name.removesuffix('original')}0.mask"]
    plain, module = name.removesuffix("_orig"), name.removesuffix("weight")
    return plain, [f"{plain}_mask", *([f"{module}mask"] if module.endswith(".") else [])]


def _is_for(mask: Tensor | None, weight: Tensor) -> bool:
    """Whether a mask is there and has the shape of the weight."""
    return (
        mask is not None and mask is not weight and shape_of(mask) == shape_of(weight) is not None
    )

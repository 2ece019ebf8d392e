"""Images: what there is (`inspect`), as arrays on disk (`decode`), as batches (`load`).

`inspect` and `decode` work without torch; what needs torch is imported at first use, so that
looking at a folder of images stays quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pruning_core.engine.data.decoding import decode
from pruning_core.engine.data.sources import inspect
from pruning_core.engine.data.split import stratified

if TYPE_CHECKING:
    from pruning_core.engine.data.augment import AUGMENTATIONS, normalize, random_crop, random_flip
    from pruning_core.engine.data.loading import ImageSet, Splits, load

__all__ = [
    "AUGMENTATIONS",
    "ImageSet",
    "Splits",
    "decode",
    "inspect",
    "load",
    "normalize",
    "random_crop",
    "random_flip",
    "stratified",
]

_WITH_TORCH = {
    "AUGMENTATIONS": "augment",
    "normalize": "augment",
    "random_crop": "augment",
    "random_flip": "augment",
    "ImageSet": "loading",
    "Splits": "loading",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    if name not in _WITH_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_WITH_TORCH[name]}"), name)

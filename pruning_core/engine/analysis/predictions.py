"""What a dense and a pruned model say to one image, and how long each takes."""

from __future__ import annotations

import base64
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.image_files import UnreadableImage, decode_image
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.models import devices
from pruning_core.engine.stage_inputs import baseline_key, load_model, load_splits
from pruning_core.storage.stage_context import Context
from pruning_core.storage.store import Store

ROUNDS, WARM_UP = 15, 3
MAX_BYTES = 20_000_000


def predict(context: Context) -> dict[str, Any]:
    """Both answers to an image of the test set, or to one that a person gave."""
    store, settings = context.store, context.settings
    root = baseline_key(store, settings["point"])
    base = store.settings(root)["settings"]
    data, decoded = base["data"], store.settings(root)["parent"]
    devices.prepare(threads=1)
    pixels, label = _image(settings, context.row.hints, load_splits(store, decoded, data), data)
    images = normalize(pixels[None], data["mean"], data["std"]).contiguous()
    classes = store.read(decoded)["classes"]
    models = {name: _model(store, settings[name], base) for name in ("dense", "point")}
    times = _times(models, images)
    return {
        "pixels": base64.b64encode(pixels.numpy().tobytes()).decode(),
        "size": data["image_size"],
        "label": None if label is None else classes[label],
        "answers": {
            name: {"likeliest": _likeliest(model, images, classes), "milliseconds": times[name]}
            for name, model in models.items()
        },
        "notes": [],
    }


def _model(store: Store, key: str, base: dict[str, Any]) -> nn.Module:
    return load_model(store, key, base).eval()


def _image(
    settings: dict[str, Any], hints: dict[str, Any], splits: Splits, data: dict[str, Any]
) -> tuple[Tensor, int | None]:
    """The image (S, S, 3) as bytes, and its class where that is known. Raises `SpecError`."""
    if "test" in settings:
        number = settings["test"]
        if not 0 <= number < len(splits.test):
            last = len(splits.test) - 1
            raise SpecError("image", f"there is no test image {number}; the last is {last}.")
        return splits.test.batch(np.array([number]))[0], int(splits.test.labels[number])
    path = Path(hints["path"])
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise SpecError("image", "the file is larger than 20 MB.")
        return torch.from_numpy(decode_image(content, data["image_size"]).copy()), None
    except UnreadableImage as error:
        raise SpecError("image", f"this is no image that can be read ({error}).") from None
    except OSError as error:
        raise SpecError("image", f"{path} cannot be read ({error.strerror or error}).") from None


@torch.inference_mode()
def _likeliest(model: nn.Module, images: Tensor, classes: list[str]) -> list[tuple[str, float]]:
    shares = model(images).softmax(1)[0]
    order = shares.argsort(descending=True).tolist()
    return [(classes[i], float(shares[i])) for i in order]


@torch.inference_mode()
def _times(models: dict[str, nn.Module], images: Tensor) -> dict[str, float]:
    """Median milliseconds of a pass of each, the models in turn."""
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(WARM_UP + ROUNDS):
        for name, model in models.items():
            begun = time.perf_counter()
            model(images)
            found[name].append(1000 * (time.perf_counter() - begun))
    return {name: statistics.median(times[WARM_UP:]) for name, times in found.items()}

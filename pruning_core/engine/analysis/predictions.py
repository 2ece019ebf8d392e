"""The predictions of a dense and a pruned model for one image, and their latency."""

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
from pruning_core.engine.data.decoding import fitting
from pruning_core.engine.data.image_files import UnreadableImage, decode_image
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.models import devices
from pruning_core.engine.stage_inputs import baseline_of, load_model, load_splits
from pruning_core.planning.inspection_types import DatasetResult, DatasetSettings
from pruning_core.planning.measurement_types import PredictResult, PredictSettings
from pruning_core.planning.stage import read_result
from pruning_core.planning.stage_types import restored
from pruning_core.storage.stage_context import Context

ROUNDS, WARM_UP = 15, 3
MAX_BYTES = 20_000_000


def predict(context: Context[PredictSettings]) -> PredictResult:
    """The predictions of both models for a test image, or for an image file of the user.

    `pixels` of the result is the model input, uint8 (S, S, 3), in base64.
    """
    store, settings = context.store, context.settings
    root, base = baseline_of(store, settings.point)
    data, dataset = base.data, store.settings(root)["parent"]
    devices.prepare(threads=1)
    decoded = restored(DatasetSettings, store.settings(dataset)["settings"])
    pixels, label = _image(settings, context.row.hints, load_splits(store, dataset, data), decoded)
    images = normalize(pixels[None], data["mean"], data["std"]).contiguous()
    classes = read_result(store, dataset, DatasetResult).classes
    keys = {"dense": settings.dense, "point": settings.point}
    models = {name: load_model(store, key, base).eval() for name, key in keys.items()}
    milliseconds = _milliseconds(models, images)
    return PredictResult(
        pixels=base64.b64encode(pixels.numpy().tobytes()).decode(),
        size=data["image_size"],
        label=None if label is None else classes[label],
        predictions={
            name: {
                "probabilities": _probabilities(model, images, classes),
                "milliseconds": milliseconds[name],
            }
            for name, model in models.items()
        },
    )


def _image(
    settings: PredictSettings, hints: dict[str, Any], splits: Splits, decoded: DatasetSettings
) -> tuple[Tensor, int | None]:
    """The image, uint8 (S, S, 3), and its label, None where that is unknown.

    Raises `SpecError` where there is no such image or it cannot be read.
    """
    if (number := settings.test) is not None:
        if not 0 <= number < len(splits.test):
            last = len(splits.test) - 1
            raise SpecError("image", f"There is no test image {number}; the last is {last}.")
        return splits.test.batch(np.array([number]))[0], int(splits.test.labels[number])
    path = Path(hints["path"])
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise SpecError("image", "The file is larger than 20 MB.")
        pixels = decode_image(content, decoded.image_size, *fitting(decoded))
        return torch.from_numpy(pixels.copy()), None
    except UnreadableImage as error:
        raise SpecError("image", "This is not a readable image ({error}).", error=error) from None
    except OSError as error:
        raise SpecError(
            "image", "{path} cannot be read ({error}).", path=path, error=error.strerror or error
        ) from None


@torch.inference_mode()
def _probabilities(model: nn.Module, images: Tensor, classes: list[str]) -> list[tuple[str, float]]:
    """The classes with their probabilities for one image (1, 3, S, S), the most likely first."""
    probabilities = model(images).softmax(1)[0]
    order = probabilities.argsort(descending=True).tolist()
    return [(classes[i], float(probabilities[i])) for i in order]


@torch.inference_mode()
def _milliseconds(models: dict[str, nn.Module], images: Tensor) -> dict[str, float]:
    """The median milliseconds of a forward pass of each model, in interleaved rounds."""
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(WARM_UP + ROUNDS):
        for name, model in models.items():
            started = time.perf_counter()
            model(images)
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values[WARM_UP:]) for name, values in times.items()}

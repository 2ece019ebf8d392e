"""The test images that only one of two models classifies correctly, and the accuracy per class.

Shapes: N test images of S x S pixels, C classes.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pruning_core.common.formatting import format_count
from pruning_core.common.statistics import bits
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.models import devices
from pruning_core.engine.stage_inputs import baseline_of, load_model, load_splits
from pruning_core.engine.training.evaluate import Evaluation, evaluate
from pruning_core.planning.inspection_types import DatasetResult
from pruning_core.planning.measurement_types import (
    PredictionChangesResult,
    PredictionChangesSettings,
)
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage import read_result
from pruning_core.storage.stage_context import Context
from pruning_core.storage.store import Store


def prediction_changes(context: Context[PredictionChangesSettings]) -> PredictionChangesResult:
    """Compare both models on all test images, on the processor and one thread.

    The most confident wrong prediction comes first; of equal ones the image with the lower number.
    """
    store, settings = context.store, context.settings
    root, base = baseline_of(store, settings.model)
    dataset = store.settings(root)["parent"]
    devices.prepare(threads=1)
    test = load_splits(store, dataset, base.data).test
    classes = read_result(store, dataset, DatasetResult).classes
    evaluations = []
    for i, key in enumerate((settings.dense, settings.model)):
        context.progress.say(i / 2, f"Model {i + 1} of 2.")
        model = load_model(store, key, base)
        evaluations.append(evaluate(model, test, base.data, "cpu"))
    dense, pruned = evaluations
    lost = _ranked(dense.correct & ~pruned.correct, pruned.confidences)
    gained = _ranked(pruned.correct & ~dense.correct, dense.confidences)

    def shown(numbers: Sequence[int]) -> list[dict[str, Any]]:
        first = numbers[: settings.images]
        return [_image(n, test, dense, pruned, classes, settings.pixels) for n in first]

    return PredictionChangesResult(
        classes=_classes(test, dense, pruned, classes),
        lost=len(lost),
        gained=len(gained),
        lost_images=shown(lost),
        gained_images=shown(gained),
        notes=_notes(store, settings, evaluations),
    )


def _ranked(chosen: np.ndarray, confidences: np.ndarray) -> list[int]:
    """The numbers of the chosen images (N,), the highest confidence first."""
    numbers = np.flatnonzero(chosen)
    order = np.argsort(-confidences[numbers], kind="stable")
    return [int(number) for number in numbers[order]]


def _classes(
    test: ImageSet, dense: Evaluation, pruned: Evaluation, names: Sequence[str]
) -> list[dict[str, Any]]:
    """For each class its test images, and how many of them each model classifies correctly."""
    labels = test.labels.numpy()

    def counts(chosen: np.ndarray) -> list[int]:
        return np.bincount(labels[chosen], minlength=len(names)).tolist()

    everything = counts(np.ones(len(labels), dtype=bool))
    rows = zip(names, everything, counts(dense.correct), counts(pruned.correct), strict=True)
    return [
        {"name": name, "images": number, "dense": before, "model": after}
        for name, number, before, after in rows
    ]


def _image(
    number: int,
    test: ImageSet,
    dense: Evaluation,
    pruned: Evaluation,
    names: Sequence[str],
    pixels: int,
) -> dict[str, Any]:
    def prediction(evaluation: Evaluation) -> list[Any]:
        confidence = round(float(evaluation.confidences[number]), 6)
        return [names[int(evaluation.predictions[number])], confidence]

    return {
        "number": number,
        "label": names[int(test.labels[number])],
        "dense": prediction(dense),
        "model": prediction(pruned),
        "png": _png(test.batch(np.array([number]))[0].numpy(), pixels),
    }


def _png(image: np.ndarray, pixels: int) -> str:
    """An image, uint8 (S, S, 3), as PNG in base64, at most `pixels` wide."""
    picture = Image.fromarray(image)
    picture.thumbnail((pixels, pixels))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _notes(
    store: Store, settings: PredictionChangesSettings, evaluations: list[Evaluation]
) -> list[str]:
    """A sentence where the predictions are not those of the results, as on another processor."""
    notes = []
    for key, name, evaluation in zip(
        (settings.dense, settings.model), ("dense model", "model"), evaluations, strict=True
    ):
        result = read_result(store, key, ModelResult)
        before = bits(base64.b64decode(result.correct), result.test_images)
        if different := int(np.count_nonzero(before != evaluation.correct)):
            notes.append(
                f"{format_count(different, 'test image')} of the {name} "
                f"{'is' if different == 1 else 'are'} classified differently here than when the "
                "model was measured, because the processor or the version of PyTorch differs."
            )
    return notes

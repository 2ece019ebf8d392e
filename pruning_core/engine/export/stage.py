"""The stage that exports a finished model to one file."""

from __future__ import annotations

import math
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.common.formatting import format_count
from pruning_core.engine.criteria.calibration import draw_calibration_set
from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export.file_writer import FileWriter, FinishedModel, Run
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import options, rebuild
from pruning_core.engine.stage_inputs import (
    baseline_of,
    channels_removed,
    load_model,
    splits_of_baseline,
)
from pruning_core.engine.structured.widths import resize, structure
from pruning_core.engine.training.evaluate import Evaluation, evaluate
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.measurement_types import ExportResult, ExportSettings
from pruning_core.planning.model_types import BaselineSettings
from pruning_core.storage.stage_context import Context, StageError
from pruning_core.storage.store import Store

PREDICTIONS_FILE = "predictions.csv"
EXAMPLE_IMAGES = 8
COMPARISON_IMAGES = 64
BATCH, BATCH_PIXELS = 64, 64 * 64 * 64
# Relative to the largest score: rounding errors from another order of summation.
TOLERANCE = 1e-3


class _FileModel(nn.Module):
    """A model that was read from a file, as a module for `evaluate`."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images.contiguous())


def export(context: Context[ExportSettings]) -> ExportResult:
    """Write a file, read it back, compare its scores, and measure its accuracy.

    The accuracy on the test images is reported; that on the validation images decides which file
    is recommended and whether it is offered.
    """
    settings, say = context.settings, context.progress.say
    file_format = FILE_FORMATS[settings.format]
    writer: FileWriter = FILE_FORMATS.load(settings.format)()
    if (package := file_format.package) and find_spec(package) is None:
        raise StageError(f"{file_format.title} needs the package {package}: pip install {package}.")
    devices.prepare(settings.threads)
    requested = settings.images or 0
    source, splits, data = finished_model(
        context.store, context.row.parent, settings.threads, requested, settings.seed or 0
    )
    path, started = context.folder / f"model.{file_format.suffix}", time.perf_counter()
    say(0.1, "Writing")
    notes = writer.write(source, path)
    say(0.5, "Reading back")
    run = writer.open(source, path)
    images = comparison_images(splits, data)
    difference = largest_difference(source.model, run, images, file_format.exact)
    say(0.7, "Measuring")
    test = evaluate(_FileModel(run), splits.test, data, "cpu")
    validation = evaluate(_FileModel(run), splits.validation, data, "cpu")
    _write_predictions(context.folder / PREDICTIONS_FILE, test, splits.test.labels.tolist())
    return ExportResult(
        file=path.name,
        bytes=path.stat().st_size,
        difference=difference,
        order0_entropy=writer.order0_entropy(path) if writer.order0_entropy else {},
        **test.metrics(),
        notes=[*notes, *_calibration_notes(requested, len(splits.train))],
        validation_accuracy=validation.accuracy,
        validation_images=len(splits.validation),
        validation_correct=validation.packed(),
        processor=devices.processor("cpu"),
        versions={name: version(name) for name in dict.fromkeys(("torch", *file_format.needs))},
        seconds=time.perf_counter() - started,
    )


def finished_model(
    store: Store, key: str, threads: int = 1, images: int = 0, seed: int = 0
) -> tuple[FinishedModel, Splits, dict[str, Any]]:
    """A finished model, its images, and the data settings of its baseline.

    `images` is the number of calibration images, which the `seed` decides.
    """
    root, base = baseline_of(store, key)
    data, size = base.data, base.data["image_size"]
    splits = splits_of_baseline(store, root, base)
    batch = max(1, min(BATCH, BATCH_PIXELS // size**2))

    def calibration() -> list[Tensor]:
        drawn = draw_calibration_set(splits.train, images, seed, data, batch, "cpu")
        return [pixels for pixels, _ in drawn]

    def rebuild_unpruned() -> nn.Module:
        return rebuild(base.model, base.classes, size)

    model = load_model(store, key, base).eval()
    widths = structure(model) if channels_removed(store, key) else None
    return (
        FinishedModel(
            model,
            lambda: resize(rebuild_unpruned(), widths) if widths else rebuild_unpruned(),
            rebuild_unpruned,
            architecture_of(base),
            comparison_images(splits, data)[:EXAMPLE_IMAGES].clone(),
            calibration,
            threads,
            images,
        ),
        splits,
        data,
    )


def architecture_of(base: BaselineSettings) -> dict[str, Any]:
    """How torchvision builds the network of a baseline; `base` are the settings of the baseline."""
    model, size = base.model, base.data["image_size"]
    kwargs = options(model["name"], base.classes, model["width"], size)
    return {"name": model["name"], "stem_stride": model["stem_stride"], "options": kwargs}


def comparison_images(splits: Splits, data: dict[str, Any]) -> Tensor:
    """The first training images, normalized (N, 3, S, S), to compare scores on."""
    positions = torch.arange(min(COMPARISON_IMAGES, len(splits.train)))
    return normalize(splits.train.batch(positions), data["mean"], data["std"]).contiguous()


@torch.no_grad()
def largest_difference(model: nn.Module, run: Run, images: Tensor, exact: bool) -> float:
    """The largest absolute difference of the scores of a file from those of the model.

    `images` are normalized (N, 3, S, S). Raises `StageError` where the scores of an `exact` file
    differ, and where scores are not finite.
    """
    expected = model(images)
    difference = float((run(images) - expected).abs().max())
    if not math.isfinite(difference):
        raise StageError("The scores of the file are not finite, so it is not offered.")
    if exact and not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):
        raise StageError(
            f"The scores of the file differ from PyTorch's by up to {difference:.3g}, so it is "
            "not offered."
        )
    return difference


def _write_predictions(path: Path, test: Evaluation, labels: list[int]) -> None:
    """Write a line for each test image: its number, its label and its prediction, all from 0."""
    lines = [
        f"{i},{label},{prediction}"
        for i, (label, prediction) in enumerate(zip(labels, test.predictions.tolist(), strict=True))
    ]
    path.write_text("\n".join(["image,label,prediction", *lines]) + "\n", encoding="utf-8")


def _calibration_notes(requested: int, available: int) -> list[str]:
    """A note where there are fewer training images than calibration images asked for."""
    if requested <= available:
        return []
    images = format_count(available, "training image")
    return [f"Calibrated on all {images}; {requested:,} were requested."]

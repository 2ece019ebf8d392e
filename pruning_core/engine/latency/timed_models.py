"""The models whose latency is measured, at an input resolution, and their files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.common.formatting import format_count
from pruning_core.engine.export.file_writer import FinishedModel
from pruning_core.engine.export.stage import BATCH_PIXELS, finished_model
from pruning_core.engine.models.build import FAILURES
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.runtimes import AS_TRAINED, RUNTIMES
from pruning_core.planning.exports import export_stage
from pruning_core.planning.measurement_types import ExportResult
from pruning_core.planning.stage import Missing, read_result
from pruning_core.storage.stage_context import StageError
from pruning_core.storage.store import Store


@dataclass(frozen=True)
class TimedModel:
    """A finished model with images of `size` pixels per side; it was trained at `trained_size`."""

    key: str
    source: FinishedModel
    size: int
    trained_size: int


def load_timed_model(
    store: Store, key: str, image_size: int, images: int = 1, seed: int = 0
) -> TimedModel:
    """The model of a stage at a resolution in pixels, with `images` calibration images.

    Raises `StageError` where the network cannot run at the resolution.
    """
    source, _, data = finished_model(store, key, 1, images, seed)
    trained_size = data["image_size"]
    size = trained_size if image_size == AS_TRAINED else image_size
    if size != trained_size:
        source = with_image_size(source, size)
    check_image_size(source.model, source.example, trained_size)
    return TimedModel(key, source, size, trained_size)


def with_image_size(source: FinishedModel, size: int) -> FinishedModel:
    """The same network with its images resized to `size` pixels per side."""

    def resized(images: Tensor) -> Tensor:
        return functional.interpolate(images, (size, size), mode="bilinear", antialias=True)

    def calibration() -> list[Tensor]:
        batch = max(1, BATCH_PIXELS // size**2)
        return [part for images in source.calibration() for part in resized(images).split(batch)]

    return replace(source, example=resized(source.example), calibration=calibration)


@torch.no_grad()
def check_image_size(model: nn.Module, images: Tensor, trained_size: int) -> None:
    """Run one of the images (N, 3, S, S). Raises `StageError` where the network cannot."""
    try:
        model(images[:1])
    except FAILURES as error:
        reason, size = str(error).splitlines()[0].rstrip("."), images.shape[-1]
        raise StageError(
            f"This network cannot run at {size} pixels ({reason}). "
            f"Use {trained_size} pixels, the resolution it was trained at."
        ) from error


@dataclass(frozen=True)
class ModelFile:
    """The file that a runtime opens, and its bytes; None where it runs the model in memory."""

    path: Path | None
    bytes: int | None
    notes: tuple[str, ...] = ()


def model_file(store: Store, model: TimedModel, runtime: str, folder: Path) -> ModelFile:
    """The exported file of a model if there is one, else a file that is written to `folder`.

    The export stages are not waited for, because then a format that cannot be written would stop
    the measurement of all others. For another image size there are no exported files.
    """
    if not (name := RUNTIMES[runtime].format):
        return ModelFile(None, None)
    if model.size == model.trained_size and (path := _exported_file(store, model.key, name)):
        return ModelFile(path, path.stat().st_size)
    path = folder / f"{model.key[:12]}.{FILE_FORMATS[name].suffix}"
    notes = FILE_FORMATS.load(name)().write(model.source, path)
    if FILE_FORMATS[name].calibrated:
        images = format_count(model.source.calibration_images, "training image")
        title = FILE_FORMATS[name].title
        notes = [*notes, f"The timed {title} file is calibrated on {images}."]
    return ModelFile(path, path.stat().st_size, tuple(notes))


def _exported_file(store: Store, key: str, name: str) -> Path | None:
    stage = export_stage(key, name)
    try:
        return store.file(stage.key, read_result(store, stage.key, ExportResult).file)
    except Missing:
        return None

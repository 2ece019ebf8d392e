"""What is timed: finished points at a size, and their files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from pruning_core.planning.stage import Missing
from pruning_core.storage.stage_context import StageError
from pruning_core.storage.store import Store


@dataclass(frozen=True)
class TimedModel:
    """A finished point, its images scaled to `size` pixels; `trained` is its own size."""

    key: str
    source: FinishedModel
    size: int
    trained: int


def load_timed_model(store: Store, key: str, settings: dict[str, Any]) -> TimedModel:
    """The point at the size that was asked for. Raises `StageError` where it cannot run there."""
    source, _, data = finished_model(store, key, {"threads": 1, **settings})
    trained = data["image_size"]
    size = trained if settings["image_size"] == AS_TRAINED else settings["image_size"]
    if size != trained:
        source = scaled(source, size)
    check_runs(source.model, source.example, trained)
    return TimedModel(key, source, size, trained)


def scaled(source: FinishedModel, size: int) -> FinishedModel:
    """The same network with its images enlarged or reduced to `size` pixels."""

    def resized(images: Tensor) -> Tensor:
        return functional.interpolate(images, (size, size), mode="bilinear", antialias=True)

    def calibration() -> list[Tensor]:
        batch = max(1, BATCH_PIXELS // size**2)
        return [part for images in source.calibration() for part in resized(images).split(batch)]

    return replace(source, example=resized(source.example), calibration=calibration)


@torch.no_grad()
def check_runs(model: nn.Module, images: Tensor, trained: int) -> None:
    """Try one image. Raises `StageError` where the network cannot run at its size."""
    try:
        model(images[:1])
    except FAILURES as error:
        reason, size = str(error).splitlines()[0].rstrip("."), images.shape[-1]
        raise StageError(
            f"This network cannot run at {size} pixels ({reason}). "
            f"Time it at the {trained} pixels it was trained at."
        ) from error


@dataclass(frozen=True)
class File:
    """A network's file; no path where a runtime takes what is in memory."""

    path: Path | None
    bytes: int | None
    notes: tuple[str, ...] = ()


def model_file(store: Store, found: TimedModel, runtime: str, folder: Path) -> File:
    """The point's own file where its stage has made it, else one written for the purpose.

    Waiting for those stages would let one format that cannot be written stop the timing of
    all others; at another size than the trained one there are none.
    """
    if not (name := RUNTIMES[runtime].format):
        return File(None, None)
    if found.size == found.trained and (path := _shipped(store, found.key, name)):
        return File(path, path.stat().st_size)
    path = folder / f"{found.key[:12]}.{FILE_FORMATS[name].suffix}"
    notes = FILE_FORMATS.load(name)().write(found.source, path)
    if FILE_FORMATS[name].calibrated:
        images = format_count(found.source.settings["images"], "training image")
        notes = [*notes, f"The timed {FILE_FORMATS[name].title} file has its ranges from {images}."]
    return File(path, path.stat().st_size, tuple(notes))


def _shipped(store: Store, key: str, name: str) -> Path | None:
    stage = export_stage(key, name)
    try:
        return store.file(stage.key, store.read(stage.key)["file"])
    except Missing:
        return None

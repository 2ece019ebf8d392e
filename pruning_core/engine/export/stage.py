"""The stage that makes one file of a finished point."""

from __future__ import annotations

import math
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pruning_core.common.formatting import format_count
from pruning_core.engine.criteria.sample import draw
from pruning_core.engine.data.augment import normalize
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export.file_writer import FileWriter, FinishedModel, Run
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import options, rebuild
from pruning_core.engine.stage_inputs import baseline_key, channels_removed, load_model, load_splits
from pruning_core.engine.structured.widths import resize, structure
from pruning_core.engine.training.evaluate import Evaluation, evaluate
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.storage.stage_context import Context, StageError
from pruning_core.storage.store import Store

PREDICTIONS_FILE = "predictions.csv"
EXAMPLES = 8
COMPARED = 64
BATCH, BATCH_PIXELS = 64, 64 * 64 * 64
# Of the largest score: what the order of a sum may change.
TOLERANCE = 1e-3


class _Opened(nn.Module):
    """What was read from a file, for `evaluate` to look at."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def forward(self, images: Tensor) -> Tensor:
        return self.run(images.contiguous())


def export(context: Context) -> dict[str, Any]:
    """Write the file, read it back, compare its scores, and look at the test images once."""
    settings, say = context.settings, context.progress.say
    about = FILE_FORMATS[settings["format"]]
    maker: FileWriter = FILE_FORMATS.load(settings["format"])()
    if about.package and find_spec(about.package) is None:
        message = f"{about.title} needs the package {about.package}: pip install {about.package}."
        raise StageError(message)
    devices.prepare(settings["threads"])
    source, splits, data = finished_model(context.store, context.row.parent, settings)
    path, begun = context.folder / f"model.{about.suffix}", time.perf_counter()
    say(0.1, "Writing")
    notes = maker.write(source, path)
    say(0.5, "Reading back")
    run = maker.open(source, path)
    images = comparison_images(splits, data)
    difference = largest_difference(source.model, run, images, about.exact)
    say(0.7, "Measuring")
    found = evaluate(_Opened(run), splits.test, data, "cpu")
    _write_answers(context.folder / PREDICTIONS_FILE, found, splits.test.labels.tolist())
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "difference": difference,
        "floor": maker.floor(path) if maker.floor else {},
        **found.figures(),
        "notes": [*notes, *_fewer(settings, splits)],
        "seconds": time.perf_counter() - begun,
    }


def finished_model(
    store: Store, key: str, settings: dict[str, Any]
) -> tuple[FinishedModel, Splits, dict[str, Any]]:
    """A finished point, its images, and how they were prepared.

    `settings` holds the `threads` to run it with and, to calibrate, `images` and `seed`.
    """
    root = baseline_key(store, key)
    base = store.settings(root)["settings"]
    data, size = base["data"], base["data"]["image_size"]
    splits = load_splits(store, store.settings(root)["parent"], data)
    batch = max(1, min(BATCH, BATCH_PIXELS // size**2))

    def calibration() -> list[Tensor]:
        drawn = draw(splits.train, settings["images"], settings["seed"], data, batch, "cpu")
        return [images for images, _ in drawn]

    def untouched() -> nn.Module:
        return rebuild(base["model"], base["classes"], size)

    model = load_model(store, key, base).eval()
    widths = structure(model) if channels_removed(store, key) else None
    return (
        FinishedModel(
            model,
            lambda: resize(untouched(), widths) if widths else untouched(),
            untouched,
            architecture_of(base),
            comparison_images(splits, data)[:EXAMPLES].clone(),
            calibration,
            settings,
        ),
        splits,
        data,
    )


def architecture_of(base: dict[str, Any]) -> dict[str, Any]:
    """How torchvision builds a baseline's network, and the stride of its first convolution."""
    model, size = base["model"], base["data"]["image_size"]
    kwargs = options(model["name"], base["classes"], model["width"], size)
    return {"name": model["name"], "stem_stride": model["stem_stride"], "options": kwargs}


def comparison_images(splits: Splits, data: dict[str, Any]) -> Tensor:
    """Some normalized training images (N, 3, H, W) to compare scores on."""
    there = torch.arange(min(COMPARED, len(splits.train)))
    return normalize(splits.train.batch(there), data["mean"], data["std"]).contiguous()


@torch.no_grad()
def largest_difference(model: nn.Module, run: Run, images: Tensor, exact: bool) -> float:
    """The largest difference of any score.

    Raises `StageError` where an exact file has one, and where any file's scores are no numbers.
    """
    wanted = model(images)
    found = float((run(images) - wanted).abs().max())
    if not math.isfinite(found):
        raise StageError("The file's scores are not finite numbers, so it is not offered.")
    if exact and not found <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise StageError(
            f"The file's scores differ from PyTorch's by up to {found:.3g}, so it is not offered."
        )
    return found


def _write_answers(path: Path, found: Evaluation, labels: list[int]) -> None:
    """A line a test image: its number, its class and the class it was given, from 0."""
    lines = [
        f"{i},{label},{said}"
        for i, (label, said) in enumerate(zip(labels, found.answers.tolist(), strict=True))
    ]
    path.write_text("\n".join(["image,label,answer", *lines]) + "\n", encoding="utf-8")


def _fewer(settings: dict[str, Any], splits: Splits) -> list[str]:
    """A note where there were not as many images to calibrate on as asked for."""
    asked, there = settings.get("images", 0), len(splits.train)
    if asked <= there:
        return []
    images = format_count(there, "training image")
    return [f"Calibrated on all {images}; {asked:,} were asked for."]

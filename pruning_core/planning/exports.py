"""One image, two models: the stage that asks both, and its answer as tables."""

from __future__ import annotations

from typing import Any

from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.stage import Stage

PREDICTIONS = "predict"
EXPORT = "export"
CALIBRATION_IMAGES = 512
CALIBRATION_SEED = 0


def ask_test_image(dense: str, point: str, number: int) -> Stage:
    """What two finished points, by their keys, say to a test image, numbered from 0."""
    return Stage(PREDICTIONS, point, {"dense": dense, "point": point, "test": number})


def ask_image(dense: str, point: str, digest: str, path: str) -> Stage:
    """The same for an image file with this SHA-256, kept at `path`."""
    return Stage(
        PREDICTIONS, point, {"dense": dense, "point": point, "image": digest}, {"path": path}
    )


def export_stage(point: str, name: str, threads: int = 1) -> Stage:
    """The stage that writes a finished point as a file, reads it back and measures it."""
    settings: dict[str, Any] = {"format": name, "threads": threads}
    if FILE_FORMATS[name].calibrated:
        settings |= {"images": CALIBRATION_IMAGES, "seed": CALIBRATION_SEED}
    return Stage(EXPORT, point, settings, threads=threads)

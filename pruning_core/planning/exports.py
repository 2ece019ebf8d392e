"""The stages of a finished model: its exported files, and its predictions for an image."""

from __future__ import annotations

from typing import Any

from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.stage import Stage

PREDICT = "predict"
EXPORT = "export"
CALIBRATION_IMAGES = 512
CALIBRATION_SEED = 0


def predict_test_image(dense: str, model: str, number: int) -> Stage:
    """The predictions of two finished models, given by key, for a test image, from 0."""
    return Stage(PREDICT, model, {"dense": dense, "point": model, "test": number})


def predict_image(dense: str, model: str, digest: str, path: str) -> Stage:
    """The predictions of two finished models for the image file at `path`.

    `digest` is the SHA-256 of the file; the path is no part of the key.
    """
    settings = {"dense": dense, "point": model, "image": digest}
    return Stage(PREDICT, model, settings, {"path": path})


def export_stage(model: str, name: str, threads: int = 1) -> Stage:
    """The stage that exports a finished model to a file format, reads it back and measures it."""
    settings: dict[str, Any] = {"format": name, "threads": threads}
    if FILE_FORMATS[name].calibrated:
        settings |= {"images": CALIBRATION_IMAGES, "seed": CALIBRATION_SEED}
    return Stage(EXPORT, model, settings, threads=threads)

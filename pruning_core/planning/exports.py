"""The stages of finished models: exported files, predictions, mask overlap."""

from __future__ import annotations

from dataclasses import replace

from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.measurement_types import (
    ExportSettings,
    MaskOverlapSettings,
    PredictionChangesSettings,
    PredictSettings,
)
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_types import stored

PREDICT = "predict"
PREDICTION_CHANGES = "prediction_changes"
EXPORT = "export"
MASK_OVERLAP = "mask_overlap"
CALIBRATION_IMAGES = 512
CALIBRATION_SEED = 0
SHOWN_IMAGES = 12  # of each direction of changed predictions
SHOWN_PIXELS = 64  # of the side of a shown image


def predict_test_image(dense: str, model: str, number: int) -> Stage:
    """The predictions of two finished models, given by key, for a test image, from 0."""
    return Stage(PREDICT, model, stored(PredictSettings(dense, model, test=number)))


def predict_image(dense: str, model: str, digest: str, path: str) -> Stage:
    """The predictions of two finished models for the image file at `path`.

    `digest` is the SHA-256 of the file; the path is no part of the key.
    """
    settings = stored(PredictSettings(dense, model, image=digest))
    return Stage(PREDICT, model, settings, {"path": path})


def prediction_changes(dense: str, model: str) -> Stage:
    """The stage that compares the predictions of two finished models on all test images."""
    settings = PredictionChangesSettings(dense, model, SHOWN_IMAGES, SHOWN_PIXELS)
    return Stage(PREDICTION_CHANGES, model, stored(settings))


def mask_overlap_stage(first: str, second: str) -> Stage:
    """The stage that compares the masks of two finished models, given by key."""
    return Stage(MASK_OVERLAP, "", stored(MaskOverlapSettings(first, second)))


def export_stage(model: str, name: str, threads: int = 1) -> Stage:
    """The stage that exports a finished model to a file format, reads it back and measures it."""
    settings = ExportSettings(name, threads)
    if FILE_FORMATS[name].calibrated:
        settings = replace(settings, images=CALIBRATION_IMAGES, seed=CALIBRATION_SEED)
    return Stage(EXPORT, model, stored(settings), threads=threads)

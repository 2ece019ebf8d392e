"""The passport of a file: the stage that packs it with all that proves what is said of it."""

from __future__ import annotations

from typing import Any

from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline, Reader, Stage
from pruning_core.storage.jobs import Job

BUNDLE = "bundle"
BUNDLE_FILE = "passport.zip"
IMAGES_FILE = "test_images.npz"
MAX_IMAGE_BYTES = 20_000_000
BUNDLE_FORMATS = tuple(name for name, about in FILE_FORMATS.items() if about.download)


def bundle_stage(job: Job, point: str, name: str, store: Reader) -> Stage:
    """The stage for a point's file, with the results of its job as far as they are finished.

    The spec and the label are in its key: both stand in the zip.
    """
    points = Outline.from_json(job.outline).models
    settings: dict[str, Any] = {
        "format": name,
        "point": point,
        "job": job.id,
        "label": job.label,
        "spec": job.spec,
        "outline": job.outline,
        "done": [key for key in dict.fromkeys(p.key for p in points) if store.exists(key)],
        "image_bytes": MAX_IMAGE_BYTES,
    }
    return Stage(BUNDLE, export_stage(point, name).key, settings)

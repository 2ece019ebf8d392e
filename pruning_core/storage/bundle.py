"""The stage that packs a reproducibility bundle, and its file names."""

from __future__ import annotations

from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.measurement_types import BundleSettings
from pruning_core.planning.stage import Outline, Reader, Stage
from pruning_core.planning.stage_types import stored
from pruning_core.settings.serialization import canonical_json, to_dict
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_record import Job

BUNDLE = "bundle"
BUNDLE_FILE = "bundle.zip"
IMAGES_FILE = "test_images.npz"
# Larger test images are a file of their own beside the zip.
MAX_IMAGE_BYTES = 20_000_000
BUNDLE_FORMATS = tuple(name for name, about in FILE_FORMATS.items() if about.opener)


def bundle_stage(job: Job, model_key: str, file_format: str, store: Reader) -> Stage:
    """The stage that packs an exported model with all that is needed to verify it.

    The bundle holds the results of the job as far as they are finished, its spec and its label,
    so all three are part of the key.
    """
    models = Outline.from_json(job.outline).models
    settings = BundleSettings(
        format=file_format,
        point=model_key,
        job=job.id,
        label=job.label,
        spec=canonical_json(to_dict(from_json(job.spec))),
        outline=job.outline,
        done=[key for key in dict.fromkeys(m.key for m in models) if store.exists(key)],
        image_bytes=MAX_IMAGE_BYTES,
    )
    return Stage(BUNDLE, export_stage(model_key, file_format).key, stored(settings))

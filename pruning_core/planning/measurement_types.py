"""Settings and results of the stages that measure or export a finished model."""

from __future__ import annotations

from dataclasses import dataclass, field

from pruning_core.planning.model_types import Accuracy
from pruning_core.planning.stage_types import Json


@dataclass(frozen=True)
class SensitivitySettings:
    """One layer or dependency group of the baseline, pruned alone to each of `sparsities`.

    Layers are scored by `criterion`, dependency groups by `channel_importance`. `images` are
    validation images, `calibration_images` training images in batches of `score_batch`.
    `correction_images` are training images with which least squares corrects the pruned layer.
    """

    layer: str
    sparsities: list[float]
    images: int
    seed: int
    device: str
    criterion: str | None = None
    granularity: str | None = None
    filter_dim: int | None = None
    filter_norm: str | None = None
    unit: str | None = None
    channel_importance: str | None = None
    calibration_images: int | None = None
    score_batch: int | None = None
    correction_images: int | None = None


@dataclass(frozen=True)
class SensitivityResult:
    """`rows` holds `sparsity`, `accuracy` and what else was measured at each sparsity.

    `size` counts the weights of the layer, or the channels of the group; `units` what can be
    pruned: units of the granularity, or channels. `of` is "channels" for a group. `macs` are the
    multiply-accumulates of the layer for one image, `model_macs` those of all convolution, linear
    and attention layers; both are 0 for a group.
    """

    size: int
    units: int
    rows: list[Json]
    of: str | None = None
    macs: int = 0
    model_macs: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MaskOverlapSettings:
    """The keys of two finished models."""

    first: str
    second: str


@dataclass(frozen=True)
class MaskOverlapResult:
    """A row of counts for each layer, from which the Jaccard index follows."""

    rows: list[Json]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PredictSettings:
    """The keys of two finished models, and a test image by number or an upload by its SHA-256."""

    dense: str
    point: str
    test: int | None = None
    image: str | None = None


@dataclass(frozen=True)
class PredictResult:
    """The predictions of both models.

    `pixels` is the model input, uint8 (size, size, 3), base64. `label` is None where it is
    unknown. `predictions` holds `probabilities` and `milliseconds` by "dense" and "point".
    """

    pixels: str
    size: int
    predictions: dict[str, Json]
    label: str | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class PredictionChangesSettings:
    """The keys of two finished models, and the limits of what the result shows.

    At most `images` images in each direction, of at most `pixels` pixels per side.
    """

    dense: str
    model: str
    images: int
    pixels: int


@dataclass(frozen=True)
class PredictionChangesResult:
    """The test images that only one of two models classifies correctly.

    `classes` holds for each class its `name`, its test `images`, and how many of them `dense` and
    `model` classify correctly. `lost` images are right only with the dense model, `gained` only
    with the other; `lost_images` and `gained_images` are those with the most confident wrong
    prediction, that one first: `number`, true `label`, the `dense` and the `model` prediction with
    their confidences, and the image as a `png`, base64.
    """

    classes: list[Json]
    lost: int
    gained: int
    lost_images: list[Json]
    gained_images: list[Json]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ExportSettings:
    """A file of the parent model; `images` and `seed` where the format is calibrated."""

    format: str
    threads: int
    images: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class ExportResult(Accuracy):
    """A file of the stage, its size, and what was measured with it.

    `validation_correct` holds a bit for each validation image, base64.
    `difference` is the largest absolute difference of the scores from those of the model.
    `processor` names what measured it with its instruction set.
    `order0_entropy` holds the bytes of the mask and of the values of a sparse file at their order-0
    entropy, which is no lower bound of its size.
    """

    file: str
    bytes: int
    difference: float
    order0_entropy: Json
    seconds: float
    processor: str
    versions: dict[str, str]
    validation_accuracy: float
    validation_images: int
    validation_correct: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class BundleSettings:
    """A model's file with the results of its job, as far as they are `done`.

    `point` is the key of the model; `image_bytes` is the size up to which the test images are
    packed into the bundle.
    """

    format: str
    point: str
    job: str
    label: str
    spec: str
    outline: str
    done: list[str]
    image_bytes: int


@dataclass(frozen=True)
class BundleResult:
    """The zip, and the file of the test images, which may be inside it."""

    file: str
    bytes: int
    images: str
    images_inside: bool
    manifest_sha256: str
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class LatencySettings:
    """`runs` are pairs of a model's key and a runtime, the dense model first.

    `references` are runtimes of other backends in which the same rounds time the dense model.
    For each batch size and number of threads there are at most `rounds` rounds, and none begins
    after `seconds`. `images` and `seed` calibrate int8 files. `image_size` 0 is the trained one.
    """

    runs: list[Json]
    batches: list[int]
    threads: list[int]
    image_size: int
    rounds: int
    seconds: float
    images: int
    seed: int
    machine: str
    references: list[str] | None = None


@dataclass(frozen=True)
class LatencyResult:
    """A row for each model, runtime, batch size and number of threads.

    `circumstances` are the machine, its processor and the versions of the packages. The samples
    are a file of the stage.
    """

    rows: list[Json]
    circumstances: Json
    seconds: float
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SparseSpeedupSettings:
    """Sparse against dense products of the parent's layers, with random masks."""

    image_size: int
    sparsities: list[float]
    kernels: list[str]
    rounds: int
    seconds: float
    seed: int
    machine: str


@dataclass(frozen=True)
class SparseSpeedupResult:
    """A row for each layer, kernel and sparsity, and rows for the sum over all layers."""

    rows: list[Json]
    image_size: int
    circumstances: Json
    seconds: float
    notes: list[str] = field(default_factory=list)

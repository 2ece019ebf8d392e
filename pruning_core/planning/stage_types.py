"""What each kind of stage takes and returns: one class of settings and one of results a kind.

A stage's settings and result are kept as JSON objects. `stored` writes them and `restored` reads
them; a field that is None does not apply to the stage and is left out, so a field that is added
later with None as default changes no key. A field of a result that is added later needs a default,
or a new version of its kind of stage. Times are in seconds, sizes in bytes, shares and
accuracies fractions from 0 to 1.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

Json = dict[str, Any]
T = TypeVar("T")
# The file of a trained model that holds the statistics of its layers.
LAYERS_FILE = "layers.json"


def stored(value: Any) -> Json:
    """Settings or a result as a JSON object, without the fields that do not apply."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return {name: item for name, item in fields.items() if item is not None}


def restored(cls: type[T], value: Json) -> T:
    """The settings or the result in a JSON object; entries of other names are ignored."""
    names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    return cls(**{name: item for name, item in value.items() if name in names})


@dataclass(frozen=True)
class ListFilesSettings:
    """The folder or zip of a user's images; `request` tells a new request from an earlier one."""

    path: str
    request: int


@dataclass(frozen=True)
class ListFilesResult:
    """What stands for the files of a user's images, without their content."""

    fingerprint: str


@dataclass(frozen=True)
class InspectDatasetSettings:
    """`fingerprint` stands for the files of own images, see `common.files.fingerprint`."""

    name: str
    split_seed: int
    fingerprint: str | None = None


@dataclass(frozen=True)
class InspectDatasetResult:
    """The classes, the images of each class, and the digest of the content.

    `split` is "given" or "seeded". `flip` says whether a mirrored image keeps its class. `images`
    is the number of the user's own images, `not_square` that of images that are not square.
    `value_range` is the lowest and highest value of 16-bit training images that use few bits.
    """

    digest: str
    classes: list[str]
    train_counts: list[int]
    test_counts: list[int]
    split: str
    flip: bool
    notes: list[str] = field(default_factory=list)
    images: int | None = None
    not_square: int | None = None
    value_range: list[int] | None = None


@dataclass(frozen=True)
class InspectModelSettings:
    """`model` holds a `ModelSpec`, its weights by content; `precision` only where it is tried."""

    model: Json
    classes: int
    image_size: int
    device: str
    machine: str
    torch: str
    precision: str | None = None


@dataclass(frozen=True)
class InspectModelResult:
    """The layers of a model, and its training speed on this machine.

    `unsupported` holds the reason by criterion or correction that cannot be used. `layers` holds
    the fields of `methods.layers.Layer`. `zeros` counts the zeros of an earlier pruning in the
    initial weights, by name of the layer.
    """

    device: str
    devices: list[str]
    weights: str
    layers: list[Json]
    parameters: int
    images_per_second: float
    unsupported: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    precision: str | None = None
    bf16_speedup: float | None = None
    zeros: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DatasetSettings:
    """Which images are decoded, by the digest of their content; a size of 0 means all.

    `resize` is a method other than a center crop. `value_range` are the values of 16-bit images
    that become 0 and 255.
    """

    digest: str
    image_size: int
    train_size: int
    test_size: int
    split_seed: int
    resize: str | None = None
    value_range: list[int] | None = None


@dataclass(frozen=True)
class DatasetResult:
    """How many images were decoded. The arrays are files of the stage."""

    train_images: int
    test_images: int
    classes: list[str]
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class ModelSettings:
    """What the settings of all kinds of model share: the epochs, and how they are computed."""

    epochs: float
    seed: int
    device: str
    threads: int
    precision: str


@dataclass(frozen=True)
class BaselineSettings(ModelSettings):
    """`data`, `model` and `train` hold a `DataSpec`, `ModelSpec` and `TrainSpec`.

    `keep_epoch` is the epoch whose weights are kept for rewinding. `keep_movement` asks for the
    accumulated weight movement. With `keep_zeros` the zeros of an earlier pruning in the initial
    weights stay zero, in this stage and in all that descend from it.
    """

    data: Json
    classes: int
    model: Json
    train: Json
    keep_epoch: int | None = None
    keep_movement: bool | None = None
    keep_zeros: bool | None = None


@dataclass(frozen=True)
class PrunedSettings(ModelSettings):
    """A pruning step to the sparsity `target` (as text, for its exact digits) and its training.

    `pruning` holds the settings of a `PruningSpec` that matter, `train` a `TrainSpec`, `recovery`
    the settings of a `RecoverySpec` that matter. The learning-rate schedule covers `lr_epochs`,
    of which `lr_from_epoch` are done; `lr_segments` holds the parts of a training with several
    schedules instead. `first_epoch` is the number of epochs before the stage where they decide
    how a fraction of an epoch is rounded to batches. `regrowth` is the share of weights that is
    dropped and regrown; a `dense` step restores all weights; `norms` is "zeroed" where batch norm
    is pruned with its filter.
    """

    target: str
    pruning: Json
    train: Json
    recovery: Json
    lr_from_epoch: float
    lr_epochs: float
    keep_optimizer: bool
    regrowth: float | None = None
    dense: bool | None = None
    norms: str | None = None
    keep_movement: bool | None = None
    first_epoch: float | None = None
    lr_segments: list[Json] | None = None


@dataclass(frozen=True)
class StructuredSettings(ModelSettings):
    """A channel removal to the ratio `target` (as text) and its training.

    `removal` holds the settings of a `StructuredSpec` that matter; it is empty where nothing is
    removed. The others are as in `PrunedSettings`.
    """

    target: str
    removal: Json
    pruning: Json
    train: Json
    recovery: Json
    lr_from_epoch: float
    lr_epochs: float
    first_epoch: float | None = None


@dataclass(frozen=True)
class CorrectionSettings(ModelSettings):
    """One training-free correction of a pruned model, on `images` training images."""

    correction: str
    images: int
    pruning: Json


@dataclass(frozen=True)
class Accuracy:
    """Accuracy on the test images with its 95 % interval; `right` of `test_images` are correct.

    `correct` holds a bit for each test image, base64; `loss` is the mean cross-entropy.
    """

    accuracy: float
    accuracy_low: float
    accuracy_high: float
    right: int
    test_images: int
    correct: str
    loss: float


@dataclass(frozen=True)
class ModelResult(Accuracy):
    """What is measured of a trained model. All kinds of model have these figures.

    Counts of weights: `prunable` of the prunable layers, `weights` of all convolution and
    linear layers, `parameters` of all parameters; `…_zeros` of them are zero.
    `validation_correct` holds a bit for each validation image, base64. `epochs` and `seconds` are
    those of this stage, `…_total` those since the baseline.
    `parts` is the number of parts that a batch was split into; `skipped` counts training steps
    with gradients that were not finite. `processor` names what computed the stage with its
    instruction set.
    """

    validation_accuracy: float
    validation_images: int
    validation_correct: str
    test_digest: str
    prunable: int
    prunable_zeros: int
    weights: int
    weights_zeros: int
    parameters: int
    nonzero: int
    dense_bytes: int
    sparse_bytes: int
    epochs: float
    seconds: float
    history: list[Json]
    parts: int
    skipped: int
    seed: int
    device: str
    threads: int
    precision: str
    machine: str
    processor: str
    versions: dict[str, str]
    notes: list[str] = field(default_factory=list)
    epochs_total: float = 0
    seconds_total: float = 0.0


@dataclass(frozen=True)
class BaselineResult(ModelResult):
    """The dense model of a seed. Its totals are 0: they count fine-tuning.

    `chance` is the accuracy of always predicting the largest class of the validation images.
    """

    chance: float = field(kw_only=True)


@dataclass(frozen=True)
class PrunedResult(ModelResult):
    """A pruned model. `returned` counts weights that were pruned before and are not any more."""

    returned: int = 0


@dataclass(frozen=True)
class CorrectionResult(ModelResult):
    """A pruned model after a training-free correction."""


@dataclass(frozen=True)
class StructuredResult(ModelResult):
    """A model after structured pruning.

    The counts of weights are those of the dense baseline, so that a removed weight counts as
    zero; `own_parameters` are those that remain. `macs` are multiply-accumulates for one image.
    """

    own_parameters: int = 0
    macs: int = 0
    dense_macs: int = 0


@dataclass(frozen=True)
class SensitivitySettings:
    """One layer or dependency group of the baseline, pruned alone to each of `sparsities`.

    Layers are scored by `criterion`, dependency groups by `channel_importance`. `images` are
    validation images, `calibration_images` training images in batches of `score_batch`.
    """

    layer: str
    sparsities: list[float]
    images: int
    threads: int
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


@dataclass(frozen=True)
class SensitivityResult:
    """`rows` holds `sparsity`, `accuracy` and what else was measured at each sparsity.

    `size` counts the weights of the layer, or the channels of the group; `units` what can be
    pruned: weights, kernels, filters or channels. `of` is "channels" for a group.
    """

    size: int
    units: int
    rows: list[Json]
    of: str | None = None
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
class ExportSettings:
    """A file of the parent model; `images` and `seed` where the format is calibrated."""

    format: str
    threads: int
    images: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class ExportResult(Accuracy):
    """A file of the stage, its size, and what was measured with it.

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


@dataclass(frozen=True)
class InspectGroupsSettings:
    """The dry run of structured pruning: `ratios` are texts, as in `StructuredSettings.target`."""

    model: Json
    classes: int
    image_size: int
    ratios: list[str]
    removal: Json
    torch_pruning: str


@dataclass(frozen=True)
class InspectGroupsResult:
    """The dependency groups, and what each ratio would keep.

    `dense` and the entries of `kept` hold `channels`, `parameters`, `macs` and `bytes`.
    `unprunable` lists the layers that cannot be pruned, with the reason. Widths are multiples of
    `step`.
    """

    groups: list[Json]
    unprunable: list[Json]
    dense: Json
    kept: list[Json]
    step: int
    notes: list[str] = field(default_factory=list)

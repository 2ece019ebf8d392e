"""Settings and results of the stages that train or correct a model."""

from __future__ import annotations

from dataclasses import dataclass, field

from pruning_core.planning.stage_types import Json

# The file of a trained model that holds the statistics of its layers.
LAYERS_FILE = "layers.json"


@dataclass(frozen=True)
class ModelSettings:
    """What the settings of all kinds of model share: the epochs, and how they are computed.

    Each of the `replicas` computes a part of every batch of the training.
    """

    epochs: float
    seed: int
    device: str
    precision: str
    replicas: int = field(default=1, kw_only=True)


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
    is pruned with its filter. `sensitivity` are the keys of the stages of a sensitivity analysis,
    from which the sparsities of the layers follow.
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
    sensitivity: list[str] | None = None


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
    precision: str
    machine: str
    processor: str
    versions: dict[str, str]
    notes: list[str] = field(default_factory=list)
    epochs_total: float = 0
    seconds_total: float = 0.0
    replicas: int = 1


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

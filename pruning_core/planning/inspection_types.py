"""Settings and results of the stages that inspect and read data set and model."""

from __future__ import annotations

from dataclasses import dataclass, field

from pruning_core.planning.stage_types import Json


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
    leave_out_broken: bool | None = None


@dataclass(frozen=True)
class InspectDatasetResult:
    """The classes, the images of each class, and the digest of the content.

    `split` is "given" or "seeded". `flip` says whether a mirrored image keeps its class. `images`
    is the number of the user's own images, `not_square` that of images that are not square.
    `value_range` is the lowest and highest value of 16-bit training images that use few bits.
    `broken` holds the reason by the name of each image that cannot be decoded, `left_out` the same
    for those that do not belong to the data set any more. `largest_crops` holds by name the largest
    size to which a center crop can bring a very long image.
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
    broken: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    largest_crops: dict[str, int] | None = None


MOST_EXAMPLES = 10


@dataclass(frozen=True)
class ExampleImagesSettings:
    """Which images are shown, by the digest of the content, and how they are prepared.

    `resize` and `value_range` are as in `DatasetSettings`.
    """

    digest: str
    image_size: int
    split_seed: int
    resize: str | None = None
    value_range: list[int] | None = None


@dataclass(frozen=True)
class ExampleImagesResult:
    """The labels and names of training images, by class; each is a file (see `example_file`)."""

    labels: list[int]
    names: list[str]


def example_file(number: int) -> str:
    """The name of the file of an example image, by its number from 0."""
    return f"{number}.png"


TRIAL_IMAGES = 16


@dataclass(frozen=True)
class InspectModelSettings:
    """`model` holds a `ModelSpec`, its weights by content; `precision` only where it is tried.

    `attempt` is the number of a further measurement of the speed, after one on a busy machine.
    """

    model: Json
    classes: int
    image_size: int
    device: str
    machine: str
    torch: str
    precision: str | None = None
    attempt: int | None = None


@dataclass(frozen=True)
class InspectModelResult:
    """The layers of a model, and its training speed on this machine.

    `unsupported` holds the reason by criterion or correction that cannot be used. `layers` holds
    the fields of `methods.layers.Layer`. `images_per_second` is the speed of the fastest training
    steps of the trial, in batches of `TRIAL_IMAGES`, of which each step takes `step_seconds` for
    any number of images; on a CPU in its time, without that of other programs. `typical_share` is
    the speed of the median step as a share of the fastest. `core_share` is the share of the time in
    which the trial had a core, None on a GPU; it ended at `measured`, in seconds since 1970.
    `zeros` counts the zeros of an earlier pruning in the
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
    step_seconds: float = 0.0
    typical_share: float = 1.0
    core_share: float | None = None
    measured: float = 0.0


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

"""What to run: frozen, validated settings, to and from JSON.

Sparsity, amounts and accuracies are fractions from 0 to 1. Every class is checked when
it is made; a wrong value raises `SpecError`, whose `field` names the setting.
"""

from __future__ import annotations

import json
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pruning_core.common.errors import SpecError, at_least, check, one_of
from pruning_core.methods.criteria import CRITERION_CHOICES
from pruning_core.methods.recovery import RECOVERIES, REWINDS
from pruning_core.settings.correction import LadderSpec, check_ladder
from pruning_core.settings.pruning import check_amounts, check_prune, check_scan
from pruning_core.settings.recovery import RecoverySpec, check_recovery, check_returning
from pruning_core.settings.sensitivity import GROUP, ScanSpec
from pruning_core.settings.serialization import build, canonical_json, to_dict
from pruning_core.settings.strategies import (
    SCHEDULES,
    IterativeSpec,
    OneShotSpec,
    check_epochs,
    check_whole_curve,
)
from pruning_core.settings.structured import StructuredSpec, check_structured

__all__ = ["SpecError", "canonical_json", "to_dict"]  # handed on from settings
__all__ += ["RECOVERIES", "REWINDS"]
__all__ += ["SCHEDULES", "IterativeSpec", "OneShotSpec", "ScanSpec"]  # from when and scan_spec

DATASETS = ("digits", "cifar10", "cifar100", "mnist", "fashion_mnist", "images")
AUGMENTATIONS = ("auto", "none", "crop", "crop_flip")
CRITERIA = tuple(CRITERION_CHOICES)
SCOPES = ("layer", "global", "erk", "lamp", "hand")
GRANULARITIES = ("weight", "kernel", "filter", "2:4", "4:8")
LAYER_CHOICES = ("all", "spared")
OPTIMIZERS = ("sgd", "adam", "adamw")
LR_SCHEDULES = ("constant", "step", "cosine", "one_cycle")
LR_SPANS = ("step", "chain", "whole")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("fp32", "bf16", "auto")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_LR = {"sgd": 0.02, "adam": 0.001, "adamw": 0.001}
# From random weights a higher rate is usual than in fine-tuning.
BASELINE_LR = {"sgd": 0.03, "adam": 0.001, "adamw": 0.001}

MAX_SEED = 2**63 - 1
MAX_FILE_BYTES = 10**7


@dataclass(frozen=True)
class DataSpec:
    """Which images, how many, how large. A size of 0 takes all there are."""

    name: str = "digits"
    path: str = ""
    image_size: int = 32
    train_size: int = 0
    test_size: int = 0
    validation: float = 0.1
    split_seed: int = 0
    augment: str = "auto"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        one_of("data.name", self.name, DATASETS)
        if self.name == "images":
            check(bool(self.path), "data.path", "own images need a folder or a .zip file.")
        check(
            28 <= self.image_size <= 224,
            "data.image_size",
            f"{self.image_size} pixels is outside 28 to 224.",
        )
        at_least("data.train_size", self.train_size, 0)
        at_least("data.test_size", self.test_size, 0)
        check(
            0 < self.validation <= 0.5,
            "data.validation",
            f"{self.validation} is not a fraction above 0 and up to 0.5.",
        )
        at_least("data.split_seed", self.split_seed, 0)
        one_of("data.augment", self.augment, AUGMENTATIONS)
        check(len(self.mean) == 3, "data.mean", "give three numbers, one for each colour.")
        check(len(self.std) == 3, "data.std", "give three numbers, one for each colour.")
        check(
            min(self.std) > 0,
            "data.std",
            f"{min(self.std):g} as a standard deviation is not above 0; colours are divided by it.",
        )


@dataclass(frozen=True)
class ModelSpec:
    """A torchvision classification model. `stem_stride=2` leaves the model as published."""

    name: str = "mobilenet_v2"
    width: float = 1.0
    stem_stride: int = 2
    weights: str = "none"

    def __post_init__(self) -> None:
        check(bool(self.name), "model.name", "name a torchvision classification model.")
        check(
            0.1 <= self.width <= 4,
            "model.width",
            f"{self.width} is outside 0.1 to 4 times the width.",
        )
        check(
            self.stem_stride in (1, 2),
            "model.stem_stride",
            f"{self.stem_stride} is not 1 or 2.",
        )
        check(bool(self.weights), "model.weights", "give none, pretrained or a file.")


@dataclass(frozen=True)
class TrainSpec:
    """How weights are trained: the optimizer and its learning-rate curve.

    After each epoch batch norm's statistics are estimated anew on `bn_images` training images
    (0 leaves the running ones). For the share `warm_up`
    of the curve's steps the rate rises linearly from 0 to the curve.
    """

    optimizer: str = "sgd"
    lr: float = 0.02
    lr_schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 0.0005
    clip_norm: float = 1.0
    batch_size: int = 64
    bn_images: int = 512
    label_smoothing: float = 0.0
    warm_up: float = 0.0

    def __post_init__(self) -> None:
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        check(0 < self.lr <= 10, "lr", f"{self.lr} is outside 0 to 10.")
        one_of("lr_schedule", self.lr_schedule, LR_SCHEDULES)
        check(0 <= self.momentum < 1, "momentum", f"{self.momentum} is not in [0, 1).")
        check(
            0 <= self.weight_decay <= 1, "weight_decay", f"{self.weight_decay} is outside 0 to 1."
        )
        check(0 <= self.clip_norm <= 1e6, "clip_norm", f"{self.clip_norm} is outside 0 to 1e6.")
        check(
            2 <= self.batch_size <= 4096, "batch_size", f"{self.batch_size} is outside 2 to 4096."
        )
        at_least("bn_images", self.bn_images, 0)
        for name in ("label_smoothing", "warm_up"):
            value = getattr(self, name)
            check(0 <= value < 1, name, f"{value} is not in [0, 1).")


@dataclass(frozen=True)
class PruneSpec:
    """What is removed: the score, where scores compete, and which layers take part.

    `by_hand` (texts `pattern=share`) is read by the scope `hand`, `norm` (a number or `inf`) and
    `dim` by the granularity `filter`. An entry of `spare` is a kind of layer or a shell pattern
    over parameter names. A criterion that looks at training images takes up to
    `score_images` of them.
    """

    criterion: str = "magnitude"
    scope: str = "layer"
    keep_floor: float = 0.05
    layers: str = "all"
    by_hand: tuple[str, ...] = ()
    granularity: str = "weight"
    norm: str = "2"
    dim: int = 0
    spare: tuple[str, ...] = ()
    score_images: int = 512

    def __post_init__(self) -> None:
        one_of("prune.criterion", self.criterion, CRITERIA)
        one_of("prune.scope", self.scope, SCOPES)
        check(0 <= self.keep_floor < 1, "prune.keep_floor", f"{self.keep_floor} is not in [0, 1).")
        one_of("prune.layers", self.layers, LAYER_CHOICES)
        one_of("prune.granularity", self.granularity, GRANULARITIES)
        check_prune(self)
        at_least("prune.score_images", self.score_images, 1)


@dataclass(frozen=True)
class Spec:
    """A whole comparison. `label` names it for people and changes no result."""

    data: DataSpec = field(default_factory=DataSpec)
    model: ModelSpec = field(default_factory=ModelSpec)
    baseline: TrainSpec = field(default_factory=lambda: TrainSpec(lr=0.1, lr_schedule="one_cycle"))
    baseline_epochs: int = 20
    prune: PruneSpec = field(default_factory=PruneSpec)
    one_shot: OneShotSpec = field(default_factory=OneShotSpec)
    iterative: IterativeSpec = field(default_factory=IterativeSpec)
    scan: ScanSpec = field(default_factory=ScanSpec)
    finetune: TrainSpec = field(default_factory=TrainSpec)
    recovery: RecoverySpec = field(default_factory=RecoverySpec)
    ladder: LadderSpec = field(default_factory=LadderSpec)
    structured: StructuredSpec = field(default_factory=StructuredSpec)
    lr_span: str = "step"
    seeds: tuple[int, ...] = (0,)
    device: str = "auto"
    precision: str = "fp32"
    baseline_threads: int = 2
    level_threads: int = 1
    label: str = ""

    def __post_init__(self) -> None:
        check_epochs("baseline_epochs", self.baseline_epochs)
        one_of("lr_span", self.lr_span, LR_SPANS)
        check(bool(self.seeds), "seeds", "give at least one seed.")
        check(len(set(self.seeds)) == len(self.seeds), "seeds", "the same seed stands there twice.")
        inside = min(self.seeds) >= 0 and max(self.seeds) <= MAX_SEED
        check(inside, "seeds", f"a seed is a whole number from 0 to {MAX_SEED}.")
        one_of("device", self.device, DEVICES)
        one_of("precision", self.precision, PRECISIONS)
        chains = [chain for chain in (self.iterative, self.structured) if chain.enabled]
        if self.lr_span == "whole":
            check_whole_curve(self.finetune.lr_schedule, max((c.tail for c in chains), default=0.0))
        check(1 <= self.baseline_threads <= 64, "baseline_threads", "give 1 to 64 threads.")
        check(1 <= self.level_threads <= 64, "level_threads", "give 1 to 64 threads.")
        check(
            bool(self.one_shot.amounts or chains or self.scan.enabled),
            "one_shot.amounts",
            "nothing to run: give one-shot amounts, or switch iterative pruning, removing channels "
            "or the scan on.",
        )
        check_recovery(
            self.recovery,
            self.baseline_epochs,
            self.model.weights,
            (self.baseline.optimizer, self.finetune.optimizer),
            self.lr_span if chains else "step",
        )
        if self.iterative.enabled:
            check_returning(self.recovery, self.iterative.schedule)
        check_structured(self.structured)
        check_scan(self.scan.enabled and self.scan.unit != GROUP, self.prune.granularity)
        check_ladder(self.ladder, self.one_shot.amounts)
        cuts = self.iterative.iterations * self.iterative.enabled
        chain = (cuts, self.iterative.target)
        check_amounts(self.prune.granularity, self.one_shot.amounts, chain)


def to_json(spec: Spec) -> str:
    """A spec as a file that people can read and edit."""
    return json.dumps(to_dict(spec), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Spec:
    """The spec in a JSON text. Raises `SpecError` where it is not one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SpecError("spec", f"this is not JSON ({error}).") from None
    return from_dict(value)


def from_dict(value: Any) -> Spec:
    """The spec in JSON values. Raises `SpecError` where they are not one."""
    return typing.cast(Spec, build(Spec, value))


def read(path: Path) -> Spec:
    """The spec in a file. Raises `SpecError` where the file cannot be read or is no spec."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        check(len(content) <= MAX_FILE_BYTES, "spec", f"{path} is too large to be a spec.")
        return from_json(content.decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError("spec", f"{path} cannot be read ({error}).") from None


def describe(spec: Spec) -> str:
    """A label for people, made from the settings, where none was given."""
    data = Path(spec.data.path).name if spec.data.name == "images" else spec.data.name
    return spec.label or f"{spec.model.name} on {data}"

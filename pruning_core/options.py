"""The options of `compare`: each names the settings it overrides.

A new option is one entry in `OPTIONS`; the parser, the help and the messages follow from it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pruning_core import spec as specs
from pruning_core.files import PLAIN_WEIGHTS, place
from pruning_core.presets import PRESETS
from pruning_core.prune_options import entries, imply
from pruning_core.settings import shortened
from pruning_core.spec import DEFAULT_LR, Spec, SpecError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Option:
    """An option: its flag, the dotted settings it sets, how its text is read, its help."""

    flag: str
    fields: tuple[str, ...]
    read: Callable[[str], Any]
    help: str
    metavar: str | None = None
    choices: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return self.flag.lstrip("-").replace("-", "_")


def number(text: str) -> float:
    """`0.9` as a float."""
    return _read(float, text, "a number")


def whole(text: str) -> int:
    """`5` as a whole number."""
    return _read(int, text, "a whole number")


def numbers(text: str) -> list[float]:
    """`0.3,0.5` as a list of floats; an empty text is an empty list."""
    return [number(part) for part in text.split(",")] if text.strip() else []


def integers(text: str) -> list[int]:
    """`0,1,2` as a list of whole numbers; an empty text is an empty list."""
    return [whole(part) for part in text.split(",")] if text.strip() else []


def normalization(text: str) -> list[list[float]]:
    """`MEAN,STD`: two numbers for all colours, or three means and then three deviations."""
    values = [number(part) for part in re.split(r"[,;/\s]+", text.strip(" ()[]"))]
    if len(values) == 2:
        return [[values[0]] * 3, [values[1]] * 3]
    if len(values) != 6:
        raise ValueError("give two numbers (MEAN,STD) or six (three means, three deviations).")
    return [values[:3], values[3:]]


def absolute(text: str) -> str:
    """A path that means the same in the worker's folder as in this one."""
    return str(place(text).absolute()) if text else ""


def weights(text: str) -> str:
    """`none`, `pretrained`, or a file."""
    return text if text in PLAIN_WEIGHTS else absolute(text)


def _read(kind: Callable[[str], Value], text: str, name: str) -> Value:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{shortened(text)} is not {name}.") from None


NAMED = tuple(name for name in specs.DATASETS if name != "images")

OPTIONS = (
    Option("--dataset", ("data.name",), str, "a data set by name", choices=NAMED),
    Option("--data", ("data.path",), absolute, "your own images: a folder or a .zip", "PATH"),
    Option("--image-size", ("data.image_size",), whole, "pixels a side, 28 to 224", "N"),
    Option("--train-size", ("data.train_size",), whole, "training images; 0 takes all", "N"),
    Option("--test-size", ("data.test_size",), whole, "test images; 0 takes all", "N"),
    Option(
        "--normalize",
        ("data.mean", "data.std"),
        normalization,
        "mean and deviation of the colours: two numbers or six (default: ImageNet's)",
        "MEAN,STD",
    ),
    Option("--augment", ("data.augment",), str, "changes to images", choices=specs.AUGMENTATIONS),
    Option("--model", ("model.name",), str, "a torchvision classification model", "NAME"),
    Option("--width", ("model.width",), number, "width multiplier, where there is one", "F"),
    Option("--stem-stride", ("model.stem_stride",), whole, "1 for images under 64 pixels", "1|2"),
    Option("--weights", ("model.weights",), weights, "none, pretrained or a file", "PATH"),
    Option("--batch-size", ("baseline.batch_size", "finetune.batch_size"), whole, "images", "N"),
    Option(
        "--baseline-epochs", ("baseline_epochs",), whole, "0 takes the weights as they are", "N"
    ),
    Option("--baseline-lr", ("baseline.lr",), number, "peak learning rate of the baseline", "F"),
    Option("--lr", ("finetune.lr",), number, "peak learning rate of fine-tuning", "F"),
    Option(
        "--optimizer",
        ("finetune.optimizer",),
        str,
        "for fine-tuning; takes its usual rate where --lr is not given",
        choices=specs.OPTIMIZERS,
    ),
    Option(
        "--lr-schedule",
        ("finetune.lr_schedule",),
        str,
        "learning-rate curve of fine-tuning",
        choices=specs.LR_SCHEDULES,
    ),
    Option("--lr-span", ("lr_span",), str, "what one curve covers", choices=specs.LR_SPANS),
    Option(
        "--warm-up", ("finetune.warm_up",), number, "share of the curve with a rising rate", "F"
    ),
    Option("--weight-decay", ("finetune.weight_decay",), number, "of fine-tuning", "F"),
    Option("--label-smoothing", ("finetune.label_smoothing",), number, "of fine-tuning", "F"),
    Option("--baseline-warm-up", ("baseline.warm_up",), number, "the same for the baseline", "F"),
    Option("--baseline-smoothing", ("baseline.label_smoothing",), number, "the same there", "F"),
    Option("--recovery", ("recovery.method",), str, "after a cut", choices=specs.RECOVERIES),
    Option("--rewind-epoch", ("recovery.rewind_epoch",), whole, "of the baseline; 0: start", "N"),
    Option("--distill-weight", ("recovery.distill_weight",), number, "of the teacher, 0 to 1", "F"),
    Option(
        "--distill-temperature",
        ("recovery.distill_temperature",),
        number,
        "divides the outputs of teacher and student",
        "F",
    ),
    Option("--amounts", ("one_shot.amounts",), numbers, "one-shot sparsities", "0.3,0.5"),
    Option("--target", ("iterative.target",), number, "iterative target sparsity", "F"),
    Option("--iterations", ("iterative.iterations",), whole, "iterative steps", "N"),
    Option(
        "--epochs",
        ("one_shot.epochs", "iterative.epochs"),
        number,
        "fine-tuning epochs after each cut, such as 0.5 or 2",
        "F",
    ),
    Option("--one-shot-epochs", ("one_shot.epochs",), number, "the same for one-shot alone", "F"),
    Option(
        "--schedule",
        ("iterative.schedule",),
        str,
        "how sparsity grows",
        choices=specs.SCHEDULES,
    ),
    Option(
        "--targets",
        ("iterative.targets",),
        numbers,
        "sparsity after each iterative step; brings --schedule list, --iterations and --target",
        "0.5,0.8",
    ),
    Option(
        "--tail",
        ("iterative.tail",),
        number,
        "epochs after the last iterative step, the rate falling from its peak to 0",
        "F",
    ),
    Option("--criterion", ("prune.criterion",), str, "what goes first", choices=specs.CRITERIA),
    Option(
        "--score-images",
        ("prune.score_images",),
        whole,
        "training images that a criterion looks at, at most",
        "N",
    ),
    Option("--scope", ("prune.scope",), str, "how amounts spread", choices=specs.SCOPES),
    Option(
        "--keep-floor",
        ("prune.keep_floor",),
        number,
        "kept of every layer (global, lamp, erk)",
        "F",
    ),
    Option("--layers", ("prune.layers",), str, "which are pruned", choices=specs.LAYER_CHOICES),
    Option(
        "--scan-sparsities",
        ("scan.sparsities",),
        numbers,
        "sparsities of the sensitivity scan",
        "0.5,0.9",
    ),
    Option("--scan-images", ("scan.images",), whole, "validation images of the scan", "N"),
    Option(
        "--spare",
        ("prune.spare",),
        entries,
        "kinds (depthwise, stem, classifier, linear, conv, attention) or patterns over "
        "parameter names that are not pruned",
        "stem,blocks.0.*",
    ),
    Option(
        "--by-hand",
        ("prune.by_hand",),
        entries,
        "share of each layer, for --scope hand; an amount scales the whole table",
        "features.*=0.9",
    ),
    Option(
        "--granularity",
        ("prune.granularity",),
        str,
        "what goes as one piece; 2:4 and 4:8 are one cut of 50 %% and need --no-iterative",
        choices=specs.GRANULARITIES,
    ),
    Option("--norm", ("prune.norm",), str, "of a filter's magnitudes: n or inf", "1|2|inf"),
    Option("--dim", ("prune.dim",), whole, "filters of outputs (0) or of inputs (1)", "0|1"),
    Option("--seed", ("seeds",), integers, "one seed or several", "0,1,2"),
    Option(
        "--bn-images",
        ("baseline.bn_images", "finetune.bn_images"),
        whole,
        "batch norm is estimated anew on, after each epoch; 0: not",
        "N",
    ),
    Option("--precision", ("precision",), str, "of training", choices=specs.PRECISIONS),
    Option("--device", ("device",), str, "where to train", choices=specs.DEVICES),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the preset, the spec file and every option."""
    parser.add_argument("--preset", choices=tuple(PRESETS), help="start from (quickstart)")
    parser.add_argument("--spec", type=Path, metavar="FILE", help="start from a spec file")
    parser.add_argument("--no-matched", action="store_true", help="leave the matched run out")
    parser.add_argument("--no-iterative", action="store_true", help="one-shot cuts only")
    for option in OPTIONS:
        parser.add_argument(
            option.flag,
            metavar=option.metavar,
            choices=option.choices,
            help=option.help,
        )


def spec_from(arguments: argparse.Namespace) -> Spec:
    """The spec that the options describe. Raises `SpecError`."""
    value = specs.to_dict(_start(arguments))
    for option in OPTIONS:
        text = getattr(arguments, option.name)
        if text is not None:
            _override(value, option, text)
    _follow_up(value, arguments)
    try:
        return specs.from_dict(value)
    except SpecError as error:
        raise SpecError(_given(arguments, error.field), error.message) from None


def _start(arguments: argparse.Namespace) -> Spec:
    """The spec that the options change: a file's, a preset's, or quickstart."""
    if arguments.spec is None:
        return PRESETS[arguments.preset or "quickstart"].spec
    if arguments.preset:
        raise SpecError("spec", "give a preset or a spec file, not both.")
    try:
        return specs.read(arguments.spec)
    except SpecError as error:
        where = "" if error.field == "spec" else f"{error.field} in {arguments.spec}: "
        raise SpecError("spec", where + error.message) from None


def flag_of(field: str) -> str:
    """The option that sets a field, or the field itself."""
    if field == "spec":
        return "--spec"
    return next((option.flag for option in OPTIONS if field in option.fields), field)


def _given(arguments: argparse.Namespace, field: str) -> str:
    """The option by which the user set a field; the field itself where none did."""
    flags = [
        option.flag
        for option in OPTIONS
        if field in option.fields and getattr(arguments, option.name) is not None
    ]
    return flags[-1] if flags else field


def _override(value: dict[str, Any], option: Option, text: str) -> None:
    try:
        read = option.read(text)
    except ValueError as error:
        raise SpecError(option.flag, str(error)) from None
    parts = read if option.name == "normalize" else [read] * len(option.fields)
    for field, part in zip(option.fields, parts, strict=True):
        *path, last = field.split(".")
        place = value
        for name in path:
            place = place[name]
        place[last] = part


def _follow_up(value: dict[str, Any], arguments: argparse.Namespace) -> None:
    """What one option implies for another setting."""
    if arguments.data is not None:
        value["data"]["name"] = "images"
    elif arguments.dataset:
        value["data"]["path"] = ""
    if (arguments.data or arguments.dataset) and arguments.augment is None:
        value["data"]["augment"] = "auto"
    if arguments.optimizer and arguments.lr is None:
        value["finetune"]["lr"] = DEFAULT_LR[arguments.optimizer]
    if arguments.no_matched:
        value["iterative"]["matched"] = False
    if arguments.no_iterative:
        value["iterative"]["enabled"] = False
    imply(value["prune"], vars(arguments))
    if value["iterative"]["targets"] and arguments.targets is not None:
        _follow_targets(value["iterative"], arguments)
    value["data"]["path"] = absolute(value["data"]["path"])
    value["model"]["weights"] = weights(value["model"]["weights"])
    changed = any(getattr(arguments, option.name) is not None for option in OPTIONS)
    if changed or arguments.no_matched or arguments.no_iterative:
        value["label"] = ""


def _follow_targets(chain: dict[str, Any], arguments: argparse.Namespace) -> None:
    """What typed targets say by themselves; what was given beside them must agree."""
    said = {"schedule": "list", "iterations": len(chain["targets"]), "target": chain["targets"][-1]}
    chain.update({n: v for n, v in said.items() if getattr(arguments, n) is None})

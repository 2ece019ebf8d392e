"""From the options of `compare` to a spec."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pruning_core.cli.option_table import OPTIONS, Option, absolute, weights
from pruning_core.cli.prune_options import imply, imply_pattern
from pruning_core.planning.presets import PRESETS
from pruning_core.settings import spec as specs
from pruning_core.settings.spec import BASELINE_LR, DEFAULT_LR, Spec, SpecError

SWITCHED_ON = ("ladder", "scan")
FLAGS = ("no_matched", "no_iterative", *SWITCHED_ON)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the preset, the spec file and every option."""
    parser.add_argument("--preset", choices=tuple(PRESETS), help="start from (quickstart)")
    parser.add_argument("--spec", type=Path, metavar="FILE", help="start from a spec file")
    parser.add_argument("--no-matched", action="store_true", help="leave the matched run out")
    parser.add_argument("--no-iterative", action="store_true", help="one-shot cuts only")
    parser.add_argument(
        "--ladder", action="store_true", help="add what comes back without training, in rungs"
    )
    parser.add_argument(
        "--scan", action="store_true", help="scan each layer too, as the command scan does alone"
    )
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
    if arguments.baseline_optimizer and arguments.baseline_lr is None:
        value["baseline"]["lr"] = BASELINE_LR[arguments.baseline_optimizer]
    if arguments.no_matched:
        value["iterative"]["matched"] = False
    if arguments.no_iterative:
        value["iterative"]["enabled"] = False
    for name in SWITCHED_ON:
        if getattr(arguments, name):
            value[name]["enabled"] = True
    if arguments.structured is not None:
        value["structured"]["enabled"] = bool(value["structured"]["amounts"])
    imply(value["prune"], vars(arguments))
    imply_pattern(value, vars(arguments))
    if value["iterative"]["targets"] and arguments.targets is not None:
        _follow_targets(value["iterative"], arguments)
    value["data"]["path"] = absolute(value["data"]["path"])
    value["model"]["weights"] = weights(value["model"]["weights"])
    changed = any(getattr(arguments, option.name) is not None for option in OPTIONS)
    if changed or any(getattr(arguments, name) for name in FLAGS):
        value["label"] = ""


def _follow_targets(chain: dict[str, Any], arguments: argparse.Namespace) -> None:
    """What typed targets say by themselves; what was given beside them must agree."""
    said = {"schedule": "list", "iterations": len(chain["targets"]), "target": chain["targets"][-1]}
    chain.update({n: v for n, v in said.items() if getattr(arguments, n) is None})

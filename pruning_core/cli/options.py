"""From the options of `compare` to a spec. The options are those of the settings' fields."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pruning_core.common.errors import Ref, SpecError, shortened
from pruning_core.common.files import PLAIN_WEIGHTS, expand_path
from pruning_core.methods.datasets import OWN_IMAGES
from pruning_core.methods.granularity import pattern_of, pattern_sparsity
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.methods.sparsity_schedules import CUSTOM
from pruning_core.planning.presets import PRESETS
from pruning_core.settings import spec as specs
from pruning_core.settings.fields import Field, fields_of
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

Value = TypeVar("Value", int, float)
# A setting that has an effect with one choice of another setting only implies that choice.
IMPLIED = {
    "pruning.layer_sparsities": ("pruning.allocation", "custom"),
    "pruning.filter_norm": ("pruning.granularity", "filter"),
    "pruning.filter_dim": ("pruning.granularity", "filter"),
}
# What a preset of an N:M pattern sets, unless one of these is given.
PATTERN_SETTINGS = (
    "one_shot.amounts",
    *(f"iterative.{n}" for n in ("target", "iterations", "custom_schedule", "schedule")),
)
COLORS = ("data.mean", "data.std")


@dataclass(frozen=True)
class Option:
    """An option of the command line, and the dotted names of the settings that it sets."""

    flag: str
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def first(self) -> Field:
        """The setting that describes the option."""
        return fields_of(Spec)[self.fields[0]]

    @property
    def is_switch(self) -> bool:
        return self.first.type is bool

    @property
    def help(self) -> str:
        about = self.first.about
        return about.shared_help if len(self.fields) > 1 and about.shared_help else about.help


@functools.cache
def options() -> tuple[Option, ...]:
    """Every option that sets settings, in the order of the fields.

    An option that several settings share comes before the settings' own options, which win.
    """
    members: dict[str, list[str]] = {}
    for name, field in fields_of(Spec).items():
        for flag in (field.shared_flag, field.flag):
            if flag:
                members.setdefault(flag, []).append(name)
    made = [Option(flag, tuple(names)) for flag, names in members.items()]
    # `--batch-size` is fine-tuning's own option, and sets the baseline's too.
    return tuple(sorted(made, key=lambda option: -len(option.fields)))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the preset, the spec file and every option."""
    parser.add_argument(
        "--preset", choices=tuple(PRESETS), help="start from a preset (default: quickstart)"
    )
    parser.add_argument("--spec", type=Path, metavar="FILE", help="start from a settings file")
    groups: dict[str, Any] = {}
    for option in sorted(options(), key=lambda o: list(fields_of(Spec)).index(o.fields[0])):
        title = option.first.section.title
        group = groups.setdefault(title, parser.add_argument_group(title))
        _add_option(group, option)


def _add_option(group: Any, option: Option) -> None:
    text = option.help.replace("%", "%%")
    if option.is_switch:
        off = "without it" if option.first.default else ""
        group.add_argument(
            option.flag,
            action="store_true",
            default=None,
            help=f"switch off: {text}" if off else text,
        )
        return
    about = option.first.about
    named = about.choices is not None and not about.free and option.first.type is str
    if option.flag == "--dataset":
        named_choices = tuple(n for n in option.first.choice_names if n != OWN_IMAGES)
    else:
        named_choices = option.first.choice_names
    group.add_argument(
        option.flag,
        metavar=None if named else _metavar(option.first),
        choices=named_choices if named else None,
        help=text,
    )


def _metavar(field: Field) -> str:
    if field.about.metavar:
        return field.about.metavar
    if field.about.choices is not None and not field.about.free:
        return "|".join(map(str, field.choice_names))
    kinds = {int: "N", float: "F", str: "TEXT"}
    kind = kinds.get(field.item_type, "TEXT")
    return f"{kind},{kind}" if field.is_list else kind


def given_settings(arguments: argparse.Namespace) -> dict[str, str]:
    """The option by which the user gave each setting, by the setting's dotted name."""
    found: dict[str, str] = {}
    for option in options():
        if getattr(arguments, option.name) is not None:
            found.update(dict.fromkeys(option.fields, option.flag))
    return found


def spec_from(arguments: argparse.Namespace) -> Spec:
    """The spec that the options describe. Raises `SpecError`."""
    value, given = to_dict(_start(arguments)), given_settings(arguments)
    for option in options():
        text = getattr(arguments, option.name)
        if text is not None:
            _override(value, option, text)
    _imply(value, given)
    if given:
        value["label"] = ""
    try:
        return specs.from_dict(value)
    except SpecError as error:
        raise error.for_field(given.get(error.field, error.field)) from None


def _start(arguments: argparse.Namespace) -> Spec:
    """The spec that the options change: a file's, a preset's, or quickstart."""
    if arguments.spec is None:
        return PRESETS[arguments.preset or "quickstart"].spec
    if arguments.preset:
        raise SpecError("spec", "give a preset or a settings file, not both.")
    try:
        return specs.read(arguments.spec)
    except SpecError as error:
        if error.field == "spec":
            raise
        place = f"{error.field} in {arguments.spec}"
        values = {**error.values, "_place": place}
        template = error.template if error.values else _escaped(error.template)
        raise SpecError("spec", f"{{_place}}: {template}", **values) from None


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _override(value: dict[str, Any], option: Option, text: Any) -> None:
    for name in option.fields:
        field = fields_of(Spec)[name]
        try:
            read = not field.default if option.is_switch else read_text(field, text)
        except ValueError as error:
            raise SpecError(option.flag, "{error}", error=error) from None
        _set(value, name, read)


def read_text(field: Field, text: str) -> Any:
    """The value of a setting in a text of the command line. Raises `ValueError`."""
    if field.is_list:
        parts = [part.strip() for part in text.split(",")] if text.strip() else []
        values = [_read_item(field, part) for part in parts]
        return values * 3 if field.name in COLORS and len(values) == 1 else values
    if field.name == "data.path":
        return _absolute(text)
    if field.name == "model.weights" and text not in PLAIN_WEIGHTS:
        return _absolute(text)
    return _read_item(field, text)


def _read_item(field: Field, text: str) -> Any:
    if field.item_type is float:
        if field.is_share and text.endswith("%"):
            return _number(float, text.removesuffix("%").strip(), "a number") / 100
        return _number(float, text, "a number")
    return _number(int, text, "a whole number") if field.item_type is int else text


def _number(kind: Callable[[str], Value], text: str, name: str) -> Value:
    try:
        return kind(text)
    except ValueError:
        raise ValueError(f"{shortened(text)} is not {name}.") from None


def numbers(text: str) -> list[float]:
    """`0.3,0.5` as a list of numbers, for an option of a command. Raises `ValueError`."""
    return [_number(float, part.strip(), "a number") for part in text.split(",") if part.strip()]


def integers(text: str) -> list[int]:
    """`0,1,2` as a list of whole numbers, for an option of a command. Raises `ValueError`."""
    return [
        _number(int, part.strip(), "a whole number") for part in text.split(",") if part.strip()
    ]


def _absolute(text: str) -> str:
    """A path that means the same in the worker's folder as in this one."""
    return str(expand_path(text).absolute()) if text else ""


def _set(value: dict[str, Any], name: str, to: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        value = value[part]
    value[last] = to


def _imply(value: dict[str, Any], given: dict[str, str]) -> None:
    """Set what the given settings imply for others. Raises `SpecError` where they contradict."""
    if "data.path" in given:
        value["data"]["name"] = OWN_IMAGES
    elif "data.name" in given:
        value["data"]["path"] = ""
    if ("data.path" in given or "data.name" in given) and "data.augmentation" not in given:
        value["data"]["augmentation"] = "auto"
    if "finetune.optimizer" in given and "finetune.lr" not in given:
        value["finetune"]["lr"] = OPTIMIZERS[value["finetune"]["optimizer"]].lr
    if "baseline.optimizer" in given and "baseline.lr" not in given:
        value["baseline"]["lr"] = OPTIMIZERS[value["baseline"]["optimizer"]].baseline_lr
    if "structured.ratios" in given:
        value["structured"]["enabled"] = bool(value["structured"]["ratios"])
    _imply_choices(value, given)
    _imply_pattern(value, given)
    if value["iterative"]["custom_schedule"] and "iterative.custom_schedule" in given:
        _imply_schedule(value["iterative"], given)
    value["data"]["path"] = _absolute(value["data"]["path"])
    if value["model"]["weights"] not in PLAIN_WEIGHTS:
        value["model"]["weights"] = _absolute(value["model"]["weights"])


def _imply_choices(value: dict[str, Any], given: dict[str, str]) -> None:
    for name, (other, needed) in IMPLIED.items():
        if name not in given:
            continue
        section, field = other.split(".")
        if other in given and value[section][field] != needed:
            raise SpecError(
                given[name],
                "it is used with {other} {needed} only; leave one of them out.",
                other=Ref(other),
                needed=needed,
            )
        value[section][field] = needed


def _imply_pattern(value: dict[str, Any], given: dict[str, str]) -> None:
    """With an N:M pattern and no sparsities given: its one pruning step, no iterative run."""
    granularity = value["pruning"]["granularity"]
    if "pruning.granularity" not in given or granularity not in GRANULARITY_NAMES:
        return
    if pattern_of(granularity) and not any(name in given for name in PATTERN_SETTINGS):
        value["one_shot"]["amounts"] = [0.0, pattern_sparsity(granularity)]
        value["iterative"]["enabled"] = False


def _imply_schedule(chain: dict[str, Any], given: dict[str, str]) -> None:
    """What a custom schedule says by itself; what was given beside it must agree."""
    schedule = chain["custom_schedule"]
    implied = {"schedule": CUSTOM, "iterations": len(schedule), "target": schedule[-1]}
    chain.update({n: v for n, v in implied.items() if f"iterative.{n}" not in given})


GRANULARITY_NAMES = fields_of(Spec)["pruning.granularity"].choice_names

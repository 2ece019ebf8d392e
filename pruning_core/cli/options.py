"""The options that set settings, derived from the settings' fields, and the spec they describe."""

from __future__ import annotations

import argparse
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruning_core.cli.arguments import number, read_share
from pruning_core.cli.implied_settings import set_implied
from pruning_core.common.errors import SpecError
from pruning_core.common.files import PLAIN_WEIGHTS, expand_path
from pruning_core.common.formatting import join_words
from pruning_core.methods.datasets import OWN_IMAGES
from pruning_core.planning.presets import PRESETS
from pruning_core.settings import spec as specs
from pruning_core.settings.fields import Field, Section, fields_of
from pruning_core.settings.relevance import unmet
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

# One number sets all three channels.
CHANNEL_SETTINGS = ("data.mean", "data.std")
# A longer list of choices is written into the help text, not in braces.
MAX_CHOICES_WIDTH = 40


@dataclass(frozen=True)
class Option:
    """An option of the command line, and the dotted names of the settings that it sets."""

    flag: str
    fields: tuple[str, ...]

    @property
    def name(self) -> str:
        """The attribute of the parsed arguments."""
        return self.flag.lstrip("-").replace("-", "_")

    @property
    def field(self) -> Field:
        """The setting that describes the option: the one whose own flag it is, else the first."""
        fields = [fields_of(Spec)[name] for name in self.fields]
        return next((field for field in fields if field.flag == self.flag), fields[0])

    @property
    def is_switch(self) -> bool:
        """Whether the option takes no value and sets the opposite of the default."""
        return self.field.type is bool

    @property
    def choices(self) -> tuple[str, ...] | None:
        """The values to choose from; None where other values are allowed."""
        field = self.field
        if field.about.choices is None or field.about.free or field.type is not str:
            return None
        # The user's own images are given by --data.
        return tuple(name for name in field.choice_names if name != OWN_IMAGES)

    @property
    def metavar(self) -> str | None:
        """The placeholder of the value; None shows the choices in braces."""
        field = self.field
        if self.choices:
            return None if len(",".join(self.choices)) <= MAX_CHOICES_WIDTH else "NAME"
        if field.about.metavar:
            return field.about.metavar
        if field.about.choices is not None and not field.about.free:
            return "|".join(map(str, field.choice_names))
        placeholder = {int: "N", float: "F"}.get(field.item_type, "TEXT")
        return f"{placeholder},{placeholder}" if field.is_list else placeholder

    @property
    def help(self) -> str:
        """The help of the setting, with the choices and with the options that this one sets."""
        about, field = self.field.about, self.field
        text = about.shared_help if len(self.fields) > 1 and about.shared_help else about.help
        if self.is_switch and field.default:
            text = f"Turn off: {field.title[0].lower()}{field.title[1:]}."
        if self.choices and self.metavar:
            text += f" One of {', '.join(self.choices)}."
        if field.name in CHANNEL_SETTINGS:
            text += " One number sets all three channels."
        flags = [fields_of(Spec)[name].flag or name for name in self.fields]
        others = [flag for flag in flags if flag != self.flag]
        if others:
            text += f" {'Also sets' if self.flag in flags else 'Sets'} {join_words(others)}."
        return text


@functools.cache
def options() -> tuple[Option, ...]:
    """Every option that sets settings.

    An option that sets several settings comes before the options of the single settings: these
    are applied later and win, in whatever order the user gives them.
    """
    fields_by_flag: dict[str, list[str]] = {}
    for name, field in fields_of(Spec).items():
        for flag in (field.shared_flag, field.flag):
            if flag:
                fields_by_flag.setdefault(flag, []).append(name)
    every_option = [Option(flag, tuple(names)) for flag, names in fields_by_flag.items()]
    return tuple(sorted(every_option, key=lambda option: -len(option.fields)))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Give a parser the preset, the settings file and every option, in a group for each section."""
    parser.usage = f"{parser.prog} [options]"
    parser.epilog = (
        "Fractions, such as sparsities, may be in percent: 0.9 or 90%. Lists are separated by "
        "commas. Settings without an option keep the value of the preset or the settings file."
    )
    text = "start from the settings of this preset (default: quickstart)"
    parser.add_argument("--preset", choices=tuple(PRESETS), help=text)
    text = "start from a settings file (JSON)"
    parser.add_argument("--spec", type=Path, metavar="FILE", help=text)
    order = list(fields_of(Spec))
    in_order = sorted(options(), key=lambda option: order.index(option.field.name))
    groups: dict[str, list[Option]] = {}
    for option in in_order:
        groups.setdefault(_group_title(option), []).append(option)
    # The settings of the whole run follow the sections.
    for title in sorted(groups, key=lambda title: title == Section().title):
        group = parser.add_argument_group(title)
        for option in groups[title]:
            _add_option(group, option)


def _group_title(option: Option) -> str:
    """The section of an option; `--baseline-epochs`, of no section, joins the baseline's."""
    sections = {field.section.flag_prefix: field.section for field in fields_of(Spec).values()}
    prefix = next((p for p in sections if p and option.flag.startswith(f"--{p}")), "")
    return sections[prefix].title if prefix else option.field.section.title


def _add_option(group: Any, option: Option) -> None:
    text = option.help.replace("%", "%%")
    if option.is_switch:
        group.add_argument(option.flag, action="store_true", default=None, help=text)
    else:
        group.add_argument(option.flag, metavar=option.metavar, choices=option.choices, help=text)


def given_settings(arguments: argparse.Namespace) -> dict[str, str]:
    """The option by which the user gave each setting, by the dotted name of the setting."""
    flags: dict[str, str] = {}
    for option in options():
        if getattr(arguments, option.name) is not None:
            flags.update(dict.fromkeys(option.fields, option.flag))
    return flags


def unused_options(arguments: argparse.Namespace, spec: Spec) -> list[str]:
    """A sentence on each given option that has no effect in the spec.

    An option that sets several settings is listed where none of them has an effect.
    """
    settings_by_flag: dict[str, list[str]] = {}
    for name, flag in given_settings(arguments).items():
        settings_by_flag.setdefault(flag, []).append(name)
    notes = []
    for flag, names in settings_by_flag.items():
        conditions = [unmet(name, spec) for name in names]
        if all(conditions) and (condition := conditions[0]):
            notes.append(f"{flag} has no effect here: it is used only {condition.text}.")
    return notes


def spec_from(arguments: argparse.Namespace) -> Spec:
    """The spec that the options describe. Raises `SpecError`."""
    value, given = to_dict(_start(arguments)), given_settings(arguments)
    for option in options():
        text = getattr(arguments, option.name)
        if text is not None:
            _override(value, option, text)
    set_implied(value, given)
    _make_paths_absolute(value)
    if given:
        value["label"] = ""
    try:
        return specs.from_dict(value)
    except SpecError as error:
        raise error.for_field(given.get(error.field, error.field)) from None


def _start(arguments: argparse.Namespace) -> Spec:
    """The spec that the options change: that of a file, of a preset, or of the quick start."""
    if arguments.spec is None:
        return PRESETS[arguments.preset or "quickstart"].spec
    if arguments.preset:
        raise SpecError("spec", "give a preset or a settings file, not both.")
    try:
        return specs.read(arguments.spec)
    except SpecError as error:
        if error.field == "spec":
            raise
        # In the file settings have their dotted names, so the message uses these, no flags.
        location = f"{error.field} in {arguments.spec}"
        message = "{location}: {problem}"
        raise SpecError("spec", message, location=location, problem=error.message) from None


def _override(value: dict[str, Any], option: Option, text: Any) -> None:
    for name in option.fields:
        field = fields_of(Spec)[name]
        try:
            given = not field.default if option.is_switch else read_text(field, text)
        except ValueError as error:
            raise SpecError(option.flag, "{error}", error=error) from None
        *path, last = name.split(".")
        section = functools.reduce(lambda inner, part: inner[part], path, value)
        section[last] = given


def read_text(field: Field, text: str) -> Any:
    """The value of a setting from its text; shares may be in percent. Raises `ValueError`."""
    if field.is_list:
        parts = [part.strip() for part in text.split(",")] if text.strip() else []
        values = [_read_item(field, part) for part in parts]
        return values * 3 if field.name in CHANNEL_SETTINGS and len(values) == 1 else values
    return _read_item(field, text)


def _read_item(field: Field, text: str) -> Any:
    if field.item_type is float:
        return read_share(text) if field.is_share else number(float, text)
    return number(int, text) if field.item_type is int else text


def _make_paths_absolute(value: dict[str, Any]) -> None:
    """Make paths absolute, because the worker runs in another folder."""
    value["data"]["path"] = _absolute(value["data"]["path"])
    if value["model"]["weights"] not in PLAIN_WEIGHTS:
        value["model"]["weights"] = _absolute(value["model"]["weights"])


def _absolute(text: str) -> str:
    return str(expand_path(text).absolute()) if text else ""

"""The settings of the Tune page as values by dotted name, and their link.

They are no `Spec`, because they may be incomplete or invalid: own images without a path are not a
spec yet. `resolve` makes valid values of them.
"""

from __future__ import annotations

import dataclasses
import json
import typing
from dataclasses import dataclass
from typing import Any

from pages.components import number_lists
from pruning_core.common.errors import SpecError
from pruning_core.common.files import PLAIN_WEIGHTS
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.sparsity_schedules import CUSTOM
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.settings.messages import for_page
from pruning_core.settings.serialization import NO_SUCH_SETTING, plain, to_dict
from pruning_core.settings.spec import Spec, from_dict

Values = dict[str, Any]

PLACEHOLDER_PATH = "."
LONGEST_PROBLEM = 300
# A custom schedule implies its number of steps and its target: all of them are valid, or none.
SCHEDULE_SETTINGS = tuple(
    f"iterative.{name}" for name in ("schedule", "custom_schedule", "iterations", "target")
)


@dataclass(frozen=True)
class Reading:
    """Values that make a spec, and an error for each that was left out."""

    values: Values
    errors: tuple[SpecError, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """The errors as sentences of limited length."""
        return tuple(limited(for_page(error)) for error in self.errors)


def limited(sentence: str) -> str:
    """A sentence of limited length: it may quote what was typed."""
    return sentence if len(sentence) <= LONGEST_PROBLEM else f"{sentence[:LONGEST_PROBLEM]}…"


def flat(value: dict[str, Any], prefix: str = "") -> Values:
    """`{"data": {"name": "digits"}}` as `{"data.name": "digits"}`."""
    values: Values = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            values.update(flat(inner, f"{prefix}{name}."))
        else:
            values[prefix + name] = inner
    return values


def nested(values: Values) -> dict[str, Any]:
    """The inverse of `flat`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        *path, last = name.split(".")
        section = result
        for part in path:
            section = section.setdefault(part, {})
        section[last] = value
    return result


DEFAULTS = flat(to_dict(QUICKSTART))
PRESET_VALUES = {preset.spec.label: flat(to_dict(preset.spec)) for preset in PRESETS.values()}


def lacks_images(values: Values) -> bool:
    """Whether own images are chosen, but no folder or file yet."""
    user_sets = [name for name, dataset in DATASETS.items() if dataset.user_images]
    return values["data.name"] in user_sets and not values["data.path"]


def paths_of(values: Values) -> dict[str, str]:
    """The files and folders that the settings name, by setting."""
    weights = values["model.weights"]
    named = {
        "data.path": values["data.path"],
        "model.weights": "" if weights in PLAIN_WEIGHTS else weights,
    }
    return {name: path for name, path in named.items() if path}


def spec_of(values: Values) -> Spec:
    """The spec of these values; own images may still lack a path. Raises `SpecError`."""
    path = {"data.path": PLACEHOLDER_PATH} if lacks_images(values) else {}
    return from_dict(nested({**values, **path}))


def unchecked(cls: Any, value: dict[str, Any]) -> Any:
    """A settings object without any check, so that conditions can be asked of invalid settings."""
    settings = object.__new__(cls)
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        inner = value[field.name]
        inner = unchecked(hints[field.name], inner) if isinstance(inner, dict) else inner
        object.__setattr__(settings, field.name, inner)
    return settings


def resolve(given: Values, base: Values, *, all_errors: bool = True) -> Reading:
    """As many of the given values as make a spec together; `base` replaces the others.

    Without `all_errors` a section reports its first error only: the value that replaces the wrong
    one may contradict other settings, which is no error of the person who chose them.
    """
    values, errors, reported = {**base, **given}, list[SpecError](), set[str]()
    # Compared as text, because False equals 0 in Python.
    changed = {name for name in given if json.dumps(given[name]) != json.dumps(base[name])}
    while changed and (error := _error_of(values)):
        section = error.field.partition(".")[0]
        if all_errors or section not in reported:
            errors.append(error)
        reported.add(section)
        wrong = _wrong_settings(error, values, base, changed)
        values.update({name: base[name] for name in wrong})
        changed -= wrong
    path = {"data.path": ""} if lacks_images(values) else {}
    return Reading({**flat(to_dict(spec_of(values))), **path}, tuple(errors))


def _error_of(values: Values) -> SpecError | None:
    try:
        spec_of(values)
    except SpecError as error:
        return error
    return None


def _wrong_settings(error: SpecError, values: Values, base: Values, changed: set[str]) -> set[str]:
    """The setting that the error names; else the only one that causes it; else all that changed."""
    custom = error.field in SCHEDULE_SETTINGS and values["iterative.schedule"] == CUSTOM
    if custom and (together := changed & set(SCHEDULE_SETTINGS)):
        return together
    if error.field in changed:
        return {error.field}
    single = (n for n in sorted(changed) if _error_of({**values, n: base[n]}) is None)
    return {name} if (name := next(single, None)) else set(changed)


def params(spec: Spec) -> dict[str, str]:
    """The settings that differ from the quick start, as URL parameters."""
    return link_of(flat(to_dict(spec)))


def link_of(values: Values) -> dict[str, str]:
    """The values that differ from the quick start, as URL parameters.

    A changed preset has no label, and the link needs none to say so.
    """
    changed = {name: value for name, value in values.items() if value != DEFAULTS[name]}
    if changed.get("label") == "":
        del changed["label"]
    return {name: v if isinstance(v, str) else _json_text(v) for name, v in changed.items()}


def _json_text(value: Any) -> str:
    return json.dumps(plain(value) if isinstance(value, float) else value)


def from_params(given: dict[str, str]) -> Reading:
    """The values of URL parameters; the quick start replaces missing and invalid ones."""
    values: Values = {}
    errors = []
    for name, text in given.items():
        if name not in DEFAULTS:
            unknown = number_lists.quoted(name).strip("'")
            errors.append(SpecError(unknown, NO_SUCH_SETTING))
            continue
        try:
            values[name] = text if isinstance(DEFAULTS[name], str) else json.loads(text)
        except (ValueError, RecursionError):
            errors.append(SpecError(name, "{text} cannot be read.", text=number_lists.quoted(text)))
    resolved = resolve(values, DEFAULTS)
    return Reading(without_old_label(resolved.values), (*errors, *resolved.errors))


def without_old_label(values: Values) -> Values:
    """A preset that was changed loses the name of the preset."""
    preset = PRESET_VALUES.get(values["label"], values)
    return values if values == preset else {**values, "label": ""}

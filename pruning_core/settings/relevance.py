"""Which settings have an effect in a spec. One predicate serves the note of the command line, the
disabled widget of a page, and the key of a stage.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pruning_core.settings.fields import Condition, fields_of
from pruning_core.settings.serialization import keyed
from pruning_core.settings.spec import Spec


def unmet(name: str, spec: Spec) -> Condition | None:
    """The first condition of a setting that does not hold; None where it has an effect."""
    conditions = fields_of(Spec)[name].conditions
    return next((condition for condition in conditions if not condition.holds(spec)), None)


def is_read(name: str, spec: Spec) -> bool:
    """Whether a setting, by its dotted name, has an effect in a spec."""
    return unmet(name, spec) is None


def read_settings(spec: Spec, section: str) -> dict[str, Any]:
    """The settings of a section that enter a key, as JSON values by name.

    Those are the settings that have an effect and are not at their neutral value.
    """
    values = keyed(getattr(spec, section))
    return {name: value for name, value in values.items() if is_read(f"{section}.{name}", spec)}


def notes_on_unread(names: Iterable[str], spec: Spec) -> list[str]:
    """A sentence on each option, of the given settings, that has no effect.

    An option that sets several fields is noted where none of them has an effect.
    """
    fields = fields_of(Spec)
    flags: dict[str, list[str]] = {}
    for name in names:
        flags.setdefault(fields[name].flag or name, []).append(name)
    notes = []
    for flag, members in flags.items():
        conditions = [unmet(name, spec) for name in members]
        if all(conditions) and (condition := conditions[0]):
            notes.append(f"{flag} has no effect here: it is used only {condition.text}.")
    return notes


def active_settings(spec: Spec) -> dict[str, Any]:
    """The settings that can change a result of the spec, by dotted name.

    These are the settings that have an effect and are not at their neutral value. The label
    changes no result.
    """
    values = {name: _value(spec, name) for name in fields_of(Spec)}
    return {
        name: value
        for name, value in values.items()
        if name != "label" and is_read(name, spec) and value != fields_of(Spec)[name].about.neutral
    }


def _value(spec: Any, name: str) -> Any:
    for part in name.split("."):
        spec = getattr(spec, part)
    return spec

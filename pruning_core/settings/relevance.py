"""Which settings have an effect in a spec.

One predicate serves the note of the command line, the disabled widget of a page, the key of a
stage and the id of a job. The fields are those of the spec's own class, so that a class derived
from `Spec` may have more.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from pruning_core.settings.conditions import ANY_SCORES, BASELINE_EPOCHS, SCORES, TRAINS
from pruning_core.settings.fields import METADATA, Condition, Field, Setting, fields_of
from pruning_core.settings.serialization import keyed
from pruning_core.settings.spec import Spec

# When sections and settings are used that have no condition of their own: they enter keys always,
# so a condition would change the keys of stages that are stored.
OFFERED = {
    "baseline": BASELINE_EPOCHS,
    "recovery.method": TRAINS,
    "pruning.criterion": SCORES,
    "pruning.layers": ANY_SCORES,
    "pruning.exclude": ANY_SCORES,
}


def _fields(spec: Any) -> dict[str, Field]:
    return fields_of(type(spec))


def unmet(name: str, spec: Spec) -> Condition | None:
    """The first condition of a setting that does not hold; None where it has an effect."""
    conditions = _fields(spec)[name].conditions
    return next((condition for condition in conditions if not condition.holds(spec)), None)


def has_effect(name: str, spec: Spec) -> bool:
    """Whether a setting, by its dotted name, has an effect in a spec."""
    return unmet(name, spec) is None


def is_offered(name: str, spec: Spec) -> bool:
    """Whether a page offers a setting: it has an effect and, if in `OFFERED`, is used."""
    conditions = (OFFERED[key] for key in (name.partition(".")[0], name) if key in OFFERED)
    return has_effect(name, spec) and all(condition.holds(spec) for condition in conditions)


def effective_settings(spec: Spec, section: str) -> dict[str, Any]:
    """The settings of a section that enter a key, as JSON values by name.

    These are the settings that have an effect and are not at their neutral value.
    """
    values = keyed(getattr(spec, section))
    return {name: value for name, value in values.items() if has_effect(f"{section}.{name}", spec)}


def keyed_for(spec: Spec, settings: Any) -> dict[str, Any]:
    """A settings object that enters a key as a whole, such as a `TrainSpec`, as JSON values.

    Left out are settings at their neutral value, and settings whose own `read_when` does not
    hold: a setting that is added later must not change the keys of specs that do not use it.
    The conditions of the section do not count, because the object may come from another one:
    with learning-rate rewinding, fine-tuning has the baseline's learning rates.
    """
    fields = dataclasses.fields(settings)
    abouts: dict[str, Setting | None] = {f.name: f.metadata.get(METADATA) for f in fields}
    values = keyed(settings)
    return {
        name: value
        for name, value in values.items()
        if (about := abouts[name]) is None or about.read_when is None or about.read_when.holds(spec)
    }


def active_settings(spec: Spec) -> dict[str, Any]:
    """The settings that can change a result of the spec, by dotted name.

    These are the settings that have an effect and are not at their neutral value. The label
    changes no result.
    """
    return {
        name: value
        for name, field in _fields(spec).items()
        if name != "label"
        and has_effect(name, spec)
        and (value := _value(spec, name)) != field.about.neutral
    }


def _value(spec: Any, name: str) -> Any:
    for part in name.split("."):
        spec = getattr(spec, part)
    return spec

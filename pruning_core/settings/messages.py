"""Errors as sentences: for the command line, and for a page.

A `SpecError` carries its values, which each side writes in its own way. On the command line a
share is `0.5` and a setting is its flag; on a page a share is `50 %` and a setting is its title.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pruning_core.common.errors import NO_REASON, Choice, Ref, Share, SpecError, plain_value
from pruning_core.common.formatting import trimmed
from pruning_core.common.paths import shown_path
from pruning_core.settings.fields import Field, fields_of
from pruning_core.settings.spec import Spec

# Names in errors that are no settings of a spec.
OTHER_TITLES = {
    "image": "Your image",
    "amount": "Sparsity",
    "spec": "Settings file",
    "name": "Name of the run",
    "tag": "Tag",
    "notes": "Notes",
}


def field_of(name: str) -> Field | None:
    """The description of a setting by its dotted name; None where it is no setting."""
    return fields_of(Spec).get(name)


def title(name: str) -> str:
    """The title of a setting; the name itself where it is no setting."""
    field = field_of(name)
    return field.title if field else OTHER_TITLES.get(name, name)


def flag(name: str) -> str:
    """The option of a setting; the name itself where it has none."""
    field = field_of(name)
    if name == "spec":
        return "--spec"
    return (field.flag if field else None) or name


def percent(share: float) -> str:
    """A share as a page shows it: `50 %`."""
    return f"{trimmed(100 * share, 4)} %"


def _page_value(value: Any) -> str:
    if isinstance(value, Share):
        return percent(value.value)
    if isinstance(value, Ref):
        return f"'{title(value.field)}'"
    if isinstance(value, Choice):
        field = field_of(value.field)
        return f"'{field.choice_title(value.name)}'" if field else value.name
    return str(value)


def _command_line_value(value: Any) -> str:
    return flag(value.field) if isinstance(value, Ref) else plain_value(value)


def for_page(error: SpecError) -> str:
    """An error as a page shows it: the setting's title, and shares in percent."""
    text = error.render(_page_value)
    return f"{title(error.field)}: {text}" if error.field else text[:1].upper() + text[1:]


def for_command_line(error: SpecError, option: str = "") -> str:
    """An error as the command line shows it, with the option that the user gave, if any."""
    return f"{option or flag(error.field)}: {error.render(_command_line_value)}"


def failure_reason(field: str, error: str, write: Callable[[SpecError], str]) -> str:
    """Why a stage or a job failed, from what the queue holds of the failure.

    A wrong setting has a `field` and a `SpecError` as JSON, which `write` turns into a sentence.
    Otherwise `error` is a sentence or a traceback, of which the last line is returned.
    """
    if field:
        return write(SpecError.from_json(field, error))
    lines = error.strip().splitlines()
    return shown_path(lines[-1]) if lines else NO_REASON

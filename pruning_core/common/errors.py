"""The error for a wrong setting, and the values that its message shows."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pruning_core.common.paths import shown_path
from pruning_core.common.terminal import one_line

SHOWN_CHARACTERS = 80
# The reason of a failure that left neither a message nor a traceback.
NO_REASON = "No reason was recorded."
VALUE_CHARACTERS, PATH_CHARACTERS, MESSAGE_CHARACTERS = 60, 250, 1000
HIGHEST = 10**12


@dataclass(frozen=True)
class Share:
    """A fraction from 0 to 1 in a message: `0.5` on the command line, `50 %` on a page."""

    value: float

    @classmethod
    def at_most(cls, highest: float) -> Share:
        """A limit, rounded down to a hundredth of a percent: what a message offers is accepted."""
        rounded = round(highest, 4)
        return cls(rounded if rounded <= highest else round(rounded - 1e-4, 4))


@dataclass(frozen=True)
class Ref:
    """A setting in a message, by its dotted name: its flag on the command line, else its title."""

    field: str


@dataclass(frozen=True)
class Choice:
    """A choice of a setting in a message: its name on the command line, its title on a page."""

    field: str
    name: str


KINDS: dict[str, type] = {"share": Share, "ref": Ref, "choice": Choice}
Render = Callable[[Any], str]


class SpecError(ValueError):
    """A setting is wrong.

    `field` is its dotted name, such as `one_shot.amounts`. `template` is a sentence with a
    `{name}` for each of the `values`, which may be `Share`, `Ref`, `Choice`, texts and numbers.
    A template without values is the sentence itself, so it may contain braces.
    `settings.messages` writes it for the command line and for a page.
    """

    def __init__(self, field: str, template: str, **values: Any) -> None:
        # A name that the user wrote into a settings file may be any text.
        self.field = _shortened_word(one_line(field))
        self.template = template
        self.values = values
        super().__init__(f"{self.field}: {self.message}")

    @property
    def message(self) -> str:
        """The sentence with the names of a settings file."""
        return self.render(plain_value)

    def render(self, render: Render) -> str:
        """The sentence, with the text that `render` gives for each value."""
        if not self.values:
            return brief(shown_path(self.template))
        texts = {name: shown_path(render(value)) for name, value in self.values.items()}
        return brief(self.template.format(**texts))

    def for_field(self, field: str) -> SpecError:
        """The same error of another field."""
        return SpecError(field, self.template, **self.values)

    def to_json(self) -> str:
        """The sentence and its values as text, for the queue."""
        values = {name: _encoded(value) for name, value in self.values.items()}
        return json.dumps({"template": self.template, "values": values})

    @classmethod
    def from_json(cls, field: str, text: str) -> SpecError:
        """The error that `to_json` wrote; any other text is the sentence itself."""
        try:
            body = json.loads(text)
            values = {name: _decoded(value) for name, value in body["values"].items()}
            return cls(field, body["template"], **values)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(field, text)


def plain_value(value: Any) -> str:
    """A value of a message, with the names of a settings file."""
    if isinstance(value, Share):
        return f"{value.value:g}"
    if isinstance(value, Ref):
        return value.field
    return value.name if isinstance(value, Choice) else str(value)


def _encoded(value: Any) -> Any:
    for kind, cls in KINDS.items():
        if isinstance(value, cls):
            return {kind: list(dataclasses.asdict(value).values())}  # type: ignore[call-overload]
    return value if isinstance(value, int | float) else str(value)


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        ((kind, arguments),) = value.items()
        return KINDS[kind](*arguments)
    return value


def check(ok: bool, field: str, template: str, **values: Any) -> None:
    """Raise `SpecError` unless `ok`."""
    if not ok:
        raise SpecError(field, template, **values)


def one_of(field: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuse a text that is none of the choices."""
    check(
        value in choices,
        field,
        "{value} is not one of {choices}.",
        value=repr(value),
        choices=", ".join(choices),
    )


def at_least(field: str, value: float, low: float) -> None:
    """Refuse a number below `low`, and one too large for the number fields of a browser."""
    check(value >= low, field, f"{value} is too small; give {low} or more.")
    too_large = isinstance(value, int) and value > HIGHEST
    check(not too_large, field, f"{value} is too large; give {HIGHEST:,} at most.")


def once(field: str, values: Sequence[Any], *, shares: bool = False) -> None:
    """Refuse a list in which a value appears twice; `shares` are written as `Share`."""
    repeated = next((value for value, count in Counter(values).items() if count > 1), None)
    if repeated is not None:
        value = Share(repeated) if shares else repeated
        raise SpecError(field, "{value} is listed twice.", value=value)


def shortened(value: object) -> str:
    """A value as a message shows it: text in quotes, and of limited length."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def brief(message: str) -> str:
    """A message of one line in which no value, path or sentence exceeds its limit of characters.

    Names in it come from the user's files: their line breaks and control characters are escaped.
    """
    words = map(_shortened_word, one_line(message).split(" "))
    return _limited(" ".join(words), MESSAGE_CHARACTERS)


def _shortened_word(word: str) -> str:
    return _limited(word, PATH_CHARACTERS if os.sep in word else VALUE_CHARACTERS)


def _limited(text: str, limit: int) -> str:
    """The text; where it is too long, its beginning and its end."""
    half = (limit - 3) // 2
    return text if len(text) <= limit else f"{text[:half]}...{text[-half:]}"

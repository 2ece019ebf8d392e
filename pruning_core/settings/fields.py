"""Settings that describe themselves: everything about a setting follows from one description.

`setting(...)` is `dataclasses.field` with metadata. From it follow the check of a value
(`check_fields`), the option of the command line, the widget of a page with its help and bounds,
percent entry, relevance (`settings.relevance`) and the Guide's row. A field may live in any
settings dataclass that `Spec` holds; `fields_of(Spec)` finds it.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import HIGHEST, Share, SpecError
from pruning_core.common.paths import shown_path
from pruning_core.methods.registry import Method

METADATA, SECTION = "setting", "section"
NO_VALUE = object()
SHARE = "share"


@dataclass(frozen=True)
class Condition:
    """When a setting has an effect.

    `holds` takes a `Spec`. `text` completes "has an effect only", with a `{field}` for each
    setting that it names and `{field=value}` for a choice of it.
    """

    holds: Callable[[Any], bool]
    text: str


@dataclass(frozen=True)
class Setting:
    """The description of a field.

    `unit` is "share" for fractions that pages show in percent, else a noun such as "epochs".
    Bounds are inclusive (`minimum`, `maximum`) or exclusive (`above`, `below`); of a tuple they
    hold for each item. `choices` lists the allowed values, or maps them to titles; `free` allows
    other values too.
    `flag` is the option of the command line; "" derives it from the field, None leaves it out.
    `shared_flag` is an option that sets several fields; a field's own flag wins over it.
    `step` and `slider` (low, high) shape the widget. An empty number field means 0 where
    `none_is_zero`.

    `neutral` is the value at which the setting changes nothing, where it has one. At this value
    it enters no key of a stage and no id of a job, so adding a setting with a neutral default
    changes neither.
    """

    title: str
    help: str
    flag: str | None = ""
    shared_flag: str = ""
    shared_help: str = ""
    unit: str = ""
    minimum: float | None = None
    above: float | None = None
    maximum: float | None = None
    below: float | None = None
    choices: Mapping[Any, Any] | tuple[Any, ...] | None = None
    free: bool = False
    metavar: str = ""
    placeholder: str = ""
    step: float | None = None
    slider: tuple[float, float] | None = None
    none_is_zero: bool = False
    neutral: Any = NO_VALUE
    read_when: Condition | None = None


@dataclass(frozen=True)
class Section:
    """The description of a field of `Spec` that holds other settings.

    `title` heads the section in help texts. `flag_prefix` and `title_prefix` begin the flags and
    titles of its fields. `read_when` is a condition of all its fields, `fields_read_when` holds
    conditions of single ones. `shared` lists the fields that the flag without the prefix sets,
    too: `--batch-size` sets that of the baseline, unless `--baseline-batch-size` is given.
    """

    title: str = "Run"
    flag_prefix: str = ""
    title_prefix: str = ""
    read_when: Condition | None = None
    fields_read_when: Mapping[str, Condition] = dataclasses.field(default_factory=dict)
    shared: tuple[str, ...] = ()


def setting(default: Any, title: str, *, help: str, **described: Any) -> Any:
    """A field with a description; the arguments are those of `Setting`."""
    about = Setting(title, help, **described)
    if isinstance(default, list):
        raise TypeError("Give a tuple as default.")
    return dataclasses.field(default=default, metadata={METADATA: about})


def section(factory: Callable[[], Any], **described: Any) -> Any:
    """A field that holds other settings; the arguments are those of `Section`."""
    return dataclasses.field(default_factory=factory, metadata={SECTION: Section(**described)})


@dataclass(frozen=True)
class Field:
    """A setting of a whole spec: its dotted name, its type and default, and its description."""

    name: str
    type: Any
    default: Any
    about: Setting
    section: Section

    @property
    def title(self) -> str:
        """The term of the literature, with the section's prefix."""
        return _joined(self.section.title_prefix, self.about.title)

    @property
    def flag(self) -> str | None:
        """The option of the command line, or None."""
        if self.about.flag is None:
            return None
        if self.about.flag:
            return self.about.flag
        last = self.name.rsplit(".", 1)[-1].replace("_", "-")
        return f"--{self.section.flag_prefix}{last}"

    @property
    def shared_flag(self) -> str:
        """The option that sets this field and others, or an empty text."""
        last = self.name.rsplit(".", 1)[-1]
        return (
            f"--{last.replace('_', '-')}" if last in self.section.shared else self.about.shared_flag
        )

    @property
    def is_share(self) -> bool:
        """Whether pages show the setting in percent."""
        return self.about.unit == SHARE

    @property
    def is_list(self) -> bool:
        """Whether the value is a tuple of items."""
        return isinstance(self.type, types.GenericAlias)

    @property
    def item_type(self) -> Any:
        """The type of the value, or of each item of a list."""
        return typing.get_args(self.type)[0] if self.is_list else self.type

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All conditions under which the setting has an effect."""
        last = self.name.rsplit(".", 1)[-1]
        section = (self.section.read_when, self.section.fields_read_when.get(last))
        return tuple(c for c in (*section, self.about.read_when) if c)

    @property
    def choice_names(self) -> tuple[Any, ...]:
        """The values to choose from; none where any value is allowed."""
        return tuple(self.about.choices or ())

    def choice_title(self, value: Any) -> str:
        """The title of a choice; of other values the value itself, of an upload its name."""
        choices = self.about.choices
        if not isinstance(choices, Mapping) or value not in choices:
            return shown_path(str(value))
        choice = choices[value]
        return choice.title if isinstance(choice, Method) else str(choice)


def _joined(prefix: str, title: str) -> str:
    if not prefix:
        return title
    # "Baseline learning rate", but "Baseline BN recalibration images".
    abbreviation = title[:2].isupper()
    return f"{prefix} {title if abbreviation else title[0].lower() + title[1:]}"


def fields_of(cls: type) -> dict[str, Field]:
    """All described settings of a settings class and of the sections in it, by dotted name."""
    return _fields_of(cls)


@functools.cache
def _fields_of(cls: type) -> dict[str, Field]:
    return {field.name: field for field in _walk(cls, "", Section())}


def _walk(cls: Any, prefix: str, inside: Section) -> Iterator[Field]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            about = field.metadata.get(SECTION, Section())
            yield from _walk(hint, f"{prefix}{field.name}.", about)
        elif METADATA in field.metadata:
            default = field.default
            yield Field(prefix + field.name, hint, default, field.metadata[METADATA], inside)


def check_fields(settings: Any, prefix: str = "") -> None:
    """Check every field against its bounds and choices, and give floats one form.

    `prefix` begins the names in errors. Raises `SpecError`.
    """
    for field in fields_of(type(settings)).values():
        if "." in field.name:
            continue  # a field of a section, which checks itself
        value = getattr(settings, field.name)
        for item in value if field.is_list else (value,):
            check_value(field, item, prefix + field.name)
        if field.type is float and not isinstance(value, float):
            # 1 and 1.0 make one spec, one text and one key.
            object.__setattr__(settings, field.name, float(value))


def check_value(field: Field, value: Any, name: str) -> None:
    """Check one value, or one item of a list. Raises `SpecError`."""
    about = field.about
    if about.choices is not None and not about.free and value not in about.choices:
        listed = ", ".join(map(str, about.choices))
        raise SpecError(name, "{value} is not one of {choices}.", value=repr(value), choices=listed)
    if isinstance(value, int | float) and not _within(about, value):
        template, values = _bounds(about)
        raise SpecError(name, f"{{value}} is {template}.", value=_shown(about, value), **values)
    if isinstance(value, int) and value > HIGHEST and about.maximum is None:
        raise SpecError(name, f"{value} is too large; give {HIGHEST:,} at most.")


def _within(about: Setting, value: float) -> bool:
    """Whether a number is within the bounds; NaN never is, if there is a bound."""
    return (
        (about.minimum is None or value >= about.minimum)
        and (about.above is None or value > about.above)
        and (about.maximum is None or value <= about.maximum)
        and (about.below is None or value < about.below)
    )


def _shown(about: Setting, value: float) -> Any:
    """A number as a value of a message."""
    if about.unit == SHARE:
        return Share(value)
    return f"{value:g}" if isinstance(value, float) else value


def _bounds(about: Setting) -> tuple[str, dict[str, Any]]:
    """The bounds as a template of a message, and its values."""
    parts, values = [], {}
    for name, word in (
        ("minimum", "at least"),
        ("above", "above"),
        ("maximum", "at most"),
        ("below", "below"),
    ):
        if (bound := getattr(about, name)) is not None:
            parts.append(f"{word} {{{name}}}")
            values[name] = _shown(about, bound)
    return f"out of range: it must be {' and '.join(parts)}", values

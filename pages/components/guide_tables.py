"""The tables of the Guide, rendered from the catalogue and the settings.

Every registry of the catalogue is a table under the lower-case name of its variable: the Guide
shows a new method, and a new registry can be used, without a change here.
"""

from __future__ import annotations

import functools
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

from pages.components.markdown import inline
from pruning_core import methods
from pruning_core.methods.registry import Method, Registry
from pruning_core.planning import presets, stage_kinds
from pruning_core.results.glossary import glossary_rows
from pruning_core.settings.fields import Field, fields_of
from pruning_core.settings.spec import Spec

# Further columns of some tables: the heading, and the cell of a method.
COLUMNS: Mapping[str, Mapping[str, Callable[[Any], str]]] = {
    "criteria": {"needs": lambda criterion: ", ".join(criterion.needs)},
    "file_formats": {
        "file name": lambda file_format: _code(f"*.{file_format.suffix}"),
        "opens in": lambda file_format: inline(file_format.opens_in),
        "package": lambda file_format: _code(file_format.package),
    },
    "strategies": {"symbol": lambda strategy: strategy.glyph},
    "stage_kinds": {"runs alone": lambda kind: "yes" if kind.timed else ""},
}


def table(name: str) -> str:
    """A table as Markdown. Raises `KeyError` for an unknown name."""
    return TABLES[name]() if name in TABLES else _registry_table(name)


@functools.cache
def registries() -> dict[str, Registry[Any]]:
    """Every registry by the lower-case name of its variable."""
    names = [module.name for module in pkgutil.iter_modules(methods.__path__)]
    modules = [import_module(f"{methods.__name__}.{name}") for name in names]
    return {
        name.lower(): value
        for module in (*modules, stage_kinds)
        for name, value in vars(module).items()
        if isinstance(value, Registry)
    }


def _registry_table(name: str) -> str:
    """Name, title, help and paper of each method, and the columns of `COLUMNS`."""
    entries: list[Method] = list(registries()[name].values())
    columns: dict[str, Callable[[Any], str]] = {
        "name": lambda method: _code(method.name),
        "title": lambda method: inline(method.title),
        "description": lambda method: inline(method.help),
        **COLUMNS.get(name, {}),
        "reference": _reference,
    }
    rows = [[cell(method) for cell in columns.values()] for method in entries]
    return _markdown(list(columns), rows)


def _reference(method: Method) -> str:
    if not method.url:
        return method.paper
    return f"[{method.paper or method.title}]({method.url})"


def _glossary() -> str:
    return _markdown(
        ["term", "definition"],
        [[f"**{inline(row['Term'])}**", inline(row["Definition"])] for row in glossary_rows()],
    )


def _presets() -> str:
    return _markdown(
        ["name", "title", "description"],
        [
            [_code(name), inline(preset.title), inline(preset.text)]
            for name, preset in presets.PRESETS.items()
        ],
    )


def _settings() -> str:
    """A table for each section of the settings."""
    sections: dict[str, list[Field]] = {}
    for field in fields_of(Spec).values():
        sections.setdefault(field.section.title, []).append(field)
    return "\n\n".join(
        f"**{title}**\n\n{_settings_table(fields)}" for title, fields in sections.items()
    )


def _settings_table(fields: Iterable[Field]) -> str:
    return _markdown(
        ["option", "setting", "default", "values"],
        [
            [_code(field.flag or ""), _setting_text(field), default_text(field), values_text(field)]
            for field in fields
        ],
    )


def _setting_text(field: Field) -> str:
    """Title, help, and the conditions under which the setting has an effect."""
    conditions = [f"Used only {condition.text}." for condition in field.conditions]
    return " ".join([f"**{inline(field.title)}.**", inline(field.about.help), *conditions])


def default_text(field: Field) -> str:
    """The default as the command line takes it."""
    if field.type is bool:
        return "on" if field.default else "off"
    values = field.default if field.is_list else [field.default]
    return _code(",".join(f"{v:g}" if isinstance(v, float) else str(v) for v in values))


def values_text(field: Field) -> str:
    """The choices of a setting, else its bounds."""
    about = field.about
    if field.type is bool:
        return "on, off"
    if about.choices is not None:
        # Where other values are allowed too, the placeholder of the command line shows them.
        names = about.metavar.split("|") if about.free else map(str, about.choices)
        return ", ".join(map(_code, names))
    if about.minimum is not None and about.maximum is not None:
        return f"{_number(about.minimum)} to {_number(about.maximum)}"
    bounds = {
        "at least": about.minimum,
        "above": about.above,
        "at most": about.maximum,
        "below": about.below,
    }
    return ", ".join(f"{word} {_number(b)}" for word, b in bounds.items() if b is not None)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


TABLES: Mapping[str, Callable[[], str]] = {
    "glossary": _glossary,
    "presets": _presets,
    "settings": _settings,
}


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table. Columns without any text are left out."""
    kept = [i for i in range(len(heads)) if any(row[i] for row in rows)]
    lines = [[heads[i] for i in kept], ["---"] * len(kept)]
    lines += [[_cell(row[i]) for i in kept] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """A text on one line, in which no bar ends the cell."""
    return re.sub(r"(?<!\\)\|", r"\|", " ".join(text.split()))

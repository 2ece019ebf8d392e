"""Short labels for runs: the settings in which the runs differ (as in the tool Dora)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from pruning_core.settings.relevance import has_effect
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

MAX_SETTINGS = 4
ID_LENGTH = 6
# A setting with such a name is called by its section: "model=resnet18", "iterative=off".
UNSPECIFIC = ("name", "enabled", "method")


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings with dotted names: {"data": {"name": 1}} is {"data.name": 1}."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def short_labels(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """A label for each run, by id, from its flat settings; no two runs have the same.

    The name of a run, in `label`, is kept; where several runs have the same, the settings in which
    these differ follow in parentheses. A run without a name is called by the settings in which all
    runs differ, such as "lr=0.1". At most four settings are named. Where they do not tell runs
    apart, the start of the id does.
    """
    # A browser draws one space in place of several.
    names = {run: " ".join(str(spec.get("label") or "").split()) for run, spec in specs.items()}
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for run, name in names.items():
        groups.setdefault(name, {})[run] = specs[run]
    differing = {
        name: [] if name and len(group) == 1 else _distinguishing(specs if not name else group)
        for name, group in groups.items()
    }
    labels = {}
    for run, name in names.items():
        settings = _settings(specs[run], differing[name])
        labels[run] = f"{name} ({settings})" if name and settings else name or settings or "run"
    return _with_ids(labels)


def changes(spec: Spec, before: Spec) -> str:
    """The settings that differ from those of another run, with their values: "seeds=0,1,2".

    Those without an effect in this run are left out, and at most four are named.
    """
    flat = flatten(to_dict(spec))
    differing = _differing({"": flat, "before": flatten(to_dict(before))})
    return _settings(flat, [name for name in differing if has_effect(name, spec)])


def _differing(specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The settings whose values differ between runs, in the order of the first run."""
    names = dict.fromkeys(name for spec in specs.values() for name in spec)
    return [
        name
        for name in names
        if name != "label" and len({repr(spec.get(name)) for spec in specs.values()}) > 1
    ]


def _distinguishing(specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All settings that differ. Of more than a label shows, the most useful ones come first.

    These are chosen one by one, each so that as many runs as possible have a label of their own.
    """
    names = _differing(specs)
    if len(names) <= MAX_SETTINGS:
        return names
    values = {name: [repr(spec.get(name)) for spec in specs.values()] for name in names}
    chosen: list[str] = []

    def distinct(name: str) -> int:
        return len(set(zip(*(values[one] for one in (*chosen, name)), strict=True)))

    for _ in range(MAX_SETTINGS):
        chosen.append(max((name for name in names if name not in chosen), key=distinct))
    return sorted(names, key=lambda name: name not in chosen)


def _short_names(names: list[str]) -> dict[str, str]:
    """The last specific part of each dotted name, where it is unique; else the whole name."""
    last = {name: _last_part(name) for name in names}
    counts = Counter(last.values())
    return {name: last[name] if counts[last[name]] == 1 else name for name in names}


def _last_part(name: str) -> str:
    section, _, last = name.rpartition(".")
    return section if section and last in UNSPECIFIC else last


def _settings(spec: Mapping[str, Any], differing: list[str]) -> str:
    names = _short_names(differing)
    shown = [f"{names[name]}={_value(spec.get(name))}" for name in differing[:MAX_SETTINGS]]
    return ", ".join(shown) + (", …" if len(differing) > MAX_SETTINGS else "")


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_value(v) for v in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return PurePath(text).name if "/" in text else text


def _with_ids(labels: dict[str, str]) -> dict[str, str]:
    """The labels, each repeated one with the start of the id that no other of these runs has."""
    groups: dict[str, list[str]] = {}
    for run, label in labels.items():
        groups.setdefault(label, []).append(run)
    return {
        run: f"{label} ({_id_start(run, groups[label])})" if len(groups[label]) > 1 else label
        for run, label in labels.items()
    }


def _id_start(run: str, others: list[str]) -> str:
    """The first characters of an id, more where another id begins with them too."""
    length = ID_LENGTH
    while length < len(run) and sum(other[:length] == run[:length] for other in others) > 1:
        length += 1
    return run[:length]


def short(name: str) -> str:
    """A parameter's name without ".weight"."""
    return name.removesuffix(".weight")

"""Short names for runs: what all runs share is dropped (an idea of the tool dora)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

MOST_SETTINGS = 4


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
    """A label for each run (by its id) from its flat settings: "lr=0.1".

    People's own labels are taken where every run has one of its own. Otherwise the
    settings in which the runs differ are named, at most four. Runs that would get the
    same label are numbered.
    """
    own = [str(spec.get("label") or "") for spec in specs.values()]
    if all(own) and len(set(own)) == len(own):
        return dict(zip(specs, own, strict=True))
    differing = _differing(specs)
    names = _short_names(differing)
    labels = {run: _label(spec, differing, names) for run, spec in specs.items()}
    return _numbered(labels)


def _differing(specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The settings, in the order of the first run, that are not the same in all runs."""
    names = dict.fromkeys(name for spec in specs.values() for name in spec)
    return [
        name
        for name in names
        if name != "label" and len({repr(spec.get(name)) for spec in specs.values()}) > 1
    ]


def _short_names(names: list[str]) -> dict[str, str]:
    """The last part of a dotted name, where no other setting ends in the same."""
    ends = Counter(name.rsplit(".", 1)[-1] for name in names)
    return {name: end if ends[end := name.rsplit(".", 1)[-1]] == 1 else name for name in names}


def _label(spec: Mapping[str, Any], differing: list[str], names: dict[str, str]) -> str:
    shown = [f"{names[name]}={_value(spec.get(name))}" for name in differing[:MOST_SETTINGS]]
    more = ", …" if len(differing) > MOST_SETTINGS else ""
    return ", ".join(shown) + more if shown else str(spec.get("label") or "run")


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_value(v) for v in value)
    if isinstance(value, float):
        return f"{value:g}"
    text = str(value)
    return PurePath(text).name if "/" in text else text


def _numbered(labels: dict[str, str]) -> dict[str, str]:
    repeated = {label for label, count in Counter(labels.values()).items() if count > 1}
    seen: Counter[str] = Counter()
    numbered = {}
    for run, label in labels.items():
        seen[label] += 1
        numbered[run] = f"{label} ({seen[label]})" if label in repeated else label
    return numbered


def short(name: str) -> str:
    """A parameter's name without what nearly all of them end in."""
    return name.removesuffix(".weight")

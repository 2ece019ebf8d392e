"""The choices of the Tune page as one spec: in the session, in the URL, in a file.

Every setting has a widget key, `w.` and its dotted name. A spec that comes from outside
(a preset, a link, a file) fills those keys before the widgets are drawn.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import streamlit as st

from pruning_core.presets import PRESETS, QUICKSTART
from pruning_core.spec import Spec, SpecError, from_dict, to_dict

PREFIX = "w."
KEPT = "tuned spec"
SEEN = "seen links"


def flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"data": {"name": "digits"}}` as `{"data.name": "digits"}`."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        if isinstance(inner, dict):
            found.update(flat(inner, f"{prefix}{name}."))
        else:
            found[prefix + name] = inner
    return found


def nested(value: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flat`."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        *path, last = name.split(".")
        place = found
        for part in path:
            place = place.setdefault(part, {})
        place[last] = inner
    return found


def params(spec: Spec) -> dict[str, str]:
    """The settings that differ from the quick start, as URL parameters."""
    plain, value = flat(to_dict(QUICKSTART)), flat(to_dict(spec))
    changed = {name: v for name, v in value.items() if v != plain[name]}
    return {name: v if isinstance(v, str) else json.dumps(v) for name, v in changed.items()}


def from_params(given: dict[str, str]) -> Spec:
    """The spec that URL parameters describe. Raises `SpecError`."""
    value = flat(to_dict(QUICKSTART))
    for name, text in given.items():
        if name not in value:
            raise SpecError(name, "the link holds a setting that does not exist.")
        try:
            value[name] = text if isinstance(value[name], str) else json.loads(text)
        except ValueError:
            raise SpecError(name, f"{text!r} in the link is not a value.") from None
    return from_dict(nested(value))


def load(spec: Spec) -> None:
    """Make these the choices; call before the widgets are drawn, or in a callback."""
    st.session_state[KEPT] = spec
    st.session_state.setdefault(SEEN, []).append(params(spec))
    for name, value in flat(to_dict(spec)).items():
        st.session_state[PREFIX + name] = to_widget(name, value)


def begin() -> None:
    """Fill the widget keys at the session's start, and when a new link was opened.

    The browser may still send an older address of this session after a quick second move of
    a slider; such an address is no new link and must not take the move back.
    """
    given, seen = st.query_params.to_dict(), st.session_state.setdefault(SEEN, [])
    if KEPT not in st.session_state or (given and given not in seen):
        seen.append(given)
        load(_linked(given))
    elif f"{PREFIX}seeds" not in st.session_state:
        load(st.session_state[KEPT])


def keep(spec: Spec) -> None:
    """Remember the choices and put them into the URL."""
    st.session_state[KEPT] = spec
    wanted = params(spec)
    if wanted not in st.session_state[SEEN]:
        st.session_state[SEEN].append(wanted)
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def _linked(given: dict[str, str]) -> Spec:
    """The spec of a link, else the quick start with a warning."""
    try:
        return from_params(given)
    except SpecError as error:
        st.warning(f"This link cannot be read; the quick start is shown. {error}")
        return QUICKSTART


def collect() -> Spec:
    """The spec that the widgets now describe. Raises `SpecError`."""
    names = flat(to_dict(QUICKSTART))
    kept = flat(to_dict(st.session_state[KEPT]))
    value = {
        name: from_widget(name, st.session_state.get(PREFIX + name, to_widget(name, kept[name])))
        for name in names
    }
    return _named(from_dict(nested(value)))


def _named(spec: Spec) -> Spec:
    """A preset that was changed no longer bears the preset's name."""
    presets = {preset.spec.label: preset.spec for preset in PRESETS.values()}
    changed = spec.label in presets and spec != presets[spec.label]
    return replace(spec, label="") if changed else spec


PERCENT = ("iterative.target", "prune.keep_floor", "data.validation")


def to_widget(name: str, value: Any) -> Any:
    """A setting as its widget holds it: percent for shares, text for lists."""
    if name == "one_shot.amounts":
        return ", ".join(f"{amount * 100:g}" for amount in value)
    if name in ("seeds", "data.mean", "data.std"):
        return ", ".join(f"{part:g}" for part in value)
    if name in PERCENT:
        return round(value * 100, 4)
    return value


def from_widget(name: str, value: Any) -> Any:
    """The inverse of `to_widget`. Raises `SpecError` where a text cannot be read."""
    if name in PERCENT:
        return round(value / 100, 6)
    if name not in ("one_shot.amounts", "seeds", "data.mean", "data.std"):
        return value
    kind = int if name == "seeds" else float
    try:
        read = [kind(part) for part in value.replace(";", ",").split(",") if part.strip()]
    except ValueError:
        raise SpecError(name, f"{value!r} is not a list of numbers with commas.") from None
    return [part / 100 for part in read] if name == "one_shot.amounts" else read

"""The goal: two fields that Tune, Runs, Compare and Export share, kept in their addresses."""

from __future__ import annotations

import math
import re
from contextlib import suppress

import streamlit as st

from pages.components.address import Address, Parameter, new_link
from pages.components.markdown import inline
from pages.components.number_lists import quoted
from pruning_core.common.formatting import trimmed
from pruning_core.results.goal import DEFAULT_GOAL, Goal

GOAL = "goal"  # the key of the session: the parameters of the last goal
MAX_DROP, MAX_MB = "max_drop", "max_mb"
LONGEST_LIMIT = 40  # characters
NO_LIMIT = "none"  # the text of an empty field in an address
# For each parameter: its label, its help, its default, and its bounds.
FIELDS = {
    MAX_DROP: (
        "Max. accuracy drop (points)",
        "The most accuracy that a model may lose against the dense baseline, in percentage "
        "points. The upper 95 % confidence bound on the validation images counts. Leave empty for "
        "no limit.",
        "1",
        (0.01, 100.0),  # points have two decimals
    ),
    MAX_MB: (
        "Max. size (MB)",
        "The largest size of the model file, in megabytes (1 MB is 1,000,000 bytes). Leave empty "
        "for no limit.",
        "",
        (1e-6, 1e6),
    ),
}


def read_limit(text: str, bounds: tuple[float, float]) -> float | None:
    """The number of a field, 0 or within the bounds; None where it is empty.

    Raises `ValueError` with a sentence.
    """
    text, (least, most) = text.strip(), bounds
    if text in ("", NO_LIMIT):
        return None
    # "1,000" may be one or a thousand.
    ambiguous = re.fullmatch(r"\d+(,\d{3})+", text) or "_" in text
    with suppress(ValueError):
        value = float(text.replace(",", "."))
        if math.isfinite(value) and least <= value <= most and not ambiguous:
            return value
        if value == 0 and not ambiguous:
            return 0.0
    raise ValueError(
        f"use 0, or a number from {trimmed(least, 6)} to {most:.0f} without thousands separators, "
        "or leave the field empty"
    )


def _read(text: str) -> str:
    """The text of a field, right or wrong: a wrong one is told at the field.

    Raises `ValueError` where it is too long.
    """
    text = " ".join(text.split())
    if len(text) > LONGEST_LIMIT:
        raise ValueError(f"use at most {LONGEST_LIMIT} characters")
    return "" if text == NO_LIMIT else text


def _parameter(name: str) -> Parameter:
    return Parameter(name, FIELDS[name][2], _read, lambda text: text.strip() or NO_LIMIT)


PARAMETERS = tuple(map(_parameter, FIELDS))


def reject_wrong_limits(address: Address) -> None:
    """Say what is wrong with the limits of a link; for pages whose fields are not in sight."""
    for name, (_, _, _, bounds) in FIELDS.items():
        if text := address.given(name):
            try:
                read_limit(text, bounds)
            except ValueError as error:
                address.reject(f"{name} {quoted(text)}: {error}.")


def draw_goal(address: Address) -> Goal:
    """Draw the two fields side by side. Returns the goal; a wrong field is no limit, and says so.

    `address` must have the `PARAMETERS`.
    """
    limits: dict[str, float | None] = {}
    with st.container(horizontal=True, key="goal"):
        for name, (label, help_text, _, bounds) in FIELDS.items():
            with st.container(width=210):
                text = st.text_input(
                    label,
                    address[name],
                    key=address.key(name),
                    help=help_text,
                    placeholder="no limit",
                    max_chars=LONGEST_LIMIT,
                )
                try:
                    limits[name] = read_limit(text, bounds)
                except ValueError as error:
                    limits[name] = None
                    st.error(inline(f"{quoted(text)}: {error}. This limit is not used."))
    if any(address[name] != text for name, text in st.session_state.get(GOAL, {}).items()):
        # The fields stand in a part of the page that is drawn alone, such as the list of runs: the
        # links to other pages must take the new goal along.
        st.rerun()
    return _goal(limits)


def follow_goal(page: str) -> None:
    """Make the goal of a page that of the session; call before links to other pages are drawn.

    A link that is being opened decides, else the fields of the page.
    """
    given, texts = new_link(), st.session_state.setdefault(GOAL, {})
    for parameter in PARAMETERS:
        name = parameter.name
        if given is None:
            texts[name] = st.session_state.get(f"{page}.{name}", texts.get(name, ""))
            continue
        texts[name] = parameter.default
        if name in given:
            with suppress(ValueError):  # the page tells what is wrong with the link
                texts[name] = parameter.read(given[name])


def current_goal() -> Goal:
    """The goal of this session; the default before a page has set one."""
    texts = st.session_state.get(GOAL)
    if texts is None:
        return DEFAULT_GOAL
    limits: dict[str, float | None] = {}
    for name, text in texts.items():
        limits[name] = None
        with suppress(ValueError):
            limits[name] = read_limit(text, FIELDS[name][3])
    return _goal(limits)


def goal_parameters() -> dict[str, str]:
    """The parameters of the goal of this session, for links to pages that have a goal."""
    texts = st.session_state.get(GOAL, {})
    return {
        parameter.name: parameter.text(texts[parameter.name])
        for parameter in PARAMETERS
        if texts.get(parameter.name, parameter.default) != parameter.default
    }


def _goal(limits: dict[str, float | None]) -> Goal:
    drop, megabytes = limits[MAX_DROP], limits[MAX_MB]
    return Goal(
        None if drop is None else drop / 100, None if megabytes is None else megabytes * 1e6
    )

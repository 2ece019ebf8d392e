"""The settings of the Tune page in the session: widgets, address, and the last valid values.

Every setting has a widget key, `w.` and its dotted name. A preset, a link or a file fills these
keys before the widgets are drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

import streamlit as st

from pages.components import address, goal, number_lists
from pages.components.setting_sections import FIELDS, TABS
from pages.components.setting_values import (
    DEFAULTS,
    SCHEDULE_SETTINGS,
    Reading,
    Values,
    flat,
    from_params,
    link_of,
    nested,
    paths_of,
    resolve,
    unchecked,
    without_old_label,
)
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import trimmed
from pruning_core.common.names import run_name
from pruning_core.common.paths import shown_path
from pruning_core.settings.relevance import has_effect, is_offered
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

PREFIX = "w."
UPLOAD_PREFIX = "upload "  # of the key of an uploader for a setting
NAME = "name"  # the parameter of the address that holds the name of the run
# Keys of the session.
VALUES = "settings"
RUN_NAME = "run name"
LINK_PROBLEMS = "link problems"
ATTEMPTED_SPEC = "attempted spec"

# The settings have parameters of their own; these are the others.
ADDRESS = address.Address("Tune", *goal.PARAMETERS, address.choice("tab", TABS))
# The paths that a person has typed, uploaded or confirmed since the app started.
_confirmed_paths: set[str] = set()


def load(spec: Spec) -> None:
    """Put a spec into the widgets; call before they are drawn, or in a callback."""
    fill_widgets(flat(to_dict(spec)))


def fill_widgets(values: Values, problems: tuple[str, ...] = ()) -> None:
    """Put values into the widgets. `problems` are shown until a setting changes."""
    st.session_state[VALUES] = values
    st.session_state[LINK_PROBLEMS] = problems
    for name, value in values.items():
        st.session_state[PREFIX + name] = to_widget(name, value)


def begin() -> None:
    """Fill the widgets from the address when a visit starts, and when a new link is opened.

    Call it before the widgets are drawn, and after anything else that changes them.
    """
    if (given := address.new_link()) is not None:
        _open_link(given)
    elif f"{PREFIX}seeds" not in st.session_state:
        # Streamlit drops the values of widgets that were not drawn.
        fill_widgets(st.session_state[VALUES], st.session_state[LINK_PROBLEMS])
    ADDRESS.open()
    st.session_state.setdefault(RUN_NAME, address.last_address("Tune").get(NAME, ""))
    st.session_state[ATTEMPTED_SPEC] = _attempted_spec(_read_widgets()[0])


def _open_link(given: dict[str, str], without: Iterable[str] = ()) -> None:
    """Put the settings of a link into the widgets, `without` some of them."""
    ADDRESS.read(given)
    others = (*without, NAME, *ADDRESS.parameters)
    settings = {name: text for name, text in given.items() if name not in others}
    reading = from_params(settings)
    st.session_state[RUN_NAME] = given.get(NAME, "")
    problems = zip(reading.problems, reading.errors, strict=True)
    fill_widgets(
        reading.values,
        tuple(f"{text} {_shown_instead(error.field, reading.values)}" for text, error in problems),
    )


def _shown_instead(name: str, values: Values) -> str:
    """What the page shows in place of a wrong setting of a link, as a sentence; empty for none."""
    if name not in DEFAULTS:
        return "It is not used."
    text = _text_of(name)
    # A setting that contradicts others may stay, and they have their defaults.
    return f"The page shows {text} instead." if text and values[name] == DEFAULTS[name] else ""


def _text_of(name: str) -> str:
    """The default of a setting as its widget shows it; empty where it is empty, on or off."""
    field, value = FIELDS[name], DEFAULTS[name]
    if field.type is bool:
        return ""
    if field.about.choices is not None and not field.is_list:
        return f"'{field.choice_title(value)}'"
    if field.about.none_is_zero and not value:
        return "'all'"
    unit = " %" if field.is_share and not field.is_list else ""
    shown = to_widget(name, value)
    text = trimmed(shown, 6) if field.type is float else str(shown)
    return f"'{text}{unit}'" if text else ""


def draw_unconfirmed_paths(known: Callable[[], Collection[str]]) -> None:
    """Ask before a path of a new link is read, and stop the page until the user has answered.

    Anyone can make a link, and a page that it opens would read what it names. `known` returns the
    paths that were used before.
    """
    given = address.new_link()
    paths = paths_of(from_params(given).values) if given else {}
    new = {name: path for name, path in paths.items() if path not in _confirmed_paths}
    if given is None or not new or not set(new.values()) - set(known()):
        return
    st.warning(
        "This link names files or folders of this computer. They are read only after you confirm. "
        "If you do not know who made the link, open it without them."
    )
    for name, path in new.items():
        st.text_input(
            FIELDS[name].title, shown_path(path), disabled=True, key=f"unconfirmed {name} {path}"
        )
    with st.container(horizontal=True):
        st.button(
            "Read them",
            on_click=_confirmed_paths.update,
            args=(tuple(new.values()),),
            help="Opens the link with these files and folders.",
        )
        st.button(
            "Open without them",
            on_click=_open_link,
            args=(given, tuple(new)),
            help="Opens the link with its other settings.",
        )
    st.stop()


def store_values(values: Values) -> None:
    """Store the values in the session and in the address."""
    if values != st.session_state[VALUES]:
        st.session_state[LINK_PROBLEMS] = ()
    st.session_state[VALUES] = values
    _confirmed_paths.update(paths_of(values).values())
    address.write_address(parameters(values))


def parameters(values: Values) -> dict[str, str]:
    """The parameters of the address: the settings, the name of the run, and the goal."""
    name = st.session_state.get(RUN_NAME, "").strip()
    return link_of(values) | ({NAME: name} if name else {}) | ADDRESS.texts()


def attempted_spec() -> Spec:
    """The settings as the widgets hold them, valid or not, to ask which of them have an effect."""
    spec: Spec = st.session_state[ATTEMPTED_SPEC]
    return spec


def link_problems() -> tuple[str, ...]:
    """The problems of the link that was opened, until a setting changes."""
    return tuple(st.session_state.get(LINK_PROBLEMS, ()))


def collect() -> Reading:
    """The values of the widgets; the last valid ones replace invalid ones.

    A wrong value of a setting without an effect is replaced, too, but it is not reported.
    """
    values, errors = _read_widgets()
    resolved = resolve(values, st.session_state[VALUES], all_errors=False)
    errors = [*errors, *resolved.errors]
    errors = [*_with_effect(errors, values), *_name_errors()]
    return Reading(without_old_label(resolved.values), tuple(errors))


def _name_errors() -> Iterator[SpecError]:
    """Why the text in the field for the name cannot be the name of the run, if it cannot."""
    try:
        run_name("label", st.session_state[RUN_NAME])
    except SpecError as error:
        yield error


def _read_widgets() -> tuple[Values, list[SpecError]]:
    """The value of each widget that can be read, and an error for each that cannot."""
    values: Values = {}
    errors = []
    for name in DEFAULTS:
        try:
            values[name] = from_widget(name, widget_value(name))
        except ValueError as error:
            errors.append(SpecError(name, "{reason}", reason=error))
    return values, errors


def _attempted_spec(values: Values) -> Spec:
    spec: Spec = unchecked(Spec, nested({**st.session_state[VALUES], **values}))
    return spec


def _with_effect(errors: Iterable[SpecError], values: Values) -> Iterable[SpecError]:
    """The errors of settings that have an effect.

    A custom schedule implies the number of steps and the target, so they have no effect beside
    it. An error that names one of them is an error of the schedule.
    """
    spec = _attempted_spec(values)
    for error in errors:
        name = "iterative.schedule" if error.field in SCHEDULE_SETTINGS else error.field
        if name not in FIELDS or has_effect(name, spec):
            yield error


def widget_value(name: str) -> Any:
    """The value of a setting as its widget holds it, whether it is drawn or not."""
    if (key := PREFIX + name) in st.session_state:
        return st.session_state[key]
    return to_widget(name, st.session_state[VALUES][name])


def keep_hidden() -> None:
    """Keep the values of the settings that were not drawn; call after all others are drawn.

    A setting without an effect keeps its last valid value: a wrong one would be an error when the
    setting has an effect again.
    """
    spec, valid = attempted_spec(), st.session_state[VALUES]
    for name in DEFAULTS:
        value = widget_value(name) if is_offered(name, spec) else to_widget(name, valid[name])
        address.keep_hidden({PREFIX + name: value})
    ADDRESS.keep_hidden()


def controls() -> dict[str, Any]:
    """What all controls of this visit to the page show, and the visit, to see a change of any."""
    uploads = [key for key in st.session_state if str(key).startswith(UPLOAD_PREFIX)]
    return {
        **{name: widget_value(name) for name in DEFAULTS},
        **{name: ADDRESS[name] for name in ADDRESS.parameters},
        **{key: st.session_state[key] for key in (RUN_NAME, address.VISIT, *uploads)},
    }


def to_widget(name: str, value: Any) -> Any:
    """A setting as its widget holds it: shares in percent, lists as text, all images as empty."""
    field = FIELDS[name]
    if field.is_list and field.is_share:
        return number_lists.percent_text(value)
    if field.is_list:
        return ", ".join(value) if field.item_type is str else number_lists.number_text(value)
    if field.about.none_is_zero:
        return str(value) if value else ""
    return round(value * 100, 4) if field.is_share else value


def from_widget(name: str, value: Any) -> Any:
    """The inverse of `to_widget`. Raises `ValueError` where a text cannot be read."""
    field = FIELDS[name]
    if field.is_list and field.is_share:
        return number_lists.parse_percent(value)
    if field.is_list and field.item_type is str:
        return number_lists.parse_names(value)
    if field.is_list:
        return number_lists.parse(value, field.item_type)
    if field.about.none_is_zero:
        return number_lists.parse_whole(value) if value.strip() not in ("", "all") else 0
    if field.type is str:
        return (value or "").strip()
    return round(value / 100, 6) if field.is_share else value

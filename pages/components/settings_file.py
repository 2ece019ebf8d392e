"""The settings of Tune as a whole: the name of the run, the link, export, import and reset."""

from __future__ import annotations

import streamlit as st

from pages.components import choices
from pages.components.copy_link import draw_copy_link
from pages.components.markdown import inline
from pages.components.setting_values import link_of
from pages.components.settings_form import FIELDS
from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.common.names import LONGEST_NAME
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.messages import for_page
from pruning_core.settings.spec import Spec, describe, from_bytes, to_json

UPLOAD = "settings file"
# The key of the session: why a file was not imported, and what the controls showed then.
PROBLEM = "settings file problem"


def draw(spec: Spec | None, wrong_name: str) -> None:
    """The name, and the buttons. Without a valid spec nothing can be exported.

    `wrong_name` says why the text in the field cannot be the name of the run.
    """
    place = st.container()
    st.text_input(
        FIELDS["label"].title,
        placeholder=describe(spec) if spec else "",
        key=choices.RUN_NAME,
        value=st.session_state[choices.RUN_NAME],
        max_chars=LONGEST_NAME,
        help=FIELDS["label"].about.help,
    )
    if wrong_name:
        st.error(inline(wrong_name))
    if problem := _current_problem():
        place.error(problem)
    st.caption(_state(spec is not None))
    with st.container(horizontal=True):
        draw_copy_link()
        st.download_button(
            "Export settings",
            to_json(spec) if spec else "",
            "settings.json",
            "application/json",
            on_click="ignore",
            disabled=spec is None,
            help="All settings as a file (JSON). Import it on this page, or use it with `--spec` "
            "on the command line.",
        )
        with st.popover("Import settings"):
            st.file_uploader(
                "Settings file",
                ["json"],
                key=UPLOAD,
                on_change=import_file,
                help="A settings file (JSON). It replaces all settings on this page.",
            )
        st.button(
            "Reset",
            on_click=_reset,
            help="Sets all settings back to Quick start.",
        )


def _state(valid: bool) -> str:
    """How many settings differ from the quick start, and whether the link holds them."""
    changed = len(link_of(st.session_state[choices.VALUES]))
    if not valid:
        return "The link still holds the last valid settings."
    if changed:
        return f"{format_count(changed, 'setting')} changed from Quick start."
    return "The settings are those of Quick start."


def import_file() -> None:
    """A callback: use the settings of an uploaded file, or store why it is not used."""
    st.session_state.pop(PROBLEM, None)  # it was another file, which may be taken away
    file = st.session_state.get(UPLOAD)
    if file is None:
        return
    try:
        choices.load(from_bytes(file.getvalue()))
    except SpecError as error:
        problem = f"{file.name} was not imported, and the settings did not change."
        st.session_state[PROBLEM] = inline(f"{problem} {for_page(error)}"), choices.controls()


def _current_problem() -> str:
    """Why the last file was not imported, until any control of the page changes; else empty."""
    problem, controls = st.session_state.get(PROBLEM, ("", None))
    if problem and controls != choices.controls():
        del st.session_state[PROBLEM]
        return ""
    return str(problem)


def _reset() -> None:
    """A callback: the settings are those of the quick start."""
    st.session_state.pop(PROBLEM, None)
    choices.load(QUICKSTART)

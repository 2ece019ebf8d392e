"""The name of a run, and its settings as a file: export and import."""

from __future__ import annotations

import streamlit as st

from pages.components import choices
from pages.components.markdown import inline
from pages.components.settings_form import FIELDS
from pruning_core.common.errors import SpecError
from pruning_core.settings.messages import for_page
from pruning_core.settings.spec import Spec, describe, from_bytes, to_json

UPLOAD = "settings file"
PROBLEM = "settings file problem"


def draw(spec: Spec | None) -> None:
    """Name and export where there is a spec, and import."""
    if error := st.session_state.get(PROBLEM):
        st.error(error)
    with st.expander("Name, export or import settings"):
        st.text_input(
            FIELDS["label"].title,
            placeholder=describe(spec) if spec else "",
            key=choices.RUN_NAME,
            value=st.session_state[choices.RUN_NAME],
            help=FIELDS["label"].about.help,
        )
        if spec:
            st.download_button(
                "Export settings (JSON)",
                to_json(spec),
                "settings.json",
                "application/json",
                on_click="ignore",
                help="All settings as a file, for import on this page or `--spec` on the command "
                "line.",
            )
        st.file_uploader(
            "Import settings",
            ["json"],
            key=UPLOAD,
            on_change=import_file,
            help="A settings file (JSON). It replaces all settings on this page.",
        )


def import_file() -> None:
    """A callback: use the settings of an uploaded file, or store why it is not used."""
    st.session_state.pop(PROBLEM, None)
    file = st.session_state.get(UPLOAD)
    if file is None:
        return
    try:
        choices.load(from_bytes(file.getvalue()))
    except SpecError as error:
        st.session_state[PROBLEM] = inline(
            f"{file.name} was not imported, and the settings did not change. {for_page(error)}"
        )

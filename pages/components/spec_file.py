"""The name of a run, and the choices as a file: down to the person's disk and up again."""

from __future__ import annotations

import streamlit as st

from pages.components import choices
from pages.components.facts import inline
from pruning_core.common.errors import SpecError
from pruning_core.settings.messages import for_page
from pruning_core.settings.spec import MAX_FILE_BYTES, Spec, describe, from_json, to_json

UPLOAD = "spec file"
PROBLEM = "spec error"


def draw(spec: Spec | None) -> None:
    """The name and the download where there is a spec, and the upload."""
    if error := st.session_state.get(PROBLEM):
        st.error(error)
    with st.expander("Name the run, save or load the choices"):
        if spec:
            _draw_spec(spec)
        st.file_uploader(
            "Load a spec",
            ["json"],
            key=UPLOAD,
            on_change=load_file,
            help="A file from Download the spec; it replaces all choices on this page.",
        )


def _draw_spec(spec: Spec) -> None:
    st.text_input(
        "Name of the run",
        placeholder=describe(spec),
        key="run label",
        help="For lists and charts; it changes no result.",
    )
    st.download_button(
        "Download the spec",
        to_json(spec),
        "spec.json",
        "application/json",
        on_click="ignore",
        help="The same choices for another day, another person, or the command line.",
    )


def load_file() -> None:
    """A callback: take the choices from an uploaded spec, or keep why it is not used."""
    st.session_state.pop(PROBLEM, None)
    file = st.session_state.get(UPLOAD)
    if file is None:
        return
    try:
        if file.size > MAX_FILE_BYTES:
            raise SpecError("spec", "the file is too large to be one.")
        choices.load(from_json(file.getvalue().decode("utf-8", errors="replace")))
    except SpecError as error:
        reason = for_page(error)
        st.session_state[PROBLEM] = inline(
            f"{file.name} is not used, and the choices stay as they are. {reason}"
        )

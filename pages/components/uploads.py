"""Uploaded files: stored once, complete, under the digest of their content."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.components.choices import FIELDS, PREFIX, UPLOAD_PREFIX, widget_value
from pages.components.lab import Lab
from pages.components.markdown import inline, plain
from pruning_core.common.files import sha256
from pruning_core.common.paths import is_upload, shown_path, upload_name


def upload_for(lab: Lab, label: str, name: str, types: list[str] | None, help: str) -> None:
    """An uploader; the path of the stored file becomes the value of the setting `name`.

    `types` are the endings of file names that it takes; None takes all.
    """
    file = st.file_uploader(label, types, key=UPLOAD_PREFIX + name, help=help)
    if file is None or st.session_state.get(f"uploaded {name}") == file.file_id:
        return
    if stored := store_upload(lab, file):
        st.session_state[f"uploaded {name}"] = file.file_id
        st.session_state[PREFIX + name] = str(stored[1])
        st.rerun()  # what follows from the settings was computed before


def draw_upload(name: str) -> bool:
    """The uploaded file that is the value of a setting, by its own name, and a button to remove it.

    False where the value is no upload: then its field is drawn.
    """
    path = str(widget_value(name))
    if not is_upload(path):
        return False
    st.session_state[PREFIX + name] = path  # the session forgets what no widget shows
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"{FIELDS[name].title}: **{inline(shown_path(path))}** (uploaded)")
        st.button(
            "Remove the uploaded file",
            type="tertiary",
            key=f"remove {name}",
            on_click=st.session_state.update,
            args=({PREFIX + name: ""},),
            help="Clears the setting. Runs that use the file keep it.",
        )
    return True


def store_upload(lab: Lab, file: UploadedFile) -> tuple[str, Path] | None:
    """Store an uploaded file. Returns its digest and path; None, with an error, if it failed."""
    content = file.getbuffer()
    digest = hashlib.sha256(content).hexdigest()
    path = lab.cache.upload(digest, upload_name(file.name))
    try:
        if not path.is_file() or sha256(path) != digest:
            _write(path, lab.cache.upload_part(digest, uuid.uuid4().hex), content)
    except OSError as error:
        reason = plain(f"{lab.cache.uploads} ({error.strerror or error})")
        st.error(f"The upload cannot be stored in {reason}. Free some space and upload it again.")
        return None
    return digest, path


def _write(path: Path, part: Path, content: memoryview) -> None:
    """Write to a temporary name first, so that a file under the final name is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)

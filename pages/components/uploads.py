"""Uploaded files: stored once, complete, under the digest of their content."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.components.choices import PREFIX
from pages.components.lab import Lab
from pages.components.markdown import plain
from pruning_core.common.files import sha256


def upload_for(lab: Lab, label: str, name: str, types: list[str] | None, help: str) -> None:
    """An uploader; the path of the stored file becomes the value of the setting `name`.

    `types` are the endings of file names that it takes; None takes all.
    """
    file = st.file_uploader(label, types, key=f"upload {name}", help=help)
    if file is None or st.session_state.get(f"uploaded {name}") == file.file_id:
        return
    if stored := store_upload(lab, file):
        st.session_state[f"uploaded {name}"] = file.file_id
        st.session_state[PREFIX + name] = str(stored[1])
        st.rerun()  # what follows from the settings was computed before


def store_upload(lab: Lab, file: UploadedFile) -> tuple[str, Path] | None:
    """Store an uploaded file. Returns its digest and path; None, with an error, if it failed."""
    content = file.getbuffer()
    digest = hashlib.sha256(content).hexdigest()
    # A checkpoint may have any name; its ending serves people only.
    suffix = re.sub("[^a-z0-9]", "", file.name.rsplit(".", 1)[-1].lower())[:12] or "file"
    path = lab.cache.upload(digest, suffix)
    try:
        if not path.is_file() or sha256(path) != digest:
            _write(path, content)
    except OSError as error:
        reason = plain(f"{path.parent} ({error.strerror or error})")
        st.error(f"The upload cannot be stored in {reason}. Free some space and upload it again.")
        return None
    return digest, path


def _write(path: Path, content: memoryview) -> None:
    """Write to a temporary name first, so that a file under the final name is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)

"""Files that a person uploads: kept once, whole, under the digest of their content."""

from __future__ import annotations

import hashlib
import os
import uuid
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from pages.components.choices import PREFIX
from pages.components.shell import Lab, plain


def uploaded(lab: Lab, label: str, name: str, types: list[str]) -> None:
    """Keep an uploaded file under its digest, and make its path the setting."""
    file = st.file_uploader(label, types, key=f"upload {name}", help="Stays on this computer.")
    if file is None or st.session_state.get(f"seen {name}") == file.file_id:
        return
    if found := kept(lab, file):
        st.session_state[f"seen {name}"] = file.file_id
        st.session_state[PREFIX + name] = str(found[1])


def kept(lab: Lab, file: UploadedFile) -> tuple[str, Path] | None:
    """An uploaded file's digest and its place; None, said on the page, where it cannot be kept."""
    content = file.getbuffer()
    digest = hashlib.sha256(content).hexdigest()
    path = lab.cache.upload(digest, file.name.rsplit(".", 1)[-1].lower())
    try:
        if not path.is_file() or path.stat().st_size != len(content):
            _keep(path, content)
    except OSError as error:
        reason = plain(f"{path.parent} ({error.strerror or error})")
        st.error(f"The upload cannot be kept in {reason}. Make room there and upload it again.")
        return None
    return digest, path


def _keep(path: Path, content: memoryview) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)

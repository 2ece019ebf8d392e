"""Files that a person uploads: kept once, whole, under the digest of their content."""

from __future__ import annotations

import hashlib
import os
import uuid

import streamlit as st

from pages.parts.choices import PREFIX
from pages.parts.shell import Lab


def uploaded(lab: Lab, label: str, name: str, types: list[str]) -> None:
    """Keep an uploaded file under its digest, and make its path the setting."""
    file = st.file_uploader(label, types, key=f"upload {name}", help="Stays on this computer.")
    if file is None or st.session_state.get(f"seen {name}") == file.file_id:
        return
    content = file.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    path = lab.cache.upload(digest, file.name.rsplit(".", 1)[-1].lower())
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{uuid.uuid4().hex}.part")
    part.write_bytes(content)
    os.replace(part, path)
    st.session_state[f"seen {name}"] = file.file_id
    st.session_state[PREFIX + name] = str(path)

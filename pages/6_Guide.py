"""Guide: a placeholder until the page is written."""

from __future__ import annotations

import streamlit as st

from pages.components.shell import open_page

open_page("Guide")
st.title("Guide")

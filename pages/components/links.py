"""Links between the pages."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitAPIException

from pages.components import address

PAGES = {
    "Home": "app.py",
    "Tune": "pages/1_Tune.py",
    "Runs": "pages/2_Runs.py",
    "Compare": "pages/3_Compare.py",
    "Layers": "pages/4_Layers.py",
    "Export": "pages/5_Export.py",
    "Guide": "pages/6_Guide.py",
}


def link(page: str, label: str = "", **params: str) -> None:
    """A link to a page with these parameters, else with those of the last visit to it."""
    try:
        parameters = params or address.last_address(page)
        st.page_link(PAGES[page], label=label or page, query_params=parameters)
    except StreamlitAPIException:
        # A page that runs without app.py, as in a test, has no other pages to link.
        st.markdown(label or page, width="content")

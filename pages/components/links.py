"""Links between the pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

import streamlit as st
from streamlit.errors import StreamlitAPIException

from pages.components import address
from pages.components.goal import MAX_DROP, MAX_MB, goal_parameters

PAGES = {
    "Home": "app.py",
    "Tune": "pages/1_Tune.py",
    "Runs": "pages/2_Runs.py",
    "Compare": "pages/3_Compare.py",
    "Layers": "pages/4_Layers.py",
    "Export": "pages/5_Export.py",
    "Guide": "pages/6_Guide.py",
}
# The pages whose address holds the goal, which is the same on all of them.
WITH_GOAL = ("Home", "Tune", "Runs", "Compare", "Export")


def link(page: str, label: str = "", **params: str) -> None:
    """A link to a page with these parameters, else with those of the last visit to it."""
    try:
        parameters = with_goal(page, params or address.last_address(page))
        st.page_link(PAGES[page], label=label or page, query_params=parameters)
    except StreamlitAPIException:
        # A page that runs without app.py, as in a test, has no other pages to link.
        st.markdown(label or page, width="content")


def switch_page(page: str, params: Mapping[str, str]) -> NoReturn:
    """Open another page with these parameters, and with the goal of this session."""
    st.switch_page(PAGES[page], query_params=with_goal(page, params))


def with_goal(page: str, params: Mapping[str, str]) -> dict[str, str]:
    """The parameters with the goal of this session, where the page has one."""
    if page not in WITH_GOAL:
        return dict(params)
    others = {name: text for name, text in params.items() if name not in (MAX_DROP, MAX_MB)}
    return others | goal_parameters()

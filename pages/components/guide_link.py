"""A link from a page to the section of the Guide that explains it."""

from __future__ import annotations

from pages.components.guide_text import find
from pages.components.shell import link


def guide_link(topic: str, section: str = "") -> None:
    """Draw the link. `section` is the slug of a heading. Raises `KeyError` if it is unknown."""
    params = {"topic": topic, "section": section} if section else {"topic": topic}
    link("Guide", f"Guide: {find(topic, section).title}", **params)

"""Text as Markdown that shows it as it is."""

from __future__ import annotations

import re

# Streamlit replaces these even where each of their characters is escaped: icons and emojis, such
# as `:material/home:`, and arrows, dashes and signs between spaces, such as `->`. They are broken
# up at the places that match.
REPLACED = (
    r"(?<=:)(?=[\w+-]+:|material/)|(?:(?<=\s[-<>~])|(?<=^[-<>~]))(?=(?:->|>|-|=)(?:\s|$))"
    r"|(?:(?<=\s<-)|(?<=^<-))(?=>(?:\s|$))"
)
LINKED = r"(?=://)|(?<=www)(?=\.)|(?<=@)(?=[\w-]+\.)"
ENTITY = r"&(?=#?\w+;)"
BREAK = ":small[]"  # an element of no width


def plain(text: str) -> str:
    """Text without any Markdown: every special character is escaped, and no address is a link."""
    return _escaped(LINKED + r"|[\\`*_{}\[\]()#+\-.!|~$<>:]", text)


def inline(text: str) -> str:
    """Text for the middle of a sentence: only inline Markdown is escaped."""
    return _escaped(r"[\\`*_\[\]$~<>|]|:(?=\S)", text)


def _escaped(special: str, text: str) -> str:
    """The text with a backslash before each `special` character."""
    return re.sub(f"{REPLACED}|{ENTITY}|{special}", lambda m: f"\\{m[0]}" if m[0] else BREAK, text)

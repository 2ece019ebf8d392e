"""Text as Markdown that shows it as it is."""

from __future__ import annotations

import re


def plain(text: str) -> str:
    """Text without any Markdown: every special character is escaped."""
    return re.sub(r"([\\`*_{}\[\]()#+\-.!|~$<>:])", r"\\\1", text)


def inline(text: str) -> str:
    """Text for the middle of a sentence: only inline Markdown is escaped."""
    return re.sub(r"[\\`*_\[\]$~<>|]|:(?=\S)", r"\\\g<0>", text)

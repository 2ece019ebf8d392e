"""Text for a terminal or a log. Control characters, which would be commands to it, are escaped.

Names of folders, classes, layers and runs come from the user's files, and may hold any character.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The control characters of ASCII and Latin-1 but for the line break and the tab, those of Unicode
# that change the direction or the line of the text that follows, invisible tags and annotations,
# and halves of characters, which no terminal can be sent.
CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
    r"\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """The text with each control character as Python writes it, such as `\\x1b`."""
    return CONTROL.sub(lambda match: _escape(match[0]), text)


def one_line(text: str) -> str:
    """As `printable`, also without line breaks: a name cannot look like a line of its own."""
    return printable(text).replace("\n", "\\n")


def _escape(letter: str) -> str:
    number = ord(letter)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class PrintableStream:
    """A text stream that writes only printable text to another one, `raw`."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw

    def write(self, text: str) -> int:
        """Write the text, escaped. Returns its number of characters."""
        self.raw.write(printable(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Escape what is written to standard output and standard error."""
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(PrintableStream, streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams

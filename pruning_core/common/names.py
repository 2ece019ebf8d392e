"""Texts that a person types to name and describe a run: its name, its tags and its notes.

They are shown as they were typed, in tables, charts, files and a terminal. So they hold no
character that one of these cannot show, or that would change how the text after it is shown.
"""

from __future__ import annotations

import unicodedata

from pruning_core.common.errors import check, shortened
from pruning_core.common.terminal import CONTROL, one_line

LONGEST_NAME, LONGEST_TAG, LONGEST_NOTES = 200, 50, 10_000
# Categories of Unicode without a shape of their own: marks, separators, formats and controls. Some
# letters and symbols have none either.
SHAPELESS = ("C", "M", "Z")
BLANK = "\u115f\u1160\u2800\u3164\uffa0"
WORDS = {"\n": "a line break", "\r": "a line break", "\t": "a tab"}
TOO_LONG = "this text has {length} characters; give at most {most}."
UNSHOWN = "it has {character} at place {place}. Remove it: it cannot be shown."


def run_name(field: str, text: str) -> str:
    """A name of a run without spaces at its ends and doubled ones; empty for the default name.

    Raises `SpecError`, which names `field`, where it is too long, has a line break or a control
    character, or nothing that can be seen.
    """
    return _one_line(field, text, LONGEST_NAME)


def run_tag(field: str, text: str) -> str:
    """A tag, as `run_name`; also refused where it is empty or has a comma."""
    tag = _one_line(field, text, LONGEST_TAG)
    message = "{tag} is no tag; write a word, or a few words without a comma."
    check(bool(tag) and "," not in tag, field, message, tag=shortened(text))
    return tag


def run_notes(field: str, text: str) -> str:
    """Notes of any number of lines. Raises `SpecError` as `run_name`."""
    notes = text.replace("\r\n", "\n").strip()
    _check(field, notes, LONGEST_NOTES, allowed="\n\t")
    return notes


def made_name(text: str) -> str:
    """A name made of the names of files and folders: escaped where it could be no name of a run."""
    return within_name("", " ".join(one_line(text).split()))


def within_name(before: str, name: str, after: str = "") -> str:
    """A name made of another one, which is shortened where the whole would be too long."""
    most = LONGEST_NAME - len(before) - len(after)
    short = name if len(name) <= most else f"{name[: most - 1]}…"
    return f"{before}{short}{after}"


def _one_line(field: str, text: str, most: int) -> str:
    line = text.strip()
    _check(field, line, most)
    return " ".join(line.split())


def _check(field: str, text: str, most: int, allowed: str = "") -> None:
    check(len(text) <= most, field, TOO_LONG, length=f"{len(text):,}", most=f"{most:,}")
    for place, letter in enumerate(text, 1):
        wrong = letter in WORDS or CONTROL.match(letter) is not None
        check(
            letter in allowed or not wrong,
            field,
            UNSHOWN,
            character=WORDS.get(letter) or f"the control character U+{ord(letter):04X}",
            place=place,
        )
    message = "it has no character that can be seen. Write a text, or leave it empty."
    check(not text or any(map(_has_shape, text)), field, message)


def _has_shape(letter: str) -> bool:
    return unicodedata.category(letter)[0] not in SHAPELESS and letter not in BLANK

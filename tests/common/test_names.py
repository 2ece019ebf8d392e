"""The name, the tags and the notes of a run: what is refused, and how the message says it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.common.names import (
    LONGEST_NAME,
    made_name,
    run_name,
    run_notes,
    run_tag,
    within_name,
)

REFUSED = {
    "n" * 10_000: "this text has 10,000 characters; give at most 200.",
    "a\nb": "it has a line break at place 2. Remove it: it cannot be shown.",
    "a\rb": "it has a line break at place 2.",
    "a\tb": "it has a tab at place 2.",
    "a\0": "it has the control character U+0000 at place 2.",
    "\x1b[31mred": "it has the control character U+001B at place 1.",
    "a\u202eb": "it has the control character U+202E at place 2.",
    "a\u200fb": "it has the control character U+200F at place 2.",
    "a\u2028b": "it has the control character U+2028 at place 2.",
    "\ud800": "it has the control character U+D800 at place 1.",
    "\u200b\u2060": "it has no character that can be seen.",
    "\u3164": "it has no character that can be seen.",
}
KEPT = ["$x^2$", ":material/home: :smile:", "[a](b) **b** <i>", "-> --", "زد גל", "👩‍🔬", "é ∑"]


@pytest.mark.parametrize("text", REFUSED)
def test_a_name_that_could_not_be_shown_is_refused(text: str) -> None:
    with pytest.raises(SpecError) as error:
        run_name("label", text)
    assert error.value.field == "label"
    assert error.value.message.startswith(REFUSED[text])
    with pytest.raises(SpecError):
        run_tag("tag", text)


@pytest.mark.parametrize("text", KEPT)
def test_other_names_stay_as_they_were_typed(text: str) -> None:
    assert run_name("label", f"  {text} ") == run_tag("tag", text) == run_notes("notes", text)
    assert run_name("label", text) == text


def test_white_space_alone_is_no_name_and_no_tag() -> None:
    assert run_name("label", " \u00a0 \n") == run_notes("notes", "\n ") == ""
    with pytest.raises(SpecError, match="' ' is no tag"):
        run_tag("tag", " ")


def test_notes_have_lines_but_no_control_characters() -> None:
    assert run_notes("notes", "one\r\ntwo\n\tthree\n") == "one\ntwo\n\tthree"
    with pytest.raises(SpecError, match=r"U\+001B at place 5"):
        run_notes("notes", "one\n\x1b[1m")


@pytest.mark.parametrize("make", [made_name, lambda text: within_name("Sensitivity of ", text)])
def test_a_name_made_of_others_can_be_the_name_of_a_run(make: Callable[[str], str]) -> None:
    assert run_name("label", make("a" * 300)) == make("a" * 300)
    assert len(make("a" * 300)) == LONGEST_NAME
    assert made_name("two\nlines  \x07") == "two\\nlines \\x07"

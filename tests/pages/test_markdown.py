"""Texts as Markdown: nothing in them is Markdown, and nothing that Streamlit replaces is whole."""

from __future__ import annotations

import pytest

from pages.components.markdown import BREAK, inline, plain

ESCAPED = {
    "a_b *c* [d](e)": r"a\_b \*c\* \[d\]\(e\)",
    ":material/home:": rf"\:{BREAK}material/home\:",
    "at 12:30, x: y": r"at 12\:30, x\: y",
    ":smile: :+1:": rf"\:{BREAK}smile\: \:{BREAK}\+1\:",
    "a -> b <- c": rf"a \-{BREAK}\> b \<{BREAK}\- c",
    "<->": rf"\<{BREAK}\-{BREAK}\>",
    "a -- b--c -d": rf"a \-{BREAK}\- b\-\-c \-d",
    "x >= y=>z": rf"x \>{BREAK}= y=\>z",
    "&amp; & &#38;": r"\&amp; & \&\#38;",
}


@pytest.mark.parametrize("text", ESCAPED)
def test_each_special_character_is_escaped_and_each_sign_broken_up(text: str) -> None:
    assert plain(text) == ESCAPED[text]


def test_an_address_in_a_name_is_no_link() -> None:
    assert plain("https://a.org www.a.org me@a.org") == (
        rf"https{BREAK}\://a\.org www{BREAK}\.a\.org me@{BREAK}a\.org"
    )
    assert BREAK not in inline("See https://a.org."), "a sentence may have one"


@pytest.mark.parametrize("text", ESCAPED)
def test_inside_a_sentence_the_same_without_needless_escapes(text: str) -> None:
    def bare(markdown: str) -> str:
        return markdown.replace("\\", "")

    assert bare(inline(text)) == bare(plain(text))
    assert inline("Foo (a-b): c.") == "Foo (a-b): c."

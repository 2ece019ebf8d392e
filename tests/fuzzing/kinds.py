"""A kind of hostile input: how examples are made, and what the project does with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

# Gives the sentence of a refusal, or None where the example was accepted. The function asserts
# that what it accepts is right.
Attempt = Callable[[Any, Path], str | None]
INTERESTING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x80\0\0\0",
    b"\n",
    b"../",
)


@dataclass(frozen=True)
class InputKind:
    """`share` is the part of all examples of this kind. `prepare` makes what all of them need."""

    name: str
    examples: SearchStrategy[Any]
    attempt: Attempt
    share: float
    prepare: Callable[[], object] = lambda: None


@st.composite
def edits(draw: DrawFn, most: int = 4) -> list[tuple[float, str, bytes]]:
    """Changes of bytes: the place as a fraction, what is done there, and with which bytes."""
    edit = st.tuples(
        st.floats(0, 1),
        st.sampled_from(("overwrite", "insert", "delete", "cut", "repeat")),
        st.one_of(st.sampled_from(INTERESTING), st.binary(min_size=1, max_size=8)),
    )
    return draw(st.lists(edit, max_size=most))


def edited(content: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    """The bytes after the changes; a cut removes the rest."""
    for fraction, action, data in changes:
        place = round(fraction * len(content))
        before, after = content[:place], content[place:]
        content = {
            "overwrite": before + data + after[len(data) :],
            "insert": before + data + after,
            "delete": before + after[len(data) :],
            "cut": before,
            "repeat": before + after[: len(data)] * 3 + after,
        }[action]
    return content

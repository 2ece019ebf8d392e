"""The error for a wrong setting: its sentence, its limits, and its way through the queue."""

from __future__ import annotations

from typing import Any

import pytest

from pruning_core.common.errors import (
    MESSAGE_CHARACTERS,
    VALUE_CHARACTERS,
    Choice,
    Ref,
    Share,
    SpecError,
    at_least,
    brief,
    once,
    one_of,
)

VALUES: dict[str, Any] = {
    "share": Share(0.5),
    "setting": Ref("one_shot.amounts"),
    "choice": Choice("pruning.allocation", "erk"),
    "text": "a {text}",
    "number": 3,
}
TEMPLATE = "{share} {setting} {choice} {text} {number}"


def test_a_sentence_has_the_names_of_a_settings_file() -> None:
    error = SpecError("pruning.allocation", TEMPLATE, **VALUES)
    assert error.message == "0.5 one_shot.amounts erk a {text} 3"
    assert str(error) == "pruning.allocation: 0.5 one_shot.amounts erk a {text} 3"


def test_a_template_without_values_is_the_sentence() -> None:
    assert SpecError("spec", "no {value} here.").message == "no {value} here."


def test_an_error_survives_its_json() -> None:
    error = SpecError("pruning.allocation", TEMPLATE, **VALUES)
    read = SpecError.from_json(error.field, error.to_json())
    assert (read.field, read.template, read.values) == (error.field, error.template, error.values)
    assert error.for_field("--allocation").field == "--allocation"
    assert error.for_field("--allocation").values == error.values


@pytest.mark.parametrize("text", ["a sentence.", "3", "null", '{"template": 1}', "[]"])
def test_other_text_is_the_sentence_itself(text: str) -> None:
    assert SpecError.from_json("amount", text).message == text


def test_long_values_are_shortened() -> None:
    long = "x" * 500
    assert len(brief(long)) <= VALUE_CHARACTERS
    assert len(brief(" ".join(["word"] * 1000))) <= MESSAGE_CHARACTERS
    assert brief("short") == "short"


def test_checks_name_the_value() -> None:
    with pytest.raises(SpecError, match="'tpu' is not one of cpu, cuda"):
        one_of("device", "tpu", ("cpu", "cuda"))
    with pytest.raises(SpecError, match="0 is too small; give 1 or more"):
        at_least("rounds", 0, 1)
    with pytest.raises(SpecError, match="is too large; give 1,000,000,000,000 at most"):
        at_least("rounds", 10**13, 1)
    with pytest.raises(SpecError, match="2 is listed twice") as caught:
        once("seeds", (1, 2, 2))
    assert caught.value.values == {"value": 2}
    with pytest.raises(SpecError, match=r"0.3 is listed twice") as caught:
        once("one_shot.amounts", (0.3, 0.3), shares=True)
    assert caught.value.values == {"value": Share(0.3)}
    once("seeds", (1, 2))

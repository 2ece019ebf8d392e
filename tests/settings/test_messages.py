"""One error, two sentences: for the command line and for a page."""

from __future__ import annotations

import pytest

from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.settings.fields import fields_of
from pruning_core.settings.messages import field_of, flag, for_command_line, for_page, title
from pruning_core.settings.spec import Spec

ERROR = SpecError(
    "one_shot.amounts",
    "{target} is too high with {allocation}. Lower it, raise {density}, or give {number} {text}.",
    target=Share(0.995),
    allocation=Choice("pruning.allocation", "erk"),
    density=Ref("pruning.min_density"),
    number=3,
    text="images",
)


def test_an_error_on_the_command_line() -> None:
    assert for_command_line(ERROR) == (
        "--amounts: 0.995 is too high with erk. Lower it, raise --min-density, or give 3 images."
    )


def test_the_command_line_names_the_option_that_was_given() -> None:
    error = SpecError("one_shot.epochs", "{value} is too small.", value=-1)
    assert for_command_line(error) == "--one-shot-epochs: -1 is too small."
    assert for_command_line(error, "--epochs") == "--epochs: -1 is too small."


def test_an_error_on_a_page() -> None:
    assert for_page(ERROR) == (
        "One-shot sparsity levels: 99.5 % is too high with 'ERK'. Lower it, raise 'Minimum density "
        "per layer', or give 3 images."
    )


def test_an_error_of_no_setting() -> None:
    assert for_page(SpecError("", "nothing to run.")) == "Nothing to run."
    assert for_page(SpecError("image", "it is no image.")) == "Your image: it is no image."
    assert for_page(SpecError("amount", "{x} is too low.", x=Share(0.1))) == (
        "Sparsity: 10 % is too low."
    )
    assert for_command_line(SpecError("--hours", "too long.")) == "--hours: too long."
    assert for_command_line(SpecError("spec", "this is not JSON.")) == "--spec: this is not JSON."


@pytest.mark.parametrize("name", fields_of(Spec))
def test_titles_and_flags_are_those_of_the_field(name: str) -> None:
    field = field_of(name)
    assert field is not None
    assert title(name) == field.title
    assert flag(name) == (field.flag or name)


def test_other_names_stay_as_they_are() -> None:
    assert field_of("machine") is None
    assert title("machine") == flag("machine") == "machine"


@pytest.mark.parametrize(("share", "text"), [(0.5, "50 %"), (0.00125, "0.125 %"), (1.0, "100 %")])
def test_shares_in_percent(share: float, text: str) -> None:
    assert for_page(SpecError("", "{share}", share=Share(share))) == text

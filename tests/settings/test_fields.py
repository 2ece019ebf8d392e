"""One description of each setting: bounds, choices, units, titles and flags follow from it."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from typing import Any

import pytest

from pruning_core.common.errors import HIGHEST, Share, SpecError
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.methods.registry import Registry
from pruning_core.settings.fields import (
    SHARE,
    Field,
    check_fields,
    check_value,
    fields_of,
    setting,
)
from pruning_core.settings.messages import for_command_line, for_page
from pruning_core.settings.spec import SHARED, Spec
from pruning_core.settings.training import TrainSpec

FIELDS = fields_of(Spec)
NUMBERS = {n: f for n, f in FIELDS.items() if f.item_type in (int, float)}
SHARES = {n: f for n, f in FIELDS.items() if f.is_share}


def refusal(field: Field, value: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        check_value(field, value, field.name)
    return caught.value


def next_to(value: float, direction: float, kind: type) -> float:
    """The next number of this type above (1) or below (-1) a value."""
    return value + direction if kind is int else math.nextafter(value, direction * math.inf)


@pytest.mark.parametrize("name", NUMBERS)
def test_bounds_are_checked(name: str) -> None:
    field, about = NUMBERS[name], NUMBERS[name].about
    if about.choices is not None:
        assert "is not one of" in refusal(field, 99).message
        return
    for bound, inclusive, outside in (
        (about.minimum, True, -1),
        (about.above, False, -1),
        (about.maximum, True, 1),
        (about.below, False, 1),
    ):
        if bound is None:
            continue
        if inclusive:
            check_value(field, field.item_type(bound), name)
            error = refusal(field, next_to(field.item_type(bound), outside, field.item_type))
        else:
            check_value(field, next_to(field.item_type(bound), -outside, field.item_type), name)
            error = refusal(field, field.item_type(bound))
        assert error.field == name
        assert "out of range: it must be" in error.message


@pytest.mark.parametrize("name", NUMBERS)
def test_not_a_number_is_outside_all_bounds(name: str) -> None:
    about = NUMBERS[name].about
    bounds = (about.minimum, about.above, about.maximum, about.below)
    if NUMBERS[name].item_type is float and any(bound is not None for bound in bounds):
        assert refusal(NUMBERS[name], math.nan).field == name


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if f.about.choices is not None])
def test_choices_are_checked(name: str) -> None:
    field = FIELDS[name]
    for choice in field.choice_names:
        check_value(field, choice, name)
        assert field.choice_title(choice)
    if isinstance(field.about.choices, Registry):
        titles = [field.choice_title(choice) for choice in field.choice_names]
        assert titles == list(field.about.choices.titles.values())
    if field.about.free:
        check_value(field, "another", name)
    else:
        assert "is not one of" in refusal(field, "another").message


@pytest.mark.parametrize("name", FIELDS)
def test_a_setting_has_a_title_a_help_and_a_valid_default(name: str) -> None:
    field = FIELDS[name]
    assert field.title
    assert field.title[0].isupper()
    assert field.about.help.endswith(".")
    for value in field.default if field.is_list else (field.default,):
        check_value(field, value, name)
    if field.about.slider:
        low, high = field.about.slider
        check_value(field, field.item_type(low), name)
        check_value(field, field.item_type(high), name)


@pytest.mark.parametrize("name", FIELDS)
def test_conditions_complete_a_sentence(name: str) -> None:
    for condition in FIELDS[name].conditions:
        assert condition.text.split()[0] in ("with", "by", "if")
        assert not condition.text.endswith(".")


def test_flags_are_unique_but_for_shared_flags() -> None:
    flags = Counter(field.flag for field in FIELDS.values() if field.flag)
    assert [flag for flag, count in flags.items() if count > 1] == []
    assert all(flag.startswith("--") and flag == flag.lower() for flag in flags)
    shared = Counter(field.shared_flag for field in FIELDS.values() if field.shared_flag)
    shared_by_several = {flag for flag, count in shared.items() if count + (flag in flags) > 1}
    names = {f"--{name.replace('_', '-')}" for name in SHARED}
    assert set(shared) == shared_by_several == {"--epochs", *names}


def test_titles_are_unique() -> None:
    titles = Counter(field.title for field in FIELDS.values())
    assert [title for title, count in titles.items() if count > 1] == []


def test_flags_and_titles_of_the_baseline_begin_with_it() -> None:
    for name in ("baseline.lr_schedule", "baseline.bn_recalibration_images"):
        assert FIELDS[name].flag == f"--{name.replace('.', '-').replace('_', '-')}"
    assert FIELDS["baseline.lr_schedule"].title == "Baseline learning-rate schedule"
    assert FIELDS["baseline.bn_recalibration_images"].title == "Baseline BN recalibration images"
    assert FIELDS["finetune.lr_schedule"].title == "Learning-rate schedule"


@pytest.mark.parametrize("name", SHARES)
def test_a_share_is_percent_on_a_page_and_a_fraction_on_the_command_line(name: str) -> None:
    error = refusal(SHARES[name], 1.25)
    assert error.values["value"] == Share(1.25)
    assert "125 % is out of range" in for_page(error)
    assert "1.25 is out of range" in for_command_line(error)
    assert " %" not in for_command_line(error)


def test_other_numbers_are_no_percent() -> None:
    error = refusal(FIELDS["finetune.lr"], 20.0)
    assert for_page(error) == (
        "Learning rate: 20 is out of range: it must be above 0 and at most 10."
    )
    assert for_command_line(error) == (
        "--lr: 20 is out of range: it must be above 0 and at most 10."
    )


def test_a_whole_number_without_a_maximum_has_a_limit() -> None:
    """Number fields of browsers hold whole numbers up to 2^53."""
    assert "is too large" in refusal(FIELDS["data.train_size"], HIGHEST + 1).message


def test_a_whole_float_has_one_form() -> None:
    settings = TrainSpec(lr=1)
    assert isinstance(settings.lr, float)
    assert settings == TrainSpec(lr=1.0)


def test_a_new_field_is_described_once() -> None:
    """The check, the flag, the title and the choices follow from one description."""

    @dataclasses.dataclass(frozen=True)
    class Example:
        momentum_decay: float = setting(0.5, "Decay", help="A help.", unit=SHARE, above=0, below=1)
        optimizer: str = setting("sgd", "Optimizer", help="A help.", choices=OPTIMIZERS)

        def __post_init__(self) -> None:
            check_fields(self, "example.")

    fields = fields_of(Example)
    assert fields["momentum_decay"].flag == "--momentum-decay"
    assert fields["momentum_decay"].is_share
    assert fields["optimizer"].choice_title("adam") == "Adam"
    with pytest.raises(SpecError, match=r"example\.momentum_decay: 1 is out of range") as caught:
        Example(momentum_decay=1.0)
    assert caught.value.values["below"] == Share(1.0)
    with pytest.raises(TypeError, match="tuple"):
        setting([], "List", help="A help.")

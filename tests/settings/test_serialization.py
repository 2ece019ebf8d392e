"""Settings as JSON: one text for one meaning, and refusals that name the setting."""

from __future__ import annotations

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.settings.serialization import (
    build,
    canonical,
    canonical_json,
    keyed,
    plain,
    to_dict,
)
from pruning_core.settings.spec import Spec
from pruning_core.settings.training import TrainSpec


def test_one_text_for_one_meaning() -> None:
    assert canonical_json({"b": (1, 2.0), "a": 0.1 + 0.2}) == '{"a":0.3,"b":[1,2.0]}'
    assert canonical(-0.0) == 0.0
    assert str(canonical(-0.0)) == "0.0"
    assert canonical_json({"ä": 1}) == '{"ä":1}'


@pytest.mark.parametrize(
    ("value", "expected"), [(2.0, 2), (2, 2), (0.1 + 0.2, 0.3), (1e-9, 0), (1.5, 1.5)]
)
def test_whole_numbers_are_plain(value: float, expected: float) -> None:
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)


def test_settings_without_a_neutral_value_all_enter_a_key() -> None:
    assert keyed(TrainSpec()) == to_dict(TrainSpec())


@pytest.mark.parametrize(
    ("value", "field", "words"),
    [
        ([], "spec", "a JSON object is needed"),
        ({"data": 3}, "data", "a JSON object is needed"),
        ({"speed": 1}, "speed", "there is no setting of this name"),
        ({"finetune": {"speed": 1}}, "finetune.speed", "there is no setting of this name"),
        ({"baseline_epochs": "1"}, "baseline_epochs", "'1' is not a whole number"),
        ({"baseline_epochs": True}, "baseline_epochs", "true is not a whole number"),
        ({"baseline_epochs": None}, "baseline_epochs", "null is not a whole number"),
        ({"baseline_epochs": 2.5}, "baseline_epochs", "2.5 is not a whole number"),
        ({"baseline_epochs": 1e300}, "baseline_epochs", "1e+300 is not a whole number"),
        ({"finetune": {"lr": "fast"}}, "finetune.lr", "'fast' is not a number"),
        ({"iterative": {"enabled": 1}}, "iterative.enabled", "1 is not true or false"),
        ({"seeds": 1}, "seeds", "a list is needed"),
        ({"seeds": [0.5]}, "seeds", "0.5 is not a whole number"),
        ({"label": 3}, "label", "3 is not a text"),
        ({"label": "\ud800"}, "label", "is not readable as UTF-8"),
        ({"finetune": {"lr": 10**400}}, "finetune.lr", "is not a number"),
        ({"baseline": {"warmup": 1.0}}, "baseline.warmup", "must be at least 0 and below 1"),
    ],
)
def test_a_wrong_value_is_refused_with_its_full_name(value: object, field: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        build(Spec, value)
    assert caught.value.field == field
    assert words in caught.value.message

"""The choices of the Tune page: their titles, their fields, their links."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pages.components import choices, number_lists
from pages.components.facts import explain
from pruning_core.methods.models import MODELS
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.settings import messages
from pruning_core.settings.spec import Spec

FLAT = choices.flat(choices.to_dict(QUICKSTART))
VALUES = ["", "x", "-1", "0", "1e999", "NaN", "[]", "[[1]]", "{}", "null", "true", "9" * 5000]


def test_every_setting_has_a_title_of_its_own() -> None:
    assert set(FLAT) <= set(messages.TITLES)
    assert len(set(messages.TITLES.values())) == len(messages.TITLES)


@pytest.mark.parametrize(
    ("field", "message", "said"),
    [
        (
            "one_shot.amounts",
            "1.0 is not a fraction from 0 up to, but not including, 1.",
            "One-shot amounts: 100 % is not from 0 up to, but not including, 100 %.",
        ),
        (
            "pruning.min_density",
            "1.5 is not in [0, 1).",
            "Keep-floor: 150 % is not from 0 up to, but not including, 100 %.",
        ),
        (
            "pruning.min_density",
            "keeping 5.0% of every layer, at most 94.25% can go, but 99.50% is asked for.",
            "Keep-floor: keeping 5 % of every layer, at most 94.25 % can go, but 99.5 % is "
            "asked for.",
        ),
        (
            "iterative.target",
            "'0.5x' is not a number.",
            "Iterative target: '0.5x' is not a number.",
        ),
        ("finetune.lr", "11.0 is outside 0 to 10.", "Learning rate: 11.0 is outside 0 to 10."),
        (
            "data.image_size",
            "vit_b_16 needs that image_size is a multiple of 16; 30 is not.",
            "Image size: vit_b_16 needs that Image size is a multiple of 16; 30 is not.",
        ),
        (
            "model.stem_stride",
            "Leave stem_stride at 2.",
            "Stem stride: Leave Stem stride at 2.",
        ),
        (
            "pruning.granularity",
            "`2:4` takes the same share of every layer; take scope `layer`, not `odd`.",
            "Goes as one piece: '2 of every 4 inputs (2:4)' takes the same share of every layer; "
            "take scope 'Each layer alike', not 'odd'.",
        ),
        ("data.path", "/data/image_size/x is gone.", ": /data/image_size/x is gone."),
        ("", "Traceback\nRuntimeError: the reason", "RuntimeError: the reason"),
        (
            "",
            "Traceback\nX: The criterion `obd` fails.",
            "The criterion 'Error curvature (OBD)' fails.",
        ),
        ("iterative.target", "`2:4` at 0.5.", "'2 of every 4 inputs (2:4)' at 50 %."),
        ("no.such", "odd.", "no.such: odd."),
    ],
)
def test_an_error_is_told_by_title_in_the_page_s_units(field: str, message: str, said: str) -> None:
    assert explain(field, message).endswith(said)


@given(
    st.sampled_from(sorted(FLAT)), st.sampled_from([-1, 0, 1.5, 10**9, "", "x", [], [2.0], None])
)
@settings(deadline=None, max_examples=100)
def test_no_refusal_of_a_spec_names_a_setting(name: str, value: Any) -> None:
    (said,) = choices.settle({name: value}, FLAT).problems or ("",)
    names = [name for name in FLAT if "." in name]
    assert not said or said.split(":")[0] in messages.TITLES.values()
    assert not [name for name in names if name in said]


@pytest.mark.parametrize(
    ("text", "fractions"),
    [
        ("0, 30, 50 %", [0.0, 0.3, 0.5]),
        ("30;50", [0.3, 0.5]),
        ("30 50", [0.3, 0.5]),
        ("30 %, 50 %", [0.3, 0.5]),
        ("0, 0.5, 50", [0.0, 0.005, 0.5]),
        ("0.3, 0.5 %", [0.003, 0.005]),
        ("0", [0.0]),
        ("", []),
    ],
)
def test_amounts_are_percent(text: str, fractions: list[float]) -> None:
    assert number_lists.read_percent(text) == fractions


@given(st.lists(st.integers(0, 999_999), max_size=6, unique=True))
@settings(deadline=None, max_examples=200)
def test_amounts_survive_their_field(millionths: list[int]) -> None:
    fractions = [round(part / 1e6, 6) for part in millionths]
    assert number_lists.read_percent(number_lists.written_percent(fractions)) == fractions


@given(st.lists(st.sampled_from(["stem", "features.0.*", "a.[0-3].weight=90 %"]), max_size=3))
def test_entries_survive_their_field(entries: list[str]) -> None:
    shown = choices.to_widget("pruning.exclude", entries)
    assert choices.from_widget("pruning.exclude", shown) == entries


def test_entries_are_parted_by_commas_or_semicolons() -> None:
    assert choices.from_widget("pruning.layer_sparsities", " a=0.5 ;b = 90 %,, ") == [
        "a=0.5",
        "b = 90 %",
    ]


def test_choices_that_do_not_go_together_give_way() -> None:
    reading = choices.from_params({"one_shot.amounts": "[]", "iterative.enabled": "false"})
    assert reading.values["iterative.enabled"] is False
    assert reading.values["one_shot.amounts"] == FLAT["one_shot.amounts"]
    assert len(reading.problems) == 1


def test_what_follows_from_a_first_mistake_is_no_second_one() -> None:
    """The rewind is refused beside RigL; that fine-tuning rewinds to no epoch then is not news."""
    base = choices.settle({"iterative.schedule": "rigl"}, FLAT).values
    chosen = {"recovery.method": "weight_rewinding", "recovery.rewind_epoch": 1, "seeds": []}
    every = choices.settle(chosen, base)
    assert [said.partition(":")[0] for said in every.problems].count("Rewind to epoch") == 1
    own = choices.settle(chosen, base, every=False)
    assert [said.partition(":")[0] for said in own.problems] == ["Seeds", "Way to recover"]
    assert own.values == every.values


def test_the_one_that_clashes_with_what_was_there_gives_way() -> None:
    base = {**FLAT, "one_shot.amounts": []}
    reading = choices.settle({"iterative.enabled": False, "seeds": [3]}, base)
    assert reading.values == {**base, "seeds": [3]}


@given(
    st.dictionaries(
        st.sampled_from([*FLAT, "old", "data"]),
        st.one_of(st.sampled_from([*VALUES, "[" * 5000]), st.text(max_size=5)),
        max_size=5,
    )
)
@settings(deadline=None, max_examples=150)
def test_any_link_gives_choices(link: dict[str, str]) -> None:
    reading = choices.from_params(link)
    assert isinstance(choices.spec_of(reading.values), Spec)
    assert all(len(problem) < 400 for problem in reading.problems)
    assert choices.from_params(choices.link_of(reading.values)).problems == ()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_changed_preset_s_link_needs_no_label(preset: str) -> None:
    spec = PRESETS[preset].spec
    changed = replace(spec, seeds=(7,), label="")
    assert "label" not in choices.params(changed)
    assert choices.spec_of(choices.from_params(choices.params(changed)).values) == changed


def test_every_model_that_is_offered_exists_and_none_is_missing() -> None:
    from pruning_core.engine.models.build import names

    assert len(set(MODELS)) == len(MODELS) >= 80
    assert set(MODELS) <= set(names())

"""The settings of the Tune page: titles, errors, text fields, links."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pages.components import choices, number_lists
from pages.components.facts import explain
from pages.components.setting_values import flat, from_params, link_of, params, resolve, spec_of
from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.methods.models import MODELS
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec

FLAT = flat(to_dict(QUICKSTART))
VALUES = ["", "x", "-1", "0", "1e999", "NaN", "[]", "[[1]]", "{}", "null", "true", "9" * 5000]


def test_every_setting_has_its_own_title() -> None:
    titles = [choices.FIELDS[name].title for name in FLAT]
    assert all(titles)
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            SpecError("one_shot.amounts", "{value} is out of range.", value=Share(1.0)),
            "One-shot sparsity levels: 100 % is out of range.",
        ),
        (
            SpecError(
                "pruning.min_density",
                "with {kept} kept at most {most} can be pruned, but {target} is {asked}.",
                kept=Share(0.05),
                most=Share(0.9425),
                target=Ref("iterative.target"),
                asked=Share(0.995),
            ),
            "Minimum density per layer: with 5 % kept at most 94.25 % can be pruned, but 'Target "
            "sparsity' is 99.5 %.",
        ),
        (SpecError("finetune.lr", "11.0 is too high."), "Learning rate: 11.0 is too high."),
        (
            SpecError(
                "pruning.granularity",
                "{pattern} needs {uniform} as {setting}.",
                pattern=Choice("pruning.granularity", "2:4"),
                uniform=Choice("pruning.allocation", "uniform"),
                setting=Ref("pruning.allocation"),
            ),
            "Granularity: '2:4 semi-structured (N:M)' needs 'Uniform' as 'Sparsity allocation'.",
        ),
        (
            SpecError("data.path", "{path} is gone.", path="/data/image_size/x"),
            "Image folder or .zip: /data/image_size/x is gone.",
        ),
        (SpecError("no.such", "odd."), "no.such: odd."),
    ],
)
def test_a_failure_is_explained_by_title_in_the_page_s_units(error: SpecError, text: str) -> None:
    assert explain(error.field, error.to_json()) == text


def test_a_traceback_is_explained_by_its_last_line() -> None:
    assert explain("", "Traceback\nRuntimeError: the reason") == "RuntimeError: the reason"
    assert explain("", "") == "No reason was recorded."


@given(
    st.sampled_from(sorted(FLAT)), st.sampled_from([-1, 0, 1.5, 10**9, "", "x", [], [2.0], None])
)
@settings(deadline=None, max_examples=100)
def test_a_refusal_names_settings_by_title(name: str, value: Any) -> None:
    (text,) = resolve({name: value}, FLAT).problems or ("",)
    names = [name for name in FLAT if "." in name]
    titles = {field.title for field in choices.FIELDS.values()}
    assert not text or text.split(":")[0] in titles
    assert not [name for name in names if name in text]


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("0, 30, 50 %", [0.0, 0.3, 0.5]),
        ("30;50", [0.3, 0.5]),
        ("30 50", [0.3, 0.5]),
        ("30 %, 50 %", [0.3, 0.5]),
        ("0, 0.5, 50", [0.0, 0.005, 0.5]),
        ("0.3, 0.5 %", [0.003, 0.005]),
        ("0", [0.0]),
        ("", []),
        ("[0.0, 0.3, 0.5]", [0.0, 0.3, 0.5]),
        (" (0.3,0.5) ", [0.3, 0.5]),
        ("[0, 30, 50]", [0.0, 0.3, 0.5]),
        ("[0.3 %]", [0.003]),
        ("[0.0, 0.3, 1.0]", [0.0, 0.3, 1.0]),
        ("[0.0, 0.3],", [0.0, 0.3]),
        ("{0.3, 0.5}", [0.3, 0.5]),
    ],
)
def test_percent_text_becomes_shares(text: str, shares: list[float]) -> None:
    assert number_lists.parse_percent(text) == shares


def test_a_decimal_comma_is_questioned() -> None:
    with pytest.raises(ValueError, match=r"has commas and semicolons. .* with a point: 2.5"):
        number_lists.parse_percent("2,5; 30")


@given(st.lists(st.integers(0, 999_999), max_size=6, unique=True))
@settings(deadline=None, max_examples=200)
def test_shares_survive_their_text_field(millionths: list[int]) -> None:
    shares = [round(part / 1e6, 6) for part in millionths]
    assert number_lists.parse_percent(number_lists.percent_text(shares)) == shares


@given(st.lists(st.sampled_from(["stem", "features.0.*", "a.[0-3].weight=90 %"]), max_size=3))
def test_entries_survive_their_text_field(entries: list[str]) -> None:
    shown = choices.to_widget("pruning.exclude", entries)
    assert choices.from_widget("pruning.exclude", shown) == entries


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("['features.0', \"fc\"]", ["features.0", "fc"]),
        ("('fc',)", ["fc"]),
        ("[ab].weight, c.[0-3]", ["[ab].weight", "c.[0-3]"]),
    ],
)
def test_a_list_of_names_can_be_pasted(text: str, entries: list[str]) -> None:
    assert choices.from_widget("pruning.exclude", text) == entries


def test_entries_are_separated_by_commas_or_semicolons() -> None:
    assert choices.from_widget("pruning.layer_sparsities", " a=0.5 ;b = 90 %,, ") == [
        "a=0.5",
        "b = 90 %",
    ]


def test_settings_that_contradict_each_other_are_replaced() -> None:
    reading = from_params({"one_shot.amounts": "[]", "iterative.enabled": "false"})
    assert reading.values["iterative.enabled"] is False
    assert reading.values["one_shot.amounts"] == FLAT["one_shot.amounts"]
    assert len(reading.problems) == 1


def test_the_consequence_of_a_first_error_is_no_second_one() -> None:
    """RigL refuses weight rewinding. Fine-tuning, which replaces it, has no rewind epoch."""
    base = resolve({"iterative.schedule": "rigl"}, FLAT).values
    given = {"recovery.method": "weight_rewinding", "recovery.rewind_epoch": 1, "seeds": []}
    every = resolve(given, base)
    assert [text.partition(":")[0] for text in every.problems].count("Rewind epoch") == 1
    first = resolve(given, base, all_errors=False)
    assert [text.partition(":")[0] for text in first.problems] == ["Seeds", "Recovery method"]
    assert first.values == every.values


def test_a_setting_that_contradicts_the_base_is_replaced() -> None:
    base = {**FLAT, "one_shot.amounts": []}
    reading = resolve({"iterative.enabled": False, "seeds": [3]}, base)
    assert reading.values == {**base, "seeds": [3]}


@given(
    st.dictionaries(
        st.sampled_from([*FLAT, "old", "data"]),
        st.one_of(st.sampled_from([*VALUES, "[" * 5000]), st.text(max_size=5)),
        max_size=5,
    )
)
@settings(deadline=None, max_examples=150)
def test_any_link_makes_a_spec(link: dict[str, str]) -> None:
    reading = from_params(link)
    assert isinstance(spec_of(reading.values), Spec)
    assert all(len(problem) < 400 for problem in reading.problems)
    assert from_params(link_of(reading.values)).problems == ()


@pytest.mark.parametrize("preset", PRESETS)
def test_a_changed_preset_s_link_needs_no_label(preset: str) -> None:
    spec = PRESETS[preset].spec
    changed = replace(spec, seeds=(7,), label="")
    assert "label" not in params(changed)
    assert spec_of(from_params(params(changed)).values) == changed


def test_the_offered_models_are_those_of_torchvision() -> None:
    from pruning_core.engine.models.build import names

    assert len(set(MODELS)) == len(MODELS) >= 80
    assert set(MODELS) <= set(names())

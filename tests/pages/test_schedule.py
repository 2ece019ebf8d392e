"""The schedule on Tune: what is drawn is what is planned, and a table to edit it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import choices
from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES
from pruning_core.planning.plan import plan
from pruning_core.settings.spec import Spec
from tests.helpers.inspections import Facts
from tests.helpers.tune_page import ran, tune

QUICK = [36.9043, 60.1893, 74.8811, 84.1511, 90.0]


pytestmark = pytest.mark.usefixtures("no_worker")


def edit(test: AppTest, rows: dict[int, float], added: list[float], deleted: list[int]) -> AppTest:
    """What a person does in the table: cells by row from 0, rows added below, rows deleted."""
    test.session_state[test.data_editor[0].key] = {
        "edited_rows": {row: {"Target": value} for row, value in rows.items()},
        "added_rows": [{"Target": value} for value in added],
        "deleted_rows": deleted,
    }
    return ran(test)


def shown(test: AppTest) -> list[float]:
    return list(test.data_editor[0].value["Target"])


def drawn(test: AppTest) -> list[float]:
    """The percents of the chain in the schedule chart, from the dense model on."""
    figure = json.loads(test.get("plotly_chart")[0].proto.spec)
    return next(list(t["y"]) for t in figure["data"] if t["name"] == "iterative")


def spec(test: AppTest) -> Spec:
    return choices.spec_of(test.session_state[choices.KEPT])


def widgets(test: AppTest) -> tuple[Any, ...]:
    return (
        test.selectbox(key="w.iterative.schedule").value,
        test.text_input(key="w.iterative.custom_schedule").value,
        test.slider(key="w.iterative.iterations").value,
        test.slider(key="w.iterative.target").value,
    )


def test_the_chart_draws_what_the_plan_cuts_to() -> None:
    test = tune(**{"iterative.final_epochs": "1.5"})
    for name in SPARSITY_SCHEDULES:
        test.selectbox(key="w.iterative.schedule").set_value(name)
        found = spec(ran(test))
        points = plan(found, Facts(found)).models
        asked = [100 * point.target for point in points if point.strategy == "iterative"]
        assert found.iterative.schedule == name
        # Typed targets begin with those before, and dense-sparse-dense's last one falls.
        assert len(asked) == (5 if name == "custom" else 6)
        assert drawn(test) == pytest.approx([0, *asked], abs=1e-9)


def test_an_edited_cell_makes_the_targets_typed_ones() -> None:
    test = tune()
    assert shown(test) == QUICK
    edit(test, {1: 65.5}, [], [])
    assert shown(test) == [36.9043, 65.5, *QUICK[2:]]
    assert widgets(test) == ("custom", "36.9043, 65.5, 74.8811, 84.1511, 90 %", 5, 90.0)
    assert drawn(test) == pytest.approx([0, 36.9043, 65.5, *QUICK[2:]])
    link = choices.link_of(test.session_state[choices.KEPT])
    assert set(link) == set(test.query_params)
    assert shown(tune(**link)) == shown(test)


def test_rows_that_come_and_go_change_steps_and_target() -> None:
    test = edit(tune(), {}, [95.0], [0, 1])
    assert shown(test) == [*QUICK[2:], 95.0]
    assert widgets(test) == ("custom", "74.8811, 84.1511, 90, 95 %", 4, 95.0)
    assert test.slider(key="w.iterative.iterations").disabled
    assert test.slider(key="w.iterative.target").disabled
    edit(test, {0: 80.0}, [], [])
    assert shown(test)[0] == 80.0


def test_an_added_row_waits_for_its_number() -> None:
    test = tune()
    key = test.data_editor[0].key
    test.session_state[key] = {"edited_rows": {}, "added_rows": [{}], "deleted_rows": []}
    assert widgets(ran(test))[0] == "geometric"
    assert test.data_editor[0].key == key


def test_targets_that_fall_are_refused_in_words_and_can_be_mended() -> None:
    test = edit(tune(), {1: 10.0}, [], [])
    (error,) = test.error
    assert "Typed targets: 10 % after 36.9043 % falls" in error.value
    test.text_input(key="w.iterative.custom_schedule").set_value("10; 20; 30.5")
    ran(test)
    assert not test.error
    assert widgets(test) == ("custom", "10, 20, 30.5 %", 3, 30.5)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("", "at least one target"),
        ("half", "is not a list of numbers"),
        ("0.5, 0.9", "did you mean 50, 90?"),
        ("50, 120", "120 % is not from 0 up to"),
    ],
)
def test_a_list_that_cannot_be_is_one_sentence(typed: str, said: str) -> None:
    test = tune()
    test.selectbox(key="w.iterative.schedule").set_value("custom")
    ran(test)
    test.text_input(key="w.iterative.custom_schedule").set_value(typed)
    (error,) = ran(test).error
    assert said in error.value
    assert "\n" not in error.value


def test_another_schedule_ends_the_list_and_the_list_begins_with_it() -> None:
    test = edit(tune(), {}, [], [0])
    test.selectbox(key="w.iterative.schedule").set_value("linear")
    assert widgets(ran(test)) == ("linear", "", 4, 90.0)
    test.selectbox(key="w.iterative.schedule").set_value("custom")
    assert widgets(ran(test)) == ("custom", "22.5, 45, 67.5, 90 %", 4, 90.0)


def test_a_link_whose_list_contradicts_is_told_once_and_left_out() -> None:
    test = tune(
        **{
            "iterative.schedule": "custom",
            "iterative.custom_schedule": "[0.5, 0.9]",
            "seeds": "[4]",
        }
    )
    (warning,) = test.warning
    assert "Iterations: 5 is not the number of Typed targets, which is 2" in warning.value
    assert "\n" not in warning.value
    assert widgets(test)[:3] == ("geometric", "", 5)
    assert spec(test).seeds == (4,)


def test_half_epochs_and_the_tail_are_told_without_dust() -> None:
    test = tune(**{"iterative.epochs": "0.5", "iterative.final_epochs": "2"})
    assert test.slider(key="w.iterative.epochs").value == 0.5
    captions = [caption.value for caption in test.caption]
    assert "Step 6 is the tail: no cut, 2 epochs with the rate falling to 0." in captions
    assert test.query_params["iterative.final_epochs"] in ("2", ["2"])
    assert len(drawn(test)) == 7
    assert shown(test) == QUICK


def test_what_comes_back_is_told_step_by_step() -> None:
    test = tune(**{"iterative.schedule": "rigl", "iterative.iterations": "4"})
    captions = [caption.value for caption in test.caption]
    told = "In steps 2 to 3, of what is left of each layer 22.5 %, 7.5 % changes places."
    assert told in captions
    test.selectbox(key="w.iterative.schedule").set_value("dense_sparse_dense")
    captions = [caption.value for caption in ran(test).caption]
    assert "In step 4 all weights come back; the model ends dense." in captions
    assert drawn(test)[-2:] == [90, 0]


def test_what_cannot_come_back_is_refused_in_the_page_s_words() -> None:
    test = tune(**{"iterative.schedule": "rigl"})
    test.slider(key="w.iterative.iterations").set_value(1)
    (error,) = ran(test).error
    assert "Iterations: with 'RigL: weights change places' weights come back" in error.value

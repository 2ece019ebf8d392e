"""The sparsity schedule on Tune: the chart shows the plan, and a table edits it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import choices
from pages.components.schedule import COLUMN
from pages.components.setting_values import link_of, spec_of
from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES
from pruning_core.planning.plan import plan
from pruning_core.settings.spec import Spec
from tests.helpers.inspections import Facts
from tests.helpers.tune_page import error_text, find_widget, ran, tune, widget

QUICK = [36.9043, 60.1893, 74.8811, 84.1511, 90.0]


pytestmark = pytest.mark.usefixtures("no_worker")


def table(test: AppTest) -> Any:
    """The table of the targets, in the tab Schedule."""
    widget(test, "iterative.schedule")
    (editor,) = test.data_editor
    return editor


def edit(test: AppTest, rows: dict[int, float], added: list[float], deleted: list[int]) -> AppTest:
    """An edit of the table: cells by row from 0, rows added at the end, rows deleted."""
    test.session_state[table(test).key] = {
        "edited_rows": {row: {COLUMN: value} for row, value in rows.items()},
        "added_rows": [{COLUMN: value} for value in added],
        "deleted_rows": deleted,
    }
    return ran(test)


def shown(test: AppTest) -> list[float]:
    return list(table(test).value[COLUMN])


def drawn(test: AppTest) -> list[float]:
    """The percentages of the iterative run in the schedule chart, from the dense model on."""
    figure = json.loads(test.get("plotly_chart")[0].proto.spec)
    y = next(t["y"] for t in figure["data"] if t["name"] == "iterative" and t["mode"] == "lines")
    assert y[1::2] == y[2::2], "the sparsity does not change while a model is trained"
    return list(y[::2])


def spec(test: AppTest) -> Spec:
    return spec_of(test.session_state[choices.VALUES])


def widgets(test: AppTest) -> tuple[Any, ...]:
    """Schedule, list, steps and target as the page shows them; "" for what it does not draw."""
    names = ("schedule", "custom_schedule", "iterations", "target")
    drawn = (find_widget(test, f"iterative.{name}") for name in names)
    return tuple(widget.value if widget else "" for widget in drawn)


def test_the_chart_draws_the_sparsities_of_the_plan() -> None:
    test = tune(**{"iterative.final_epochs": "1.5"})
    for name in SPARSITY_SCHEDULES:
        widget(test, "iterative.schedule").set_value(name)
        chosen = spec(ran(test))
        models = plan(chosen, Facts(chosen)).models
        targets = [100 * model.target for model in models if model.strategy == "iterative"]
        assert chosen.iterative.schedule == name
        # The custom schedule starts with that of AC/DC, but for its two dense steps.
        assert len(targets) == (4 if name == "custom" else 6)
        assert drawn(test) == pytest.approx([0, *targets], abs=1e-9)


def test_an_edited_cell_makes_the_schedule_custom() -> None:
    test = tune()
    assert shown(test) == QUICK
    edit(test, {1: 65.5}, [], [])
    assert shown(test) == [36.9043, 65.5, *QUICK[2:]]
    assert widgets(test) == ("custom", "36.9043, 65.5, 74.8811, 84.1511, 90 %", "", "")
    assert drawn(test) == pytest.approx([0, 36.9043, 65.5, *QUICK[2:]])
    link = link_of(test.session_state[choices.VALUES])
    assert {*link, "tab"} == set(test.query_params)
    assert shown(tune(**link)) == shown(test)


def test_added_and_deleted_rows_change_steps_and_target() -> None:
    test = edit(tune(), {}, [95.0], [0, 1])
    assert shown(test) == [*QUICK[2:], 95.0]
    assert widgets(test) == ("custom", "74.8811, 84.1511, 90, 95 %", "", "")
    assert (spec(test).iterative.iterations, spec(test).iterative.target) == (4, 0.95)
    edit(test, {0: 80.0}, [], [])
    assert shown(test)[0] == 80.0


def test_an_added_row_without_a_number_changes_nothing() -> None:
    test = tune()
    key = table(test).key
    test.session_state[key] = {"edited_rows": {}, "added_rows": [{}], "deleted_rows": []}
    assert widgets(ran(test))[0] == "geometric"
    assert table(test).key == key


def test_falling_targets_are_refused_and_can_be_corrected() -> None:
    test = edit(tune(), {1: 10.0}, [], [])
    assert "10 % comes after 36.9043 %; sparsities must not decrease" in error_text(test)
    widget(test, "iterative.custom_schedule").set_value("10; 20; 30.5")
    ran(test)
    assert not test.error
    assert widgets(test) == ("custom", "10, 20, 30.5 %", "", "")


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("", "at least one sparsity"),
        ("half", "is not a list of numbers"),
        ("0.5, 0.9", "did you mean 50, 90?"),
        ("50, 120", "Custom schedule: 120 % is "),
    ],
)
def test_a_wrong_list_is_one_sentence(typed: str, text: str) -> None:
    test = tune()
    widget(test, "iterative.schedule").set_value("custom")
    ran(test)
    widget(test, "iterative.custom_schedule").set_value(typed)
    summary, sentence = error_text(ran(test)).split("\n")
    assert summary == "This cannot run yet. Change Custom schedule."
    assert text in sentence


def test_another_schedule_empties_the_list_and_the_list_starts_with_it() -> None:
    test = edit(tune(), {}, [], [0])
    widget(test, "iterative.schedule").set_value("linear")
    assert widgets(ran(test)) == ("linear", "", 4, 90.0)
    widget(test, "iterative.schedule").set_value("custom")
    assert widgets(ran(test)) == ("custom", "22.5, 45, 67.5, 90 %", "", "")


def test_a_link_whose_list_contradicts_its_steps_is_reported_once_and_not_used() -> None:
    test = tune(
        **{
            "iterative.schedule": "custom",
            "iterative.custom_schedule": "[0.5, 0.9]",
            "seeds": "[4]",
        }
    )
    (warning,) = test.warning
    assert (
        "Pruning steps: 5 is not the number of sparsities in 'Custom schedule', which is 2"
        in warning.value
    )
    assert "\n" not in warning.value
    assert widgets(test)[:3] == ("geometric", "", 5)
    assert spec(test).seeds == (4,)


def test_half_epochs_and_final_fine_tuning_are_exact() -> None:
    test = tune(**{"iterative.epochs": "0.5", "iterative.final_epochs": "2"})
    assert widget(test, "iterative.epochs").value == 0.5
    assert shown(test) == QUICK
    captions = [caption.value for caption in test.caption]
    assert (
        "Step 6 is final fine-tuning: 2 epochs without pruning, in which the learning rate falls "
        "to 0." in captions
    )
    assert test.query_params["iterative.final_epochs"] in ("2", ["2"])
    assert len(drawn(test)) == 7
    assert shown(test) == QUICK


def test_regrowth_is_noted_by_step() -> None:
    test = tune(**{"iterative.schedule": "rigl", "iterative.iterations": "4", "tab": "Schedule"})
    captions = [caption.value for caption in test.caption]
    note = "RigL regrows 22.5 %, 7.5 % of each layer's remaining weights in steps 2 to 3."
    assert note in captions
    widget(test, "iterative.schedule").set_value("dense_sparse_dense")
    captions = [caption.value for caption in ran(test).caption]
    assert "Step 4 restores all pruned weights; the final model is dense." in captions
    assert drawn(test)[-2:] == [90, 0]
    widget(test, "iterative.schedule").set_value("ac_dc")
    captions = [caption.value for caption in ran(test).caption]
    assert "Step 3 restores all pruned weights." in captions
    widget(test, "iterative.schedule").set_value("custom")
    assert not ran(test).exception


def test_regrowth_with_one_step_is_refused_in_the_page_s_words() -> None:
    test = tune(**{"iterative.schedule": "rigl"})
    widget(test, "iterative.iterations").set_value(1)
    sentence = "Pruning steps: 'RigL (drop and grow)' regrows pruned weights"
    assert sentence in error_text(ran(test))

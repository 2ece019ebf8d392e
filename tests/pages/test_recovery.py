"""Recovery methods on the Tune page: contradictions, and notes before the run."""

from __future__ import annotations

import pytest

from pruning_core.methods.recovery import RECOVERY_METHODS
from tests.helpers.tune_page import (
    captions,
    choose,
    error_text,
    find_widget,
    run_button,
    tune,
    widget,
)

METHOD, REWIND_EPOCH = "recovery.method", "recovery.rewind_epoch"

pytestmark = pytest.mark.usefixtures("no_worker")


def test_settings_without_effect_are_not_drawn() -> None:
    test = tune()
    assert widget(test, METHOD).options == list(RECOVERY_METHODS.titles.values())
    assert not find_widget(test, REWIND_EPOCH)
    assert not find_widget(test, "recovery.distillation_temperature")
    assert find_widget(test, "finetune.lr")
    choose(test, METHOD, "lr_rewinding")
    assert find_widget(test, REWIND_EPOCH)
    assert not find_widget(test, "finetune.lr")
    choose(test, "recovery.distillation_weight", 0.5)
    assert find_widget(test, "recovery.distillation_temperature")


def test_the_page_notes_what_a_method_makes_of_other_settings() -> None:
    test = tune()
    assert "of the baseline from epoch" not in captions(test)
    choose(test, METHOD, "lr_rewinding")
    choose(test, REWIND_EPOCH, 3)
    assert "from epoch 3 of 12 to the end" in captions(test)
    assert "The paper uses 9 epochs per step." in captions(test)


def test_another_method_keeps_the_rewind_epoch_only_if_it_rewinds() -> None:
    test = choose(tune(), METHOD, "lr_rewinding")
    choose(test, REWIND_EPOCH, 3)
    choose(test, METHOD, "weight_rewinding")
    assert widget(test, REWIND_EPOCH).value == 3
    choose(test, METHOD, "fine_tuning")
    assert not find_widget(test, REWIND_EPOCH)
    assert "recovery.rewind_epoch" not in test.query_params
    assert not test.error


def test_contradictions_are_refused_in_the_page_s_words() -> None:
    test = choose(tune(**{"lr_schedule_span": "pruning"}), METHOD, "weight_rewinding")
    assert "Learning-rate schedule span: 'Weight rewinding' restarts" in error_text(test)
    assert "Choose 'Per step'." in error_text(test)
    assert run_button(test).disabled
    assert not choose(test, "lr_schedule_span", "step").error
    choose(test, REWIND_EPOCH, 12)
    assert "Rewind epoch: the baseline has 12 epochs" in error_text(test)

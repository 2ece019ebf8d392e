"""Ways to recover on the Tune page: what goes together, and what is said before the run."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.methods.recovery import RECOVERY_METHODS
from tests.pages.test_tune import captions, run_button, tune

METHOD = "w.recovery.method"


@pytest.fixture(autouse=True)
def no_worker(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page sees the test's cache, and starts no process."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: None)


def chosen(test: AppTest, method: str) -> AppTest:
    test.selectbox(key=METHOD).set_value(method).run()
    assert not test.exception
    return test


def test_what_has_no_meaning_rests() -> None:
    test = tune()
    assert test.selectbox(key=METHOD).options[0] == "Fine-tune"
    assert len(test.selectbox(key=METHOD).options) == len(RECOVERY_METHODS)
    assert test.number_input(key="w.recovery.rewind_epoch").disabled
    assert test.number_input(key="w.recovery.distillation_temperature").disabled
    assert not test.number_input(key="w.finetune.lr").disabled
    chosen(test, "lr_rewinding")
    assert not test.number_input(key="w.recovery.rewind_epoch").disabled
    assert test.number_input(key="w.finetune.lr").disabled


def test_the_page_says_what_becomes_of_other_settings() -> None:
    test = tune()
    assert "from the baseline, not from fine-tuning" not in captions(test)
    chosen(test, "lr_rewinding")
    test.number_input(key="w.recovery.rewind_epoch").set_value(3).run()
    assert "from epoch 3 of 12 to the end" in captions(test)
    assert "9 epochs each" in captions(test)


def test_another_way_keeps_the_epoch_only_where_it_has_one() -> None:
    test = chosen(tune(), "lr_rewinding")
    test.number_input(key="w.recovery.rewind_epoch").set_value(3).run()
    chosen(test, "weight_rewinding")
    assert test.number_input(key="w.recovery.rewind_epoch").value == 3
    chosen(test, "fine_tuning")
    assert test.number_input(key="w.recovery.rewind_epoch").value == 0
    assert not test.error


def test_what_does_not_go_together_is_said_in_the_page_s_words() -> None:
    test = chosen(tune(**{"lr_schedule_span": "pruning"}), "weight_rewinding")
    assert "Curve covers: weight rewinding begins" in test.error[0].value
    assert run_button(test) is None
    test.selectbox(key="w.lr_schedule_span").set_value("step").run()
    assert not test.error
    test.number_input(key="w.recovery.rewind_epoch").set_value(12).run()
    assert "Rewind to epoch: the baseline has 12 epochs" in test.error[0].value

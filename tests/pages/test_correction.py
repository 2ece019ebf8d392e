"""The ladder on the pages: its control on Tune, its table on Compare."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.methods.corrections import RUNG_TITLES
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.correction import CorrectionSpec
from tests.pages.test_compare import compare, run
from tests.pages.test_tune import tune


@pytest.fixture(autouse=True)
def no_worker(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages see the test's cache, and start no process."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: "")


def test_compare_shows_a_row_a_rung_only_where_there_is_a_ladder(cache: Cache) -> None:
    spec = replace(QUICKSTART, correction=CorrectionSpec(True))
    test = compare(run(cache, spec))
    assert "Without training" in [header.value for header in test.header]
    shown = next(table.value for table in test.dataframe if "Rung" in table.value)
    cuts = [amount for amount in spec.one_shot.amounts if amount > 0]
    assert len(shown) == len(cuts) * len(RUNG_TITLES)
    assert [text.split(": ")[1] for text in shown["Rung"]][:4] == list(RUNG_TITLES.values())
    without = compare(run(cache, QUICKSTART, "Without"))
    assert "Without training" not in [header.value for header in without.header]


def test_tune_turns_it_on_and_refuses_it_without_a_cut() -> None:
    test = tune()
    assert test.number_input(key="w.correction.images").disabled
    test.checkbox(key="w.correction.enabled").check().run()
    assert not test.exception
    assert not test.number_input(key="w.correction.images").disabled
    test.text_input(key="w.one_shot.amounts").set_value("0").run()
    said = " ".join(error.value for error in (*test.error, *test.warning))
    assert "Ladder without training" in said
    assert "there is none above 0" in said

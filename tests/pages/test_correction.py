"""Training-free correction on the pages: its settings on Tune, its table on Compare."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import Cache
from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.correction import CorrectionSpec
from tests.helpers.tune_page import choose, error_text, find_widget, run_button, tune
from tests.pages.test_compare import compare, run

pytestmark = pytest.mark.usefixtures("no_worker")
HEADER = "Training-free correction"


def correction_titles(test: AppTest) -> list[str]:
    """The titles of corrections in the table that has one in every row, from top to bottom."""
    titles = tuple(CORRECTIONS.titles.values())

    def title_in(row: pd.Series) -> str:
        return next((t for t in titles for v in row if str(v).endswith(t)), "")

    tables = (table.value.apply(title_in, axis=1).tolist() for table in test.dataframe)
    return next((found for found in tables if found and all(found)), [])


def test_compare_shows_a_row_for_each_correction_only_where_a_run_has_them(cache: Cache) -> None:
    spec = replace(QUICKSTART, correction=CorrectionSpec(True))
    test = compare(run(cache, spec))
    assert HEADER in [header.value for header in test.header]
    pruned = [amount for amount in spec.one_shot.amounts if amount > 0]
    assert correction_titles(test) == list(CORRECTIONS.titles.values()) * len(pruned)
    without = compare(run(cache, QUICKSTART, "Without"))
    assert HEADER not in [header.value for header in without.header]


def test_tune_enables_it_and_refuses_it_without_a_pruned_model() -> None:
    test = tune()
    assert not find_widget(test, "correction.images")
    choose(test, "correction.enabled", True)
    assert find_widget(test, "correction.images")
    choose(test, "one_shot.amounts", "0")
    assert "Training-free correction: " in error_text(test)
    assert "needs a one-shot sparsity above 0" in error_text(test)
    assert run_button(test).disabled

"""Structured pruning on Tune: disabled settings, the dry run, and its failure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.errors import Share, SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.structured import inspect_groups
from pruning_core.settings.spec import Spec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.jobs import Queue
from tests.helpers.inspections import DRY_RUN
from tests.helpers.pages import put
from tests.helpers.tune_page import (
    captions,
    choose,
    error_text,
    find_widget,
    inspected,
    tune,
    widget,
)

pytestmark = pytest.mark.usefixtures("no_worker")
ON: dict[str, str] = {
    "structured.enabled": "true",
    "structured.ratios": "[0.5]",
    "tab": "Structured",
}


def spec() -> Spec:
    return replace(QUICKSTART, structured=StructuredSpec(True, (0.5,)))


def dry_run_finished(cache: Cache) -> None:
    store = inspected(cache)
    put(store, inspect_groups(spec(), 10).key, "inspect_groups", DRY_RUN)


def table(test: AppTest, column: str) -> list[dict[str, object]]:
    frames = (frame.value for frame in test.dataframe)
    return next(frame.to_dict("records") for frame in frames if column in frame)


def test_its_settings_are_not_drawn_until_it_is_switched_on() -> None:
    test = tune()
    assert not find_widget(test, "structured.ratios")
    assert not find_widget(test, "structured.ratio_of")
    choose(test, "structured.enabled", True)
    assert find_widget(test, "structured.ratios")
    assert widget(test, "structured.ratio_of").value == "macs"


def test_the_dry_run_is_queued(cache: Cache) -> None:
    inspected(cache)
    tune(**ON)
    row = Queue(cache.queue).stage(inspect_groups(spec(), 10).key)
    assert row is not None
    assert row.kind == "inspect_groups"


def test_the_dry_run_is_shown(cache: Cache) -> None:
    dry_run_finished(cache)
    test = tune(**ON)
    assert table(test, "MACs")[0]["MACs"] == "1 M (50.0 %)"
    assert table(test, "MACs")[0]["Dense file"] == "3.00 MB (32.6 %)"
    assert table(test, "Coupled layers") == [
        {"Coupled layers": "a, b", "Channels": 32, "At 50 %": 16}
    ]
    assert table(test, "Reason") == [
        {"Unprunable layer": "fc", "Reason": "its outputs are the classes"}
    ]
    assert "1 dependency group can lose channels; 1 layer cannot." in captions(test)
    assert "keep the parts" in captions(test)


def test_a_failed_dry_run_shows_the_reason(cache: Cache) -> None:
    inspected(cache)
    queue, stage = Queue(cache.queue), inspect_groups(spec(), 10)
    queue.add([stage])
    row = queue.claim("token", 2)
    while row and row.key != stage.key:
        row = queue.claim("token", 2)
    error = SpecError(
        "structured.ratios",
        "at most {most} of the MACs can be removed with channels in multiples of {round_to}.",
        most=Share(0.273),
        round_to=8,
    )
    queue.fail(stage.key, "token", error.to_json(), error.field)
    test = tune(**ON)
    assert (
        "Pruning ratios: at most 27.3 % of the MACs can be removed with channels in multiples of 8."
        in error_text(test)
    )


def test_a_link_holds_settings_of_structured_pruning() -> None:
    test = tune(**{**ON, "structured.max_ratio": "0.75", "structured.channel_importance": "taylor"})
    assert widget(test, "structured.max_ratio").value == 75
    assert find_widget(test, "pruning.calibration_images")

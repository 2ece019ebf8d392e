"""Channels really removed on Tune: controls that rest, the dry run, and its failure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import Cache
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.structured import inspect_groups
from pruning_core.settings.spec import Spec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.jobs import Queue
from tests.helpers.tune_page import ran, tune
from tests.pages.test_tune import captions, inspected, put

pytestmark = pytest.mark.usefixtures("no_worker")
FOUND = {
    "groups": [
        {
            "group": "a",
            "layers": ["a", "b"],
            "channels": 32,
            "parts": 1,
            "reason": "",
            "left": [16],
        },
        {"group": "fc", "layers": ["fc"], "channels": 10, "parts": 1, "reason": "no", "left": [10]},
    ],
    "uncut": [{"layer": "fc", "reason": "its outputs are the classes"}],
    "dense": {"channels": 32, "parameters": 1000, "macs": 2_000_000, "bytes": 9_190_000},
    "left": [
        {"amount": 0.5, "channels": 16, "parameters": 300, "macs": 1_000_000, "bytes": 3_000_000}
    ],
    "step": 8,
    "notes": ["Layers in 12 parts keep the parts."],
}
ON: dict[str, str] = {"structured.enabled": "true", "structured.ratios": "[0.5]"}


def spec() -> Spec:
    return replace(QUICKSTART, structured=StructuredSpec(True, (0.5,)))


def looked_at(cache: Cache) -> None:
    store = inspected(cache)
    put(store, inspect_groups(spec(), 10).key, "inspect_groups", FOUND)


def table(test: AppTest, column: str) -> list[dict[str, object]]:
    frames = (frame.value for frame in test.dataframe)
    return next(frame.to_dict("records") for frame in frames if column in frame)


def test_its_controls_rest_until_it_is_switched_on() -> None:
    test = tune()
    assert test.text_input(key="w.structured.ratios").disabled
    assert test.selectbox(key="w.structured.ratio_of").disabled
    test.checkbox(key="w.structured.enabled").check()
    ran(test)
    assert not test.text_input(key="w.structured.ratios").disabled
    assert test.selectbox(key="w.structured.ratio_of").value == "macs"


def test_the_worker_is_asked_for_a_dry_run(cache: Cache) -> None:
    inspected(cache)
    tune(**ON)
    row = Queue(cache.queue).stage(inspect_groups(spec(), 10).key)
    assert row is not None
    assert row.kind == "inspect_groups"


def test_the_dry_run_is_shown(cache: Cache) -> None:
    looked_at(cache)
    test = tune(**ON)
    assert table(test, "MACs")[0]["MACs"] == "1 M (50.0 %)"
    assert table(test, "MACs")[0]["Dense file"] == "3.00 MB (32.6 %)"
    assert table(test, "Coupled layers") == [
        {"Coupled layers": "a, b", "Channels": 32, "Left at 50 %": 16}
    ]
    assert table(test, "Reason") == [
        {"Cannot be cut": "fc", "Reason": "its outputs are the classes"}
    ]
    assert "1 coupled group of layers can lose channels; 1 layer cannot." in captions(test)
    assert "keep the parts" in captions(test)


def test_a_dry_run_that_failed_says_why(cache: Cache) -> None:
    inspected(cache)
    queue, stage = Queue(cache.queue), inspect_groups(spec(), 10)
    queue.add([stage])
    row = queue.claim("token", 2)
    while row and row.key != stage.key:
        row = queue.claim("token", 2)
    message = "at most 27.3% of the macs can go with channels in multiples of '8'."
    queue.fail(stage.key, "token", message, "structured.ratios")
    test = tune(**ON)
    assert (
        "at most 27.3 % of the macs can go with channels in multiples of '8'" in test.error[0].value
    )
    assert "Shares to remove" in test.error[0].value


def test_a_setting_comes_back_from_a_link() -> None:
    test = tune(**{**ON, "structured.max_ratio": "0.75", "structured.channel_importance": "taylor"})
    assert test.number_input(key="w.structured.max_ratio").value == 75
    assert not test.number_input(key="w.pruning.calibration_images").disabled

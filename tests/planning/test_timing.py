"""Stages that time models: what they are for, without running any."""

from __future__ import annotations

import json
import platform

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.methods.runtimes import BACKENDS, RUNTIMES, missing_packages
from pruning_core.planning.stage import Missing
from pruning_core.planning.timing import Conditions, latency_stages, left_out
from pruning_core.results import latency
from pruning_core.results.latency import latency_frame

DENSE, CUT, THIN = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture(autouse=True)
def _all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "find_spec", lambda name: object())


class Empty:
    def exists(self, key: str) -> bool:
        return False

    def read(self, key: str) -> dict:
        raise Missing(key)


def test_one_stage_a_family_with_the_dense_model_first() -> None:
    stages = latency_stages([DENSE, CUT, THIN])
    assert len(stages) == len(BACKENDS)
    for stage in stages:
        runs = stage.settings["runs"]
        assert runs[0]["point"] == DENSE
        assert len({RUNTIMES[run["runtime"]].backend for run in runs}) == 1
        assert stage.parent == CUT
        assert json.dumps(stage.settings)
    onnx = next(s for s in stages if s.settings["runs"][0]["runtime"] == "onnx")
    assert [tuple(run.values()) for run in onnx.settings["runs"]] == [
        (point, name) for name in ("onnx", "onnx_int8") for point in (DENSE, CUT, THIN)
    ]


def test_the_dense_model_alone_can_be_timed() -> None:
    assert all(stage.parent == DENSE for stage in latency_stages([DENSE]))


def test_machine_and_conditions_are_in_the_key_and_cores_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def key(machine: str = "", **conditions: object) -> str:
        return latency_stages([DENSE, CUT], ("eager",), Conditions(**conditions), machine)[0].key

    assert key() == key(machine=platform.node())
    others = [key(machine="other"), key(image_size=224), key(batches=(1, 32))]
    assert len({key(), *others}) == 4
    before = key()
    monkeypatch.setattr(latency, "usable_cores", lambda: 64)
    assert key() == before


def test_a_stage_takes_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "usable_cores", lambda: 8)
    assert [stage.threads for stage in latency_stages([DENSE, CUT])] == [8] * len(BACKENDS)


def test_what_takes_one_image_is_not_asked_for_more() -> None:
    names, conditions = ("onnx", "executorch"), Conditions((1, 32))
    batches = [stage.settings["batches"] for stage in latency_stages([DENSE], names, conditions)]
    assert batches == [[1, 32], [1]]
    assert left_out(names, conditions) == ["ExecuTorch takes 1 image at a time, so not 32."]
    assert len(latency_stages([DENSE], names, Conditions((8,)))) == 1


def test_a_missing_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"torch", "onnxruntime"}
    monkeypatch.setattr(latency, "find_spec", lambda name: name in there or None)
    assert missing_packages() == ["executorch"]
    assert len(latency_stages([DENSE])) == 2
    said = left_out(RUNTIMES, Conditions())
    assert said == ["ExecuTorch is not timed: pip install executorch."]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"batches": ()}, "batches"),
        ({"batches": (0,)}, "batches"),
        ({"threads": (1, 1)}, "threads"),
        ({"image_size": -1}, "image_size"),
        ({"image_size": 5000}, "image_size"),
        ({"rounds": 3}, "rounds"),
        ({"seconds": 0.0}, "seconds"),
    ],
)
def test_conditions_that_cannot_be_name_their_setting(wrong: dict, field: str) -> None:
    with pytest.raises(SpecError) as found:
        Conditions(**wrong)
    assert found.value.field == field


def test_points_and_runtimes_that_cannot_be() -> None:
    for points, names in (([], ("eager",)), ([CUT, CUT], ("eager",)), ([CUT], ("tflite",))):
        with pytest.raises(SpecError):
            latency_stages(points, names)


def test_nothing_timed_is_a_table_without_rows() -> None:
    frame = latency_frame(latency_stages([DENSE, CUT]), Empty())
    assert frame.empty
    assert {"model", "p50_ms", "speedup"} <= set(frame.columns)

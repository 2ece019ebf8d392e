"""The stages that measure time: their settings, without running any."""

from __future__ import annotations

import json
import platform
from typing import Any

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.methods import runtimes
from pruning_core.methods.runtimes import BACKENDS, RUNTIMES, missing_packages
from pruning_core.planning import timing
from pruning_core.planning.timing import (
    Conditions,
    check_machine,
    latency_stages,
    skipped_notes,
    sparse_speedup_stage,
)

DENSE, PRUNED, STRUCTURED = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture(autouse=True)
def _all_packages_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: object())


def test_one_stage_for_each_backend_with_the_dense_model_first() -> None:
    stages = latency_stages([DENSE, PRUNED, STRUCTURED])
    assert len(stages) == len(BACKENDS)
    for stage in stages:
        runs = stage.settings["runs"]
        assert runs[0]["point"] == DENSE
        assert len({RUNTIMES[run["runtime"]].backend for run in runs}) == 1
        assert stage.parent == PRUNED
        assert json.dumps(stage.settings)
    onnx = next(s for s in stages if s.settings["runs"][0]["runtime"] == "onnx")
    assert [tuple(run.values()) for run in onnx.settings["runs"]] == [
        (model, name) for name in ("onnx", "onnx_int8") for model in (DENSE, PRUNED, STRUCTURED)
    ]


def test_the_dense_model_alone_can_be_measured() -> None:
    assert all(stage.parent == DENSE for stage in latency_stages([DENSE]))


def test_machine_and_conditions_are_in_the_key_and_cores_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def key(machine: str = "", **conditions: Any) -> str:
        stages = latency_stages([DENSE, PRUNED], ("eager",), Conditions(**conditions), machine)
        return stages[0].key

    assert key() == key(machine=platform.node())
    others = [key(machine="other"), key(image_size=224), key(batches=(1, 32))]
    assert len({key(), *others}) == 4
    before = key()
    monkeypatch.setattr(timing, "usable_cores", lambda: 64)
    assert key() == before


def test_a_stage_takes_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "usable_cores", lambda: 8)
    monkeypatch.setattr(runtimes, "find_spec", lambda name: True)
    assert [stage.threads for stage in latency_stages([DENSE, PRUNED])] == [8] * len(BACKENDS)


def test_a_backend_is_measured_up_to_its_maximum_batch_size() -> None:
    names, conditions = ("onnx", "executorch"), Conditions((1, 32))
    batches = [stage.settings["batches"] for stage in latency_stages([DENSE], names, conditions)]
    assert batches == [[1, 32], [1]]
    assert skipped_notes(names, conditions) == [
        "ExecuTorch has a maximum batch size of 1, so batch size 32 is not measured."
    ]
    assert len(latency_stages([DENSE], names, Conditions((8,)))) == 1


def test_a_note_names_a_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"torch", "onnxruntime"}
    monkeypatch.setattr(runtimes, "find_spec", lambda name: name in installed or None)
    assert missing_packages() == ["executorch", "MNN"]
    assert len(latency_stages([DENSE])) == 2
    assert skipped_notes(RUNTIMES, Conditions()) == [
        "ExecuTorch is not measured, because it is not installed: pip install executorch.",
        "MNN is not measured, because it is not installed: pip install MNN.",
    ]


def test_a_stage_with_a_sparse_runtime_has_the_installed_dense_runtimes_as_references(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {"torch", "onnxruntime", "MNN"}
    monkeypatch.setattr(runtimes, "find_spec", lambda name: name in installed or None)
    (both,) = latency_stages([DENSE, PRUNED], ("mnn", "mnn_sparse"))
    assert both.settings["references"] == ["eager", "onnx"]
    (alone,) = latency_stages([DENSE, PRUNED], ("mnn_sparse",))
    assert alone.settings["references"] == ["eager", "onnx", "mnn"]
    (dense,) = latency_stages([DENSE, PRUNED], ("mnn",))
    assert "references" not in dense.settings


def test_the_kernels_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: name == "scipy" or None)
    assert sparse_speedup_stage(DENSE).settings["kernels"] == ["torch_csr", "scipy_csr"]


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
def test_impossible_conditions_name_their_setting(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        Conditions(**wrong)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("models", "names"), [([], ("eager",)), ([PRUNED, PRUNED], ("eager",)), ([PRUNED], ("tflite",))]
)
def test_impossible_models_and_runtimes_are_refused(
    models: list[str], names: tuple[str, ...]
) -> None:
    with pytest.raises(SpecError):
        latency_stages(models, names)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"sparsities": ()}, "sparsities"),
        ({"sparsities": (0.5, 1.0)}, "sparsities"),
        ({"kernels": ()}, "kernels"),
        ({"kernels": ("cusparse",)}, "kernels"),
        ({"image_size": 5000}, "image_size"),
        ({"rounds": 5}, "rounds"),
    ],
)
def test_impossible_settings_of_sparse_kernels_are_refused(
    wrong: dict[str, Any], field: str
) -> None:
    with pytest.raises(SpecError) as caught:
        sparse_speedup_stage(PRUNED, **wrong)
    assert caught.value.field == field


def test_a_measurement_of_another_machine_is_refused() -> None:
    check_machine(sparse_speedup_stage(PRUNED).settings["machine"])
    with pytest.raises(SpecError, match="planned for the machine other") as caught:
        check_machine(sparse_speedup_stage(PRUNED, machine="other").settings["machine"])
    assert caught.value.field == "machine"

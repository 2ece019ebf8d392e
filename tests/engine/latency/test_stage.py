"""The latency of models: which results there are, never how long anything took."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pruning_core.common.paired_timing import FASTER, JUDGEMENTS, NOISY
from pruning_core.engine.latency.runtimes import Opener, opener_of
from pruning_core.engine.latency.stage import (
    SAMPLES_FILE,
    Candidate,
    Group,
    rows_of,
)
from pruning_core.engine.latency.timed_models import check_image_size, load_timed_model, model_file
from pruning_core.engine.models.build import make
from pruning_core.methods.runtimes import AS_TRAINED, RUNTIMES, dense_runtimes
from pruning_core.planning.exports import export_stage
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.timing import Conditions, latency_stages
from pruning_core.results.latency import environment, latency_frame, latency_notes
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_context import StageError
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from tests.helpers.workers import ONE_CUT, finished_run, serve

SHORT = Conditions(rounds=6, seconds=1.0)
Models = tuple[Store, list[str]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A dense and a pruned model, with the files that most tests time."""
    store = Store(finished_run(tmp_path_factory.mktemp("latency")))
    keys = [model.key for model in plan(ONE_CUT, store).models]
    run(store, [export_stage(keys[0], "onnx_int8"), *(export_stage(key, "onnx") for key in keys)])
    return store, keys


def run(store: Store, stages: list[Stage]) -> list[Row]:
    queue = Queue(store.cache.queue)
    queue.add(stages)
    serve(store.cache, STAGE_KINDS)
    rows = [queue.stage(stage.key) for stage in stages]
    return [row for row in rows if row]


@pytest.mark.parametrize("name", RUNTIMES)
def test_each_runtime_has_an_opener(name: str) -> None:
    assert isinstance(opener_of(name), Opener)


def test_the_pruned_model_is_timed_beside_the_dense_one(models: Models) -> None:
    store, keys = models
    stages = latency_stages(keys, ("eager", "onnx"), replace(SHORT, batches=(1, 2)))
    assert all(row.status == "done" for row in run(store, stages))
    frame = latency_frame(stages, store, {keys[0]: "dense", keys[1]: "90 %"})
    for name in ("eager", "onnx"):
        timed = frame[(frame["runtime"] == name) & (frame["role"] != "control")]
        pairs = zip(timed["model"], timed["batch_size"], strict=True)
        assert sorted(pairs) == [("90 %", 1), ("90 %", 2), ("dense", 1), ("dense", 2)]
    assert (frame["rounds"] >= 6).all()
    assert (frame["p10_ms"] <= frame["p50_ms"]).all()
    assert (frame["p50_ms"] <= frame["p90_ms"]).all()
    pruned = frame[frame["role"] == "candidate"]
    assert (pruned["speedup_low"] <= pruned["speedup"]).all()
    assert (pruned["speedup"] <= pruned["speedup_high"]).all()
    assert set(pruned["conclusion"]) <= set(JUDGEMENTS)
    assert frame["file_bytes"].isna().equals(frame["runtime"] == "eager")


def test_executorch_takes_one_image(models: Models) -> None:
    pytest.importorskip("executorch", reason="executorch, an extra, is not installed")
    store, keys = models
    stages = latency_stages(keys[:1], ("executorch",), replace(SHORT, batches=(1, 2)))
    assert [row.status for row in run(store, stages)] == ["done"]
    frame = latency_frame(stages, store)
    assert frame["batch_size"].tolist() == [1, 1]
    assert frame["role"].tolist() == ["dense", "control"]


def test_a_sparse_runtime_is_timed_beside_all_dense_runtimes(models: Models) -> None:
    pytest.importorskip("MNN", reason="MNN, an extra, is not installed")
    store, keys = models
    stages = latency_stages(keys, ("mnn", "mnn_sparse"), replace(SHORT, batches=(1, 2)))
    assert [row.status for row in run(store, stages)] == ["done"]
    frame = latency_frame(stages, store)
    references = frame[frame["role"] == "reference"]
    assert {"eager", "onnx"} <= set(references["runtime"])
    assert set(references["key"]) == {keys[0]}
    sparse = frame[(frame["runtime"] == "mnn_sparse") & (frame["key"] == keys[1])]
    assert sparse["batch_size"].tolist() == [1, 2]
    for row in sparse.to_dict("records"):
        dense = frame[(frame["key"] == keys[0]) & (frame["batch_size"] == row["batch_size"])]
        dense = dense[dense["runtime"].isin(dense_runtimes()) & (dense["role"] != "control")]
        assert row["fastest_runtime"] == dense.loc[dense["p50_ms"].idxmin(), "runtime"]
        low, high = row["speedup_over_fastest_low"], row["speedup_over_fastest_high"]
        assert low <= row["speedup_over_fastest"] <= high
    # The fastest dense runtime itself and the control have nothing to be compared with.
    fastest = frame["runtime"] == frame["fastest_runtime"]
    without = fastest & (frame["key"] == keys[0]) | (frame["role"] == "control")
    assert (frame["speedup_over_fastest"].isna() == without).all()
    assert str(torch.backends.cpu.get_cpu_capability()) in frame["processor"][0]


def test_a_backend_has_one_control_for_each_number_of_threads(models: Models) -> None:
    store, keys = models
    conditions = replace(SHORT, threads=(1, 2))
    stages = latency_stages(keys[:1], ("onnx", "onnx_int8"), conditions)
    assert len(stages) == 1
    run(store, stages)
    frame = latency_frame(stages, store)
    controls = frame[frame["role"] == "control"]
    assert controls["threads"].tolist() == [1, 2]
    assert (controls["runtime"] == "onnx").all()
    int8 = frame[(frame["runtime"] == "onnx_int8") & (frame["role"] == "dense")]
    assert int8["speedup"].isna().all()
    assert int8["speedup_over_first"].notna().all()
    first = frame[(frame["runtime"] == "onnx") & (frame["role"] == "dense")]
    assert first["speedup_over_first"].isna().all()


def test_every_sample_is_kept_and_the_machine_is_named(models: Models) -> None:
    store, keys = models
    stages = latency_stages(keys, ("eager",), SHORT)
    run(store, stages)
    path = store.file(stages[0].key, SAMPLES_FILE)
    (group,) = json.loads(path.read_text())
    frame = latency_frame(stages, store)
    assert [np.shape(run["ns"]) for run in group["runs"]] == [(n, 2) for n in frame["rounds"]]
    assert np.median(group["runs"][0]["ns"]) / 1e6 == pytest.approx(frame["p50_ms"][0])
    machine = environment(stages, store)
    assert machine["machine"] == platform.node()
    assert torch.__version__.startswith(machine["versions"]["torch"])


def test_a_file_of_another_size_is_written_and_noted(models: Models) -> None:
    store, keys = models
    stages = latency_stages(keys[:1], ("onnx_int8",), replace(SHORT, image_size=48))
    (row,) = run(store, stages)
    assert row.status == "done", row.error
    frame = latency_frame(stages, store)
    assert (frame["image_size"] == 48).all()
    texts = latency_notes(stages, store)
    assert "Timed at 48 pixels; trained and evaluated at 32 pixels." in texts
    assert "The timed ONNX int8 file is calibrated on 32 training images." in texts
    files = sorted(path.name for path in store.folder(stages[0].key).iterdir())
    assert files == ["manifest.json", SAMPLES_FILE]


def test_an_exported_file_is_used(models: Models, tmp_path: Path) -> None:
    store, keys = models
    model = load_timed_model(store, keys[0], AS_TRAINED, images=4)
    stage = export_stage(keys[0], "onnx")
    file = model_file(store, model, "onnx", tmp_path)
    assert file.path == store.file(stage.key, "model.onnx")
    assert file.bytes == store.read(stage.key)["bytes"]
    assert not list(tmp_path.iterdir())
    assert model_file(store, model, "eager", tmp_path).path is None


def test_a_size_that_a_network_cannot_run_at_is_refused() -> None:
    model = make("vit_b_32", 10, image_size=32).eval()
    with pytest.raises(StageError, match=r"cannot run at 64 pixels .* Use 32 pixels"):
        check_image_size(model, torch.zeros(1, 3, 64, 64), 32)


def test_a_missing_model_is_named(models: Models) -> None:
    store, keys = models
    stages = latency_stages([keys[0], keys[1], "f" * 64], ("eager",), SHORT)
    (row,) = run(store, stages)
    assert "ffffffffffff, which this stage needs, is missing" in row.error


def test_times_of_another_machine_are_not_measured_here(models: Models) -> None:
    store, keys = models
    here, elsewhere = (
        latency_stages(keys, ("eager",), SHORT, machine=m) for m in ("", "elsewhere")
    )
    assert here[0].key != elsewhere[0].key
    (row,) = run(store, elsewhere)
    assert row.field == "machine"
    assert "elsewhere" in row.error


def group(**factors: float) -> Group:
    """Simulated times: 20 rounds in which the machine slows down all models alike."""
    drift = np.random.default_rng(0).lognormal(0, 0.5, (20, 1)) * np.ones((1, 2))
    names = {
        "dense": Candidate("d", "onnx"),
        "pruned": Candidate("c", "onnx"),
        "dense8": Candidate("d", "onnx_int8"),
        "pruned8": Candidate("c", "onnx_int8"),
        "control": Candidate("d", "onnx", control=True),
    }
    return Group(2, 1, {names[name]: drift * 1e6 * f for name, f in factors.items()}, 1.0)


def test_ratios_are_to_the_dense_model_of_the_same_and_of_the_first_runtime() -> None:
    rows = rows_of(group(dense=6.0, pruned=6.0, dense8=3.0, pruned8=1.5, control=6.0), {})
    ratios = [(row["role"], row["ratio"], row["first_ratio"]) for row in rows]
    assert ratios == [
        ("dense", None, None),
        ("candidate", 1.0, 1.0),
        ("dense", None, 2.0),
        ("candidate", 2.0, 4.0),
        ("control", 1.0, 1.0),
    ]


def test_a_speedup_within_the_control_is_noise() -> None:
    def judgement(control: float) -> str:
        rows = rows_of(group(dense=6.0, pruned=5.0, control=control), {})
        return rows[1]["judgement"]

    assert judgement(6.0) == FASTER
    assert judgement(4.8) == NOISY
    assert judgement(7.5) == NOISY

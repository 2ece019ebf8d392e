"""Models timed beside each other: what there is of results, never how long anything took."""

from __future__ import annotations

import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pruning_core.common.paired_timing import FASTER, JUDGEMENTS, NOISY
from pruning_core.engine.latency.runtimes import OPENERS
from pruning_core.engine.latency.stage import (
    SAMPLES_FILE,
    Candidate,
    Group,
    processor_name,
    rows_of,
)
from pruning_core.engine.latency.timed_models import check_runs, load_timed_model, model_file
from pruning_core.engine.models.build import make
from pruning_core.methods.runtimes import RUNTIMES
from pruning_core.planning.exports import export_stage
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import Stage
from pruning_core.planning.timing import Conditions, latency_stages
from pruning_core.results.latency import circumstances, latency_frame, notes
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_context import StageError
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from tests.helpers.workers import ONE_CUT, finished_run, serve

UNTRAINED = replace(ONE_CUT, baseline_epochs=0, one_shot=OneShotSpec((0.9,), 0))
SHORT = Conditions(rounds=6, seconds=1.0)
WORK = {"images": 4, "seed": 0, "image_size": 0}
Points = tuple[Store, list[str]]


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Points:
    """A dense model and its cut, untrained, with the files that most tests time."""
    store = Store(finished_run(tmp_path_factory.mktemp("latency"), UNTRAINED))
    keys = [point.key for point in plan(UNTRAINED, store).models]
    run(store, [export_stage(keys[0], "onnx_int8"), *(export_stage(key, "onnx") for key in keys)])
    return store, keys


def run(store: Store, stages: list[Stage]) -> list[Row]:
    queue = Queue(store.cache.queue)
    queue.add(stages)
    serve(store.cache)
    found = [queue.stage(stage.key) for stage in stages]
    return [row for row in found if row]


def test_every_runtime_has_an_opener() -> None:
    assert OPENERS.keys() == RUNTIMES.keys()


def test_the_cut_is_timed_beside_the_dense_model(points: Points) -> None:
    store, keys = points
    stages = latency_stages(keys, ("eager", "onnx"), replace(SHORT, batches=(1, 2)))
    assert all(row.status == "done" for row in run(store, stages))
    frame = latency_frame(stages, store, {keys[0]: "dense", keys[1]: "90 %"})
    for name in ("eager", "onnx"):
        own = frame[(frame["runtime"] == name) & (frame["role"] != "control")]
        pairs = zip(own["model"], own["images_at_a_time"], strict=True)
        assert sorted(pairs) == [("90 %", 1), ("90 %", 2), ("dense", 1), ("dense", 2)]
    assert (frame["rounds"] >= 6).all()
    assert (frame["p10_ms"] <= frame["p50_ms"]).all()
    assert (frame["p50_ms"] <= frame["p90_ms"]).all()
    cuts = frame[frame["role"] == "candidate"]
    assert (cuts["times_as_fast_low"] <= cuts["times_as_fast"]).all()
    assert (cuts["times_as_fast"] <= cuts["times_as_fast_high"]).all()
    assert set(cuts["judgement"]) <= set(JUDGEMENTS)
    assert frame["file_bytes"].isna().equals(frame["runtime"] == "eager")


def test_executorch_takes_one_image(points: Points) -> None:
    pytest.importorskip("executorch", reason="executorch, an extra, is not installed")
    store, keys = points
    stages = latency_stages(keys[:1], ("executorch",), replace(SHORT, batches=(1, 2)))
    assert [row.status for row in run(store, stages)] == ["done"]
    found = latency_frame(stages, store)
    assert found["images_at_a_time"].tolist() == [1, 1]
    assert found["role"].tolist() == ["dense", "control"]


def test_a_family_has_one_control_for_each_number_of_threads(points: Points) -> None:
    store, keys = points
    conditions = replace(SHORT, threads=(1, 2))
    stages = latency_stages(keys[:1], ("onnx", "onnx_int8"), conditions)
    assert len(stages) == 1
    run(store, stages)
    frame = latency_frame(stages, store)
    controls = frame[frame["role"] == "control"]
    assert controls["threads"].tolist() == [1, 2]
    assert (controls["runtime"] == "onnx").all()
    int8 = frame[(frame["runtime"] == "onnx_int8") & (frame["role"] == "dense")]
    assert int8["times_as_fast"].isna().all()
    assert int8["times_as_fast_as_first"].notna().all()
    first = frame[(frame["runtime"] == "onnx") & (frame["role"] == "dense")]
    assert first["times_as_fast_as_first"].isna().all()


def test_every_sample_is_kept_and_the_machine_is_named(points: Points) -> None:
    store, keys = points
    stages = latency_stages(keys, ("eager",), SHORT)
    run(store, stages)
    path = store.file(stages[0].key, SAMPLES_FILE)
    (group,) = json.loads(path.read_text())
    found = latency_frame(stages, store)
    assert [np.shape(one["ns"]) for one in group["runs"]] == [(n, 2) for n in found["rounds"]]
    assert np.median(group["runs"][0]["ns"]) / 1e6 == pytest.approx(found["p50_ms"][0])
    about = circumstances(stages, store)
    assert about["machine"] == platform.node()
    assert torch.__version__.startswith(about["versions"]["torch"])


def test_a_larger_size_is_written_for_the_purpose_and_said(points: Points) -> None:
    store, keys = points
    stages = latency_stages(keys[:1], ("onnx_int8",), replace(SHORT, image_size=48))
    (row,) = run(store, stages)
    assert row.status == "done", row.error
    frame = latency_frame(stages, store)
    assert (frame["image_size_pixels"] == 48).all()
    told = notes(stages, store)
    assert any("48 pixels, trained at 32" in note for note in told)
    assert any("ranges from 32 training images" in note for note in told)
    left = sorted(path.name for path in store.folder(stages[0].key).iterdir())
    assert left == ["manifest.json", SAMPLES_FILE]


def test_the_points_own_file_is_timed_where_it_is_there(points: Points, tmp_path: Path) -> None:
    store, keys = points
    found = load_timed_model(store, keys[0], WORK)
    stage = export_stage(keys[0], "onnx")
    own = model_file(store, found, "onnx", tmp_path)
    assert own.path == store.file(stage.key, "model.onnx")
    assert own.bytes == store.read(stage.key)["bytes"]
    assert not list(tmp_path.iterdir())
    assert model_file(store, found, "eager", tmp_path).path is None


def test_a_size_that_a_network_cannot_run_at_is_refused() -> None:
    model = make("vit_b_32", 10, image_size=32).eval()
    with pytest.raises(StageError, match=r"cannot run at 64 pixels .* the 32 pixels it was"):
        check_runs(model, torch.zeros(1, 3, 64, 64), 32)


def test_a_point_that_is_not_there_is_waited_for(points: Points) -> None:
    store, keys = points
    stages = latency_stages([keys[0], keys[1], "f" * 64], ("eager",), SHORT)
    (row,) = run(store, stages)
    assert "ffffffffffff, which this one needs, has gone" in row.error


def test_another_machines_times_are_not_taken_here(points: Points) -> None:
    store, keys = points
    here, there = (latency_stages(keys, ("eager",), SHORT, machine=m) for m in ("", "elsewhere"))
    assert here[0].key != there[0].key
    (row,) = run(store, there)
    assert row.field == "machine"
    assert "elsewhere" in row.error


def group(**factors: float) -> Group:
    """Made-up times: 20 rounds in which everything shares its ups and downs."""
    drift = np.random.default_rng(0).lognormal(0, 0.5, (20, 1)) * np.ones((1, 2))
    names = {
        "dense": Candidate("d", "onnx"),
        "cut": Candidate("c", "onnx"),
        "dense8": Candidate("d", "onnx_int8"),
        "cut8": Candidate("c", "onnx_int8"),
        "control": Candidate("d", "onnx", again=True),
    }
    return Group(2, 1, {names[name]: drift * 1e6 * f for name, f in factors.items()}, 1.0)


def test_ratios_are_to_the_dense_model_of_the_same_and_of_the_first_runtime() -> None:
    rows = rows_of(group(dense=6.0, cut=6.0, dense8=3.0, cut8=1.5, control=6.0), {})
    ratios = [(row["role"], row["ratio"], row["first_ratio"]) for row in rows]
    assert ratios == [
        ("dense", None, None),
        ("candidate", 1.0, 1.0),
        ("dense", None, 2.0),
        ("candidate", 2.0, 4.0),
        ("control", 1.0, 1.0),
    ]


def test_what_is_within_the_control_is_not_told() -> None:
    def judgement(control: float) -> str:
        rows = rows_of(group(dense=6.0, cut=5.0, control=control), {})
        return rows[1]["judgement"]

    assert judgement(6.0) == FASTER
    assert judgement(4.8) == NOISY
    assert judgement(7.5) == NOISY


def test_a_processor_has_a_name(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("processor\t: 0\nmodel name\t: Chip 9000\n")
    assert processor_name(path) == "Chip 9000"
    assert processor_name(tmp_path / "none")

"""The simulated cluster: real plan, queue and scheduler, recorded times, a clock that jumps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.results.simulation import read_simulation
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.worker.placement import Node, WaitingStage, place
from pruning_core.worker.simulation import longest_chain, model_place, simulate
from tests.helpers.workers import TINY, finished_run

SEEDS = replace(TINY, seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return finished_run(tmp_path_factory.mktemp("finished") / "cache", TINY)


@pytest.mark.parametrize("nodes", [1, 2, 50])
def test_a_run_is_as_long_as_its_stages_and_never_faster_than_possible(
    nodes: int, finished: Cache
) -> None:
    job_plan = plan(SEEDS, Store(finished))
    seconds = {model_place(model): 100.0 for model in job_plan.models}
    result = simulate(SEEDS, Store(finished), seconds, nodes)
    assert result.stages == len(job_plan.models)
    simulated = result.seconds - result.scheduler_seconds
    assert simulated >= result.bound_seconds
    if nodes == 1:
        assert simulated == pytest.approx(100.0 * result.stages)
    if nodes == 50:
        # Baseline and two steps, one after another.
        assert simulated == pytest.approx(300.0) == result.bound_seconds


def test_the_longest_chain_follows_the_inputs(finished: Cache) -> None:
    job_plan = plan(TINY, Store(finished))
    stages = [s for s in job_plan.stages if s.key in {m.key for m in job_plan.models}]
    seconds = {model.key: float(1 + model.iteration) for model in job_plan.models}
    assert longest_chain(stages, seconds) == 1.0 + 2.0 + 3.0


def test_the_command_writes_the_table_that_the_guide_draws(
    finished: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = Queue(finished.queue).jobs()[0].id
    options = ["--simulate", job, "--nodes", "1,4", "--seeds", "2", "--out", str(tmp_path)]
    assert main(["cluster", "--cache-dir", str(finished.root), *options]) == 0
    frame = read_simulation(tmp_path / "simulation.csv")
    assert frame["nodes"].tolist() == [1, 4]
    assert (frame["seconds"] >= frame["bound_seconds"]).all()
    assert (tmp_path / "simulation.html").stat().st_size > 0
    assert "stages a second" in capsys.readouterr().out


def node(name: str, **values: object) -> Node:
    return replace(Node(name, 4, free_cores=4), **values)  # type: ignore[arg-type]


def test_a_stage_goes_where_its_processor_and_its_inputs_are() -> None:
    stage = WaitingStage("child", inputs=("parent",), processor="A")
    nodes = [
        node("other", processor="B", keys={"parent"}),
        node("busy", processor="A", keys={"parent"}, free_cores=0),
        node("empty", processor="A"),
        node("holds", processor="A", keys={"parent"}),
    ]
    assert place([stage], nodes) == [("child", "holds")]
    # Another processor is better than to wait.
    assert place([stage], nodes[:2]) == [("child", "other")]


def test_a_gpu_is_left_to_the_stages_that_use_it() -> None:
    nodes = [node("gpu", gpus=1, free_gpus=1), node("cpu")]
    stages = [WaitingStage("a"), WaitingStage("b", gpu=True), WaitingStage("c", gpu=True)]
    assert place(stages, nodes) == [("a", "cpu"), ("b", "gpu")]


def test_small_stages_do_not_overtake_a_large_one_for_ever() -> None:
    nodes = [node("one", free_cores=2)]
    stages = [WaitingStage("large", threads=3), WaitingStage("small")]
    assert place(stages, nodes) == []
    # A stage with more threads than any node has cores takes a whole node.
    assert place([WaitingStage("huge", threads=16)], [node("all")]) == [("huge", "all")]


def test_a_stage_that_no_node_can_run_does_not_block_the_others() -> None:
    stages = [WaitingStage("gpu", gpu=True), WaitingStage("cpu")]
    assert place(stages, [node("cpu only")]) == [("cpu", "cpu only")]

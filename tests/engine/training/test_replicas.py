"""Replicas: the gradient of the whole batch, the same bits in one process and in several."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from torch import nn

from pruning_core.common.paths import PROJECT
from pruning_core.engine.training import replicas
from pruning_core.engine.training.loss import Objective, frozen
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import Movement, TrainingState
from pruning_core.engine.training.train import train
from pruning_core.storage.stage_context import Progress, StageInterrupted
from tests.helpers.training import (
    DATA,
    SPLITS,
    InterruptedProgress,
    Net,
    masks_in,
    model_bits,
    plan_of,
    prunable_weights,
    state_of,
)
from tests.helpers.workers import LIMIT_SECONDS

FORKS = pytest.mark.skipif(sys.platform != "linux", reason="replicas are processes on Linux only")
PLAIN = {**DATA, "augmentation": "none"}


@pytest.fixture(params=["one process", pytest.param("processes", marks=FORKS)])
def execution(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether one process computes all replicas, or each has its own."""
    cores = 1 if request.param == "one process" else 8
    monkeypatch.setattr(replicas, "usable_cores", lambda: cores)
    return str(request.param)


def linear_state() -> TrainingState:
    """A network whose images do not influence each other."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3))
    return TrainingState(model, make_optimizer(model, plan_of().settings))


@pytest.mark.usefixtures("execution")
@pytest.mark.parametrize("count", [2, 3, 7])
def test_replicas_train_like_one_process_without_batch_norm(count: int, tmp_path: Path) -> None:
    """50 images in batches of 16: the last batch has two images, one part for all replicas."""
    whole, parts = linear_state(), linear_state()
    train(whole, SPLITS, plan_of(data=PLAIN), tmp_path / "whole", Progress())
    train(parts, SPLITS, plan_of(data=PLAIN, replicas=count), tmp_path / "parts", Progress())
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    losses = [[row["loss"] for row in state.history] for state in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1])
    assert not multiprocessing.active_children()


def everything_state() -> TrainingState:
    """A network with batch norm, dropout, masks, a frozen weight, a teacher and movement sums."""
    state = state_of("adam")
    state.model.get_parameter("5.bias").requires_grad_(False)
    state.objective = Objective(0.1, frozen(Net()), weight=0.5, temperature=2.0)
    state.movement = Movement(prunable_weights(state.model))
    state.precision = "bf16"
    return state


def results(state: TrainingState) -> object:
    """All that a training changes, but for its times."""
    assert state.movement is not None
    history = [{**row, "seconds": 0} for row in state.history]
    return model_bits(state.model), history, [t.tolist() for t in state.movement.total.values()]


@FORKS
@pytest.mark.parametrize("count", [2, 3, 8])
def test_one_process_and_several_give_the_same_bits(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where one way continues from a checkpoint of the other."""
    plan = plan_of(3, "adam", replicas=count)

    def trained(cores: int, name: str, progress: Progress) -> object:
        state = everything_state()
        monkeypatch.setattr(replicas, "usable_cores", lambda: cores)
        train(state, SPLITS, plan, tmp_path / name, progress)
        masks_in(state).check()
        return results(state)

    expected = trained(1, "one", Progress())
    assert trained(8, "several", Progress()) == expected
    for first, then in ((1, 8), (8, 1)):
        with pytest.raises(KeyboardInterrupt):
            trained(first, f"from {first}", InterruptedProgress())
        assert not multiprocessing.active_children()
        assert trained(then, f"from {first}", Progress()) == expected
    plan = plan_of(3, "adam")
    assert trained(8, "whole batches", Progress()) != expected


@FORKS
def test_no_process_is_copied_where_torch_has_found_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its threads of the backward pass are not copied."""
    monkeypatch.setattr(replicas, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    with caplog.at_level(logging.INFO):
        train(state_of(), SPLITS, plan_of(replicas=2), tmp_path / "c", Progress())
    assert "2 replicas are computed one after another." in caplog.messages


@FORKS
def test_replicas_of_a_process_that_has_trained_before_have_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "usable_cores", lambda: 8)
    states = [state_of(), state_of()]
    for number, state in enumerate(states):
        train(state, SPLITS, plan_of(replicas=2), tmp_path / f"{number}", Progress())
        train(state_of(), SPLITS, plan_of(), tmp_path / f"{number} alone", Progress())
    assert model_bits(states[0].model) == model_bits(states[1].model)


@pytest.mark.usefixtures("execution")
def test_a_parameter_without_a_gradient_keeps_none(tmp_path: Path) -> None:
    """Weight decay would change a weight whose gradient is zero."""
    state = linear_state()
    state.model.register_parameter("unused", nn.Parameter(torch.ones(3)))
    state.optimizer = make_optimizer(state.model, plan_of().settings)
    train(state, SPLITS, plan_of(data=PLAIN, replicas=2), tmp_path / "c", Progress())
    assert torch.equal(state.model.get_parameter("unused"), torch.ones(3))


@FORKS
def test_a_replica_that_is_killed_ends_the_training_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Progress):
        def say(self, fraction: float, message: str) -> None:
            multiprocessing.active_children()[0].kill()

    monkeypatch.setattr(replicas, "usable_cores", lambda: 8)
    with pytest.raises(StageInterrupted, match="was ended"):
        train(state_of(), SPLITS, plan_of(replicas=2), tmp_path / "c", Killed())
    assert not multiprocessing.active_children()


@FORKS
def test_an_error_in_a_replica_is_raised_with_its_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, first = state_of(), os.getpid()

    def fail(*_: object) -> None:
        if os.getpid() != first:
            raise ValueError("a wrong image")

    state.model.register_forward_pre_hook(fail)
    monkeypatch.setattr(replicas, "usable_cores", lambda: 8)
    with pytest.raises(RuntimeError, match="a wrong image"):
        train(state, SPLITS, plan_of(replicas=2), tmp_path / "c", Progress())
    assert not multiprocessing.active_children()


@FORKS
def test_replicas_end_with_the_first_process(tmp_path: Path) -> None:
    """The output ends when the last process that can write to it has ended."""
    code = (
        "from pathlib import Path\n"
        "from pruning_core.engine.training import replicas, train\n"
        "from pruning_core.storage.stage_context import Progress\n"
        "from tests.helpers.training import SPLITS, plan_of, state_of\n"
        "class Said(Progress):\n"
        "    def say(self, fraction, message): print('step', flush=True)\n"
        "replicas.usable_cores = lambda: 8\n"
        f"path = Path({str(tmp_path / 'c')!r})\n"
        "train.train(state_of(), SPLITS, plan_of(100_000, replicas=3), path, Said())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "step\n"
        process.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
    finally:
        with suppress(ProcessLookupError):  # they have ended
            os.killpg(process.pid, signal.SIGKILL)
    assert set(output.split()) <= {"step"}

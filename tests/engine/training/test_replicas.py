"""Replicas: the gradient of the whole batch, the same bits in one process and in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from pruning_core.common.paths import PROJECT
from pruning_core.engine.training import replicas
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import train
from pruning_core.storage.stage_context import Progress, StageError
from tests.helpers.training import DATA, SPLITS, masks_in, model_bits, plan_of, state_of

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
    train(whole, SPLITS, plan_of(data=PLAIN), tmp_path / "c", Progress())
    train(parts, SPLITS, plan_of(data=PLAIN, replicas=count), tmp_path / "c", Progress())
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    losses = [[row["loss"] for row in state.history] for state in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1])
    assert not multiprocessing.active_children()


@FORKS
@pytest.mark.parametrize("count", [2, 3])
def test_one_process_and_several_give_the_same_bits(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With batch norm, dropout, augmentation, masks, and a checkpoint in between."""
    states = []
    for cores in (1, 8):
        monkeypatch.setattr(replicas, "usable_cores", lambda cores=cores: cores)
        state = state_of()
        train(state, SPLITS, plan_of(replicas=count), tmp_path / "c", Progress())
        states.append(state)
    again = state_of()

    class Stopped(Progress):
        def say(self, fraction: float, message: str) -> None:
            if fraction > 0.9:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(state_of(), SPLITS, plan_of(replicas=count), tmp_path / "part", Stopped())
    assert not multiprocessing.active_children()
    train(again, SPLITS, plan_of(replicas=count), tmp_path / "part", Progress())
    one = state_of()
    train(one, SPLITS, plan_of(), tmp_path / "c", Progress())
    assert model_bits(states[0].model) == model_bits(states[1].model) == model_bits(again.model)
    assert model_bits(states[0].model) != model_bits(one.model)
    masks_in(states[1]).check()


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
    with pytest.raises(StageError, match="has ended"):
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
        [sys.executable, "-c", code], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "step\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert set(process.stdout) <= {"step\n"}

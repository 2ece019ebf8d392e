"""Training steps: masked against dense, their share of the machine's peak, two processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.engine.benchmark.timing import interleaved, ratio, summarize
from pruning_core.engine.criteria.inputs import Evidence
from pruning_core.engine.criteria.magnitude import magnitude
from pruning_core.engine.masks import masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import make
from pruning_core.engine.models.layers import weights
from pruning_core.engine.training.state import Trainee, make_optimizer
from pruning_core.engine.training.step import step
from pruning_core.results.benchmark import Figure
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec

BATCH = 64
CLASSES = 10
SIZE = 32
STEPS_A_ROUND = 4
PRODUCT = 1024
AMOUNT = 0.9
SETTINGS = to_dict(TrainSpec())


def make_training_loop(amount: float = 0.0) -> Callable[[], None]:
    """A function that does a few training steps of a MobileNetV2, masked where asked."""
    torch.manual_seed(0)
    model = devices.place(make("mobilenet_v2", CLASSES), "cpu").train()
    kept = prune_uniformly(model, amount) if amount else None
    trainee = Trainee(model, make_optimizer(model, SETTINGS), kept)
    images = torch.rand(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % CLASSES

    def train() -> None:
        for _ in range(STEPS_A_ROUND):
            step(trainee, images, labels, SETTINGS["lr"], SETTINGS["clip_grad_norm"])

    return train


def prune_uniformly(model: nn.Module, amount: float) -> masks.Masks:
    """Masks that remove this share of every layer, applied."""
    found = weights(model, "all")
    kept = masks.choose(magnitude(Evidence(found)), amount, to_dict(PruningSpec()))
    made = masks.Masks(found, kept)
    made.multiply()
    return made


def masked_over_dense(rounds: int) -> Figure:
    """Seconds of a step at 90 % sparsity over those of a dense one."""
    jobs = {"masked": make_training_loop(AMOUNT), "dense": make_training_loop()}
    found = interleaved(jobs, rounds, warmup=2)
    return ratio(found["masked"], found["dense"])


def peak_share(rounds: int) -> Figure:
    """A dense step's products a second, over those of one large matrix product."""
    left, right = torch.rand(PRODUCT, PRODUCT), torch.rand(PRODUCT, PRODUCT)
    found = interleaved(
        {"step": make_training_loop(), "peak": lambda: left @ right}, rounds, warmup=2
    )
    per_step = STEPS_A_ROUND * flops_of_step() / (2.0 * PRODUCT**3)
    shares = [per_step * b / a for a, b in zip(found["step"], found["peak"], strict=True)]
    return summarize(shares)


def flops_of_step() -> int:
    """Operations of one forward and backward pass: three times those of the forward pass.

    torch's counter counts a depthwise convolution rightly on the way forward only.
    """
    model = make("mobilenet_v2", CLASSES)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(BATCH, 3, SIZE, SIZE))
    return 3 * int(counter.get_total_flops())


def speedup_workers(rounds: int) -> Figure:
    """Two processes of one thread that share some training, against one that does it all."""
    with TrainingProcesses(2) as two:
        found = interleaved(
            {"one": lambda: two.train([2, 0]), "two": lambda: two.train([1, 1])}, rounds, warmup=1
        )
    return ratio(found["one"], found["two"])


class TrainingProcesses:
    """Processes that wait to be told how many rounds to train."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, "-m", "pruning_core.engine.benchmark.training_step"]
        self.processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]

    def __enter__(self) -> TrainingProcesses:
        self.train([0] * len(self.processes))
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.communicate()

    def train(self, rounds: list[int]) -> None:
        """Have each process train so many rounds, at the same time, and wait for all."""
        for process, number in zip(self.processes, rounds, strict=True):
            assert process.stdin is not None
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.readline()


def serve() -> None:
    """What each of the `Trainers` does."""
    devices.prepare(threads=1)
    train = make_training_loop()
    train()
    for line in sys.stdin:
        for _ in range(int(line)):
            train()
        print("done", flush=True)


if __name__ == "__main__":
    serve()

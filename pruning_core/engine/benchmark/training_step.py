"""Training steps: masked against dense, the share of peak performance, two processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pruning_core.engine.benchmark.timing import interleaved, paired_ratio, summarize
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.magnitude import magnitude
from pruning_core.engine.masks.masks import Masks, compute_masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import make
from pruning_core.engine.models.layers import weights
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import step
from pruning_core.methods.devices import CPU, CUDA
from pruning_core.results.benchmark import MedianRange
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec

BATCH = 64
CLASSES = 10
SIZE = 32
STEPS_PER_ROUND, STEPS_PER_ROUND_ON_GPU = 4, 100
MATRIX_SIZE = 1024
AMOUNT = 0.9
SETTINGS = to_dict(TrainSpec())


def make_training_loop(amount: float = 0.0, device: str = CPU) -> Callable[[], None]:
    """A function that does a few training steps of a MobileNetV2, pruned to a sparsity."""
    torch.manual_seed(0)
    model = devices.place(make("mobilenet_v2", CLASSES), device).train()
    masks = prune_uniformly(model, amount) if amount else None
    state = TrainingState(model, make_optimizer(model, SETTINGS), masks)
    images = torch.rand(BATCH, 3, SIZE, SIZE).to(device, memory_format=torch.channels_last)
    labels = (torch.arange(BATCH) % CLASSES).to(device)

    def train() -> None:
        for _ in range(STEPS_PER_ROUND if device == CPU else STEPS_PER_ROUND_ON_GPU):
            step(state, images, labels, SETTINGS["lr"], SETTINGS["clip_grad_norm"])
        synchronize(device)

    return train


def synchronize(device: str) -> None:
    """Wait until the device has done its work."""
    if device == CUDA:
        torch.cuda.synchronize()


def prune_uniformly(model: nn.Module, amount: float) -> Masks:
    """Prune this share of each layer. Returns the masks."""
    prunable = weights(model, "all")
    kept = compute_masks(magnitude(CriterionInputs(prunable)), amount, to_dict(PruningSpec()))
    masks = Masks(prunable, kept)
    masks.multiply()
    return masks


def masked_over_dense(rounds: int) -> MedianRange:
    """The time of a training step at 90 % sparsity over that of a dense step."""
    jobs = {"masked": make_training_loop(AMOUNT), "dense": make_training_loop()}
    seconds = interleaved(jobs, rounds, warmup=2)
    return paired_ratio(seconds["masked"], seconds["dense"])


def peak_share(rounds: int) -> MedianRange:
    """Operations per second of a dense training step over those of a large matrix product."""
    left, right = torch.rand(MATRIX_SIZE, MATRIX_SIZE), torch.rand(MATRIX_SIZE, MATRIX_SIZE)
    jobs = {"step": make_training_loop(), "peak": lambda: left @ right}
    seconds = interleaved(jobs, rounds, warmup=2)
    per_step = STEPS_PER_ROUND * flops_of_step() / (2.0 * MATRIX_SIZE**3)
    shares = [per_step * b / a for a, b in zip(seconds["step"], seconds["peak"], strict=True)]
    return summarize(shares)


def flops_of_step() -> int:
    """Floating-point operations of a training step: three times those of the forward pass.

    The backward pass is not counted, because torch miscounts that of depthwise convolutions.
    """
    model = make("mobilenet_v2", CLASSES)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.rand(BATCH, 3, SIZE, SIZE))
    return 3 * int(counter.get_total_flops())


def speedup_workers(rounds: int, device: str = CPU) -> MedianRange:
    """The speed-up of two single-threaded processes over one that does the same training steps."""
    with TrainingProcesses(2, device) as two:
        seconds = interleaved(
            {"one": lambda: two.train([2, 0]), "two": lambda: two.train([1, 1])}, rounds, warmup=1
        )
    return paired_ratio(seconds["one"], seconds["two"])


class TrainingProcesses:
    """Processes that train a number of rounds on request."""

    def __init__(self, count: int, device: str) -> None:
        command = [sys.executable, "-m", "pruning_core.engine.benchmark.training_step", device]
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
        """Train these numbers of rounds in the processes at the same time, and wait for all."""
        for process, number in zip(self.processes, rounds, strict=True):
            assert process.stdin is not None
            process.stdin.write(f"{number}\n")
            process.stdin.flush()
        for process in self.processes:
            assert process.stdout is not None
            process.stdout.readline()


def serve(device: str) -> None:
    """The loop of each process: read a number of rounds, train, and reply."""
    devices.prepare(threads=1)
    train = make_training_loop(device=device)
    train()
    for line in sys.stdin:
        for _ in range(int(line)):
            train()
        print("done", flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])

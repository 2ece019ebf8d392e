"""A small network in training, on random images, as tests of the training loop need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.engine.data.loading import ImageSet, Splits
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import TrainingPlan
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.stage_context import Progress
from tests.helpers.models import weight_of
from tests.helpers.pruning import masks_of

DATA: dict[str, Any] = {
    "image_size": 8,
    "augmentation": "crop_flip",
    "mean": [0.5] * 3,
    "std": [0.25] * 3,
}
READS = ("item", "__bool__", "__float__", "__int__", "tolist", "numpy")


class Net(nn.Sequential):
    """A convolution, batch norm, dropout and a linear layer, for images of 8x8 pixels."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(216, 3),
        )


class InterruptedProgress(Progress):
    """Ends a training of three epochs in the last one."""

    def say(self, fraction: float, message: str) -> None:
        if fraction > 0.9:
            raise KeyboardInterrupt


def random_images(count: int, seed: int) -> ImageSet:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    labels = torch.from_numpy(random.integers(0, 3, count))
    return ImageSet(pixels, labels, np.arange(count))


SPLITS = Splits(random_images(50, 0), random_images(12, 1), random_images(20, 2))


def plan_of(epochs: float = 3, optimizer: str = "sgd", **changes: Any) -> TrainingPlan:
    """A plan for `SPLITS`: batches of 16, so four steps per epoch."""
    settings = to_dict(TrainSpec(optimizer=optimizer, lr=0.01, batch_size=16))
    plan = TrainingPlan(settings, DATA, epochs, 0, epochs, 5, "level", 0, "cpu")
    return replace(plan, **changes)


def prunable_weights(model: nn.Module) -> dict[str, Tensor]:
    """The two weights of `Net` that are pruned."""
    return {"0.weight": weight_of(model, "0"), "5.weight": weight_of(model, "5")}


def masks_in(state: TrainingState) -> Masks:
    """The masks of a model in training, which has some."""
    assert state.masks is not None
    return state.masks


def state_of(optimizer: str = "sgd", amount: float = 0.5) -> TrainingState:
    """A `Net` with half of its weights pruned, before its first training step."""
    torch.manual_seed(0)
    model = Net().to(memory_format=torch.channels_last)
    weights = prunable_weights(model)
    masks = Masks(weights, masks_of(weights, amount))
    masks.multiply()
    return TrainingState(model, make_optimizer(model, plan_of(optimizer=optimizer).settings), masks)


def model_bits(model: nn.Module) -> list[bytes]:
    """The bytes of every parameter and buffer."""
    return [value.contiguous().numpy().tobytes() for value in model.state_dict().values()]


def recorded_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The operations that read a tensor's value from now on.

    On a GPU each of them waits until all work before it is done.
    """
    reads: list[str] = []

    def recording(name: str) -> Callable[..., object]:
        original = getattr(Tensor, name)

        def read(*arguments: Any) -> object:
            reads.append(name)
            return original(*arguments)

        return read

    for name in READS:
        monkeypatch.setattr(Tensor, name, recording(name))
    return reads

"""What someone would otherwise run: the assignment's published protocol, plainly written.

Images go through PIL one by one, a `DataLoader` with two workers makes batches of 32, Adam at
1e-3 trains contiguous tensors with torch's own threads, `prune.l1_unstructured` masks every
convolution and linear layer by hooks, and one configuration follows another. Nothing here is
slowed down; it is what `bench` measures this project against.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import prune
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.models.build import make
from pruning_core.methods.datasets import IMAGENET_MEAN, IMAGENET_STD
from pruning_core.methods.sparsity_schedules import geometric

BATCH = 32
WORKERS = 2
RATE = 1e-3
CIFAR_SIZE = 32


@dataclass(frozen=True)
class Protocol:
    """The assignment's experiment; `image_size` 224 enlarges the images first."""

    baseline_epochs: int = 1
    amounts: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.9)
    one_shot_epochs: int = 1
    target: float = 0.9
    iterations: int = 5
    epochs: int = 1
    image_size: int = CIFAR_SIZE
    seed: int = 0


@dataclass
class ComparisonResult:
    """Test accuracy of every point, as fractions, and the seconds of all together."""

    seconds: float = 0.0
    accuracies: dict[str, float] = field(default_factory=dict)


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as a torchvision data set hands them out: from an array through PIL."""

    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images.images[self.images.indices[index]]
        return self.transform(Image.fromarray(pixels)), int(self.images.labels[index])


def loader(images: ImageSet, image_size: int, training: bool) -> DataLoader[Any]:
    """Batches of 32 from two loading processes, augmented where they are to be learned from."""
    steps: list[Any] = []
    if training:
        steps.append(transforms.RandomCrop(CIFAR_SIZE, padding=4))
    if image_size != CIFAR_SIZE:
        steps.append(transforms.Resize(image_size))
    if training:
        steps.append(transforms.RandomHorizontalFlip())
    steps += [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    pictures = Pictures(images, transforms.Compose(steps))
    return DataLoader(pictures, batch_size=BATCH, shuffle=training, num_workers=WORKERS)


def run(
    train: ImageSet,
    test: ImageSet,
    classes: int,
    protocol: Protocol,
    model: nn.Module | None = None,
) -> ComparisonResult:
    """Train a baseline, then every one-shot amount, then the iterative chain.

    `model` is the network to begin with, else a MobileNetV2 with random weights.
    """
    started, outcome = time.perf_counter(), ComparisonResult()
    torch.manual_seed(protocol.seed)
    learn = loader(train, protocol.image_size, training=True)
    look = loader(test, protocol.image_size, training=False)
    baseline = make("mobilenet_v2", classes) if model is None else model
    fine_tune(baseline, learn, protocol.baseline_epochs)
    outcome.accuracies["baseline"] = evaluate(baseline, look)
    for amount in protocol.amounts:
        pruned = one_shot(baseline, amount, learn, protocol.one_shot_epochs)
        outcome.accuracies[f"one_shot {amount:g}"] = evaluate(pruned, look)
    for step, pruned in enumerate(iterative(baseline, protocol, learn), start=1):
        outcome.accuracies[f"iterative {step}"] = evaluate(pruned, look)
    outcome.seconds = time.perf_counter() - started
    return outcome


def one_shot(
    baseline: nn.Module, amount: float, batches: DataLoader[Any], epochs: int
) -> nn.Module:
    """One cut of a copy of the baseline, fine-tuned under hooks."""
    model = copy.deepcopy(baseline)
    prune_layers(model, amount)
    fine_tune(model, batches, epochs)
    for layer in layers(model):
        prune.remove(layer, "weight")
    return model


def iterative(
    baseline: nn.Module, protocol: Protocol, batches: DataLoader[Any]
) -> Iterator[nn.Module]:
    """The same share of what is left is cut again and again; the model after each step.

    Hooks stay on between the cuts, which is how torch counts an amount of what remains.
    """
    model, before = copy.deepcopy(baseline), 0.0
    for target in geometric(protocol.target, protocol.iterations):
        prune_layers(model, (target - before) / (1 - before))
        before = target
        fine_tune(model, batches, protocol.epochs)
        yield model
    for layer in layers(model):
        prune.remove(layer, "weight")


def layers(model: nn.Module) -> list[nn.Module]:
    """Every convolution and linear layer."""
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def prune_layers(model: nn.Module, amount: float) -> None:
    """Remove this share of the weights that are left in each layer, smallest first."""
    for layer in layers(model):
        prune.l1_unstructured(layer, "weight", amount=amount)


def fine_tune(model: nn.Module, batches: DataLoader[Any], epochs: int) -> None:
    """Adam at 1e-3, as the assignment has it."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    model.train()
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()


def evaluate(model: nn.Module, batches: DataLoader[Any]) -> float:
    """The share of images that are right."""
    model.eval()
    right = total = 0
    with torch.no_grad():
        for images, labels in batches:
            right += int((model(images).argmax(1) == labels).sum())
            total += len(labels)
    return right / total

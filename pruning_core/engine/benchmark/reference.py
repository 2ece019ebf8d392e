"""The reference of the benchmark: the plain script of the assignment, with its protocol.

Images go through PIL one by one, a `DataLoader` with two workers makes batches of 32, Adam with a
learning rate of 1e-3 trains with torch's default threads, `prune.l1_unstructured` masks all
convolution and linear layers by hooks, and one configuration runs after another. Nothing is
slowed down.
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
from pruning_core.methods.devices import CPU
from pruning_core.methods.sparsity_schedules import geometric

BATCH = 32
WORKERS = 2
LR = 1e-3
CIFAR_SIZE = 32


@dataclass(frozen=True)
class Protocol:
    """The experiment of the assignment; images are resized to `image_size`."""

    baseline_epochs: int = 1
    amounts: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.9)
    one_shot_epochs: int = 1
    target: float = 0.9
    iterations: int = 5
    epochs: int = 1
    image_size: int = CIFAR_SIZE
    seed: int = 0
    device: str = CPU


@dataclass
class ComparisonResult:
    """The test accuracy of each model, as a fraction, and the seconds of the whole comparison."""

    seconds: float = 0.0
    accuracies: dict[str, float] = field(default_factory=dict)


class ImageDataset(Dataset[tuple[Tensor, int]]):
    """Images as in a torchvision data set: from an array through PIL."""

    def __init__(self, images: ImageSet, transform: Callable[[Image.Image], Tensor]) -> None:
        self.images, self.transform = images, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.images.images[self.images.indices[index]]
        return self.transform(Image.fromarray(pixels)), int(self.images.labels[index])


def loader(images: ImageSet, image_size: int, training: bool) -> DataLoader[Any]:
    """Batches of 32 from two worker processes, augmented for training."""
    steps: list[Any] = []
    if training:
        steps.append(transforms.RandomCrop(CIFAR_SIZE, padding=4))
    if image_size != CIFAR_SIZE:
        steps.append(transforms.Resize(image_size))
    if training:
        steps.append(transforms.RandomHorizontalFlip())
    steps += [transforms.ToTensor(), transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    dataset = ImageDataset(images, transforms.Compose(steps))
    return DataLoader(dataset, batch_size=BATCH, shuffle=training, num_workers=WORKERS)


def run(
    train: ImageSet,
    test: ImageSet,
    classes: int,
    protocol: Protocol,
    model: nn.Module | None = None,
) -> ComparisonResult:
    """Train a baseline, then prune it one-shot to each amount, then iteratively.

    `model` is the network to train, by default a MobileNetV2 with random weights.
    """
    started, result = time.perf_counter(), ComparisonResult()
    torch.manual_seed(protocol.seed)
    train_batches = loader(train, protocol.image_size, training=True)
    test_batches = loader(test, protocol.image_size, training=False)
    baseline = make("mobilenet_v2", classes) if model is None else model
    baseline = baseline.to(protocol.device)
    fine_tune(baseline, train_batches, protocol.baseline_epochs)
    result.accuracies["baseline"] = evaluate(baseline, test_batches)
    for amount in protocol.amounts:
        pruned = one_shot(baseline, amount, train_batches, protocol.one_shot_epochs)
        result.accuracies[f"one_shot {amount:g}"] = evaluate(pruned, test_batches)
    for step, pruned in enumerate(iterative(baseline, protocol, train_batches), start=1):
        result.accuracies[f"iterative {step}"] = evaluate(pruned, test_batches)
    result.seconds = time.perf_counter() - started
    return result


def one_shot(
    baseline: nn.Module, amount: float, batches: DataLoader[Any], epochs: int
) -> nn.Module:
    """A copy of the baseline, pruned in one step and fine-tuned with pruning hooks."""
    model = copy.deepcopy(baseline)
    prune_layers(model, amount)
    fine_tune(model, batches, epochs)
    for layer in layers(model):
        prune.remove(layer, "weight")
    return model


def iterative(
    baseline: nn.Module, protocol: Protocol, batches: DataLoader[Any]
) -> Iterator[nn.Module]:
    """The model after each iterative step, which prunes the same share of the remaining weights.

    The hooks stay between the steps, so torch takes an amount of the remaining weights.
    """
    model, sparsity = copy.deepcopy(baseline), 0.0
    for target in geometric(protocol.target, protocol.iterations):
        prune_layers(model, (target - sparsity) / (1 - sparsity))
        sparsity = target
        fine_tune(model, batches, protocol.epochs)
        yield model
    for layer in layers(model):
        prune.remove(layer, "weight")


def layers(model: nn.Module) -> list[nn.Module]:
    """All convolution and linear layers."""
    return [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]


def prune_layers(model: nn.Module, amount: float) -> None:
    """Prune this share of the remaining weights of each layer, smallest magnitude first."""
    for layer in layers(model):
        prune.l1_unstructured(layer, "weight", amount=amount)


def device_of(model: nn.Module) -> torch.device:
    """The device of the weights."""
    return next(model.parameters()).device


def fine_tune(model: nn.Module, batches: DataLoader[Any], epochs: int) -> None:
    """Train with Adam at 1e-3, as in the assignment."""
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    device = device_of(model)
    model.train()
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            logits = model(images.to(device))
            functional.cross_entropy(logits, labels.to(device)).backward()
            optimizer.step()


def evaluate(model: nn.Module, batches: DataLoader[Any]) -> float:
    """The accuracy as a fraction."""
    device = device_of(model)
    model.eval()
    correct = total = 0
    with torch.no_grad():
        for images, labels in batches:
            correct += int((model(images.to(device)).argmax(1).cpu() == labels).sum())
            total += len(labels)
    return correct / total

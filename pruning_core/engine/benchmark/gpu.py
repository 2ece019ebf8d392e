"""Measurements on one GPU: training, the loader, memory and repeatability.

The data set is random: times do not depend on what the images show. N images of S x S pixels.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.nn.functional import pad

from pruning_core.engine.benchmark import training_step
from pruning_core.engine.benchmark.timing import interleaved, paired_ratio, seconds, summarize
from pruning_core.engine.data.augment import crop_flip, normalize
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.models import devices
from pruning_core.engine.models.build import make
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import step
from pruning_core.engine.training.train import shuffled_batches
from pruning_core.methods.datasets import IMAGENET_MEAN, IMAGENET_STD
from pruning_core.methods.devices import CUDA
from pruning_core.results.benchmark import MedianRange

CLASSES = 10
SIZE = training_step.SIZE
PADDING = 4
# A batch of so many images does not fit into so many bytes beside the model.
LARGE_BATCH, FREE_BYTES = 8192, 2**30
REPEATED_STEPS = 5


@dataclass(frozen=True)
class Load:
    """The size of the measurements: training images, images in a batch, rounds, and precision."""

    images: int = 50_000
    batch: int = 512
    rounds: int = 3
    precision: str = "bf16"


def random_images(count: int, seed: int = 0) -> ImageSet:
    """Random images, uint8 (N, S, S, 3), of random classes."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)
    labels = torch.from_numpy(random.integers(0, CLASSES, count))
    return ImageSet(pixels, labels, np.arange(count))


def write_random_images(path: Path, train: int, test: int) -> None:
    """Random images as a zip of an image folder, with the same number in each class."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for seed, (part, count) in enumerate({"train": train, "test": test}.items()):
            pixels = random_images(count, seed).images
            for i, image in enumerate(pixels):
                Image.fromarray(image).save(content := io.BytesIO(), "PNG", compress_level=0)
                archive.writestr(f"{part}/class{i % CLASSES}/{i:05}.png", content.getvalue())


class Trainer:
    """A MobileNetV2 that trains on random images, which stay in the memory of the device."""

    def __init__(self, device: str, load: Load) -> None:
        torch.manual_seed(0)
        self.device, self.load = device, load
        self.images = random_images(load.images).on(device)
        self.generator = Generator().manual_seed(0)
        model = devices.place(make("mobilenet_v2", CLASSES), device).train()
        optimizer = make_optimizer(model, training_step.SETTINGS)
        self.state = TrainingState(model, optimizer, None, load.precision)

    def batches(self) -> list[Tensor]:
        """The positions of the images of an epoch, shuffled."""
        return shuffled_batches(len(self.images), self.load.batch, self.generator)

    def loaded(self, positions: Tensor) -> Tensor:
        """The images at these positions, augmented and normalized: float32 (N, 3, S, S)."""
        pixels = self.images.batch(positions).to(self.device)
        return normalize(crop_flip(pixels, self.generator), IMAGENET_MEAN, IMAGENET_STD)

    def train_on(self, positions: Tensor) -> None:
        """One training step."""
        labels = self.images.labels[positions].to(self.device)
        settings = training_step.SETTINGS
        step(
            self.state,
            self.loaded(positions),
            labels,
            settings["lr"],
            settings["clip_grad_norm"],
        )

    def train_epoch(self) -> None:
        """Train for an epoch."""
        for positions in self.batches():
            self.train_on(positions)
        training_step.synchronize(self.device)

    def load_epoch(self) -> None:
        """Load the images of an epoch, without training."""
        for positions in self.batches():
            self.loaded(positions)
        training_step.synchronize(self.device)


class WholeEpochLoader:
    """A loader that augments all images of an epoch at once, on the device.

    As in airbench (Jordan 2024, https://arxiv.org/abs/2404.00498): images are normalized and
    padded once, in the precision of the training and in channels_last memory, and each epoch crops
    them with one copy for each shift, first of the rows and then of the columns.
    """

    def __init__(self, trainer: Trainer) -> None:
        pixels = trainer.images.batch(torch.arange(len(trainer.images))).to(trainer.device)
        images = normalize(pixels, IMAGENET_MEAN, IMAGENET_STD)
        self.trainer = trainer
        half = trainer.load.precision == "bf16"
        padded = pad(images.bfloat16() if half else images, (PADDING,) * 4)
        self.padded = padded.contiguous(memory_format=torch.channels_last)

    def load_epoch(self) -> Tensor:
        """Load the images of an epoch. Returns the last batch, float32 (N, 3, S, S)."""
        count, device = len(self.padded), self.trainer.device
        shifts = torch.randint(2 * PADDING + 1, (2, count), device=device)
        rows = torch.empty_like(self.padded[:, :, :SIZE])
        images = torch.empty_like(rows[:, :, :, :SIZE])
        for shift in range(2 * PADDING + 1):
            chosen = shifts[0] == shift
            rows[chosen] = self.padded[chosen, :, shift : shift + SIZE]
        for shift in range(2 * PADDING + 1):
            chosen = shifts[1] == shift
            images[chosen] = rows[chosen, :, :, shift : shift + SIZE]
        mirrored = torch.rand(count, device=device) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        for positions in torch.randperm(count, device=device).split(self.trainer.load.batch):
            batch = images[positions].contiguous(memory_format=torch.channels_last)
        training_step.synchronize(device)
        return batch


def images_per_second(trainer: Trainer) -> MedianRange:
    """Images per second of training."""
    trainer.train_epoch()  # the first epoch loads the kernels
    rates = [trainer.load.images / seconds(trainer.train_epoch) for _ in range(trainer.load.rounds)]
    return summarize(rates)


def loader_ratio(trainer: Trainer) -> MedianRange:
    """The speed of our loader over that of a loader that augments whole epochs."""
    other = WholeEpochLoader(trainer)
    jobs = {"other": other.load_epoch, "ours": trainer.load_epoch}
    times = interleaved(jobs, trainer.load.rounds, warmup=1)
    return paired_ratio(times["other"], times["ours"])


def same_bits_twice(device: str, load: Load) -> bool:
    """Whether the same training steps from the same seed give the same weights, bit for bit."""
    states = []
    for _ in range(2):
        trainer = Trainer(device, load)
        for positions in trainer.batches()[:REPEATED_STEPS]:
            trainer.train_on(positions)
        states.append({k: v.cpu() for k, v in trainer.state.model.state_dict().items()})
    first, second = states
    return all(torch.equal(value, second[name]) for name, value in first.items())


def large_batch_check(load: Load) -> str:
    """Whether a batch that does not fit into memory is processed in parts, as a sentence."""
    trainer = Trainer(CUDA, replace(load, images=2))
    images = torch.rand(LARGE_BATCH, 3, SIZE, SIZE, device=CUDA)
    labels = torch.arange(LARGE_BATCH, device=CUDA) % CLASSES
    _, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    allowed = torch.cuda.memory_reserved() + FREE_BYTES
    torch.cuda.set_per_process_memory_fraction(min(allowed / total, 1.0))
    batch = f"A batch of {LARGE_BATCH:,} images with {FREE_BYTES / 2**30:g} GiB of free memory"
    try:
        step(trainer.state, images, labels, training_step.SETTINGS["lr"], 0.0)
    except RuntimeError as error:  # also torch.OutOfMemoryError
        return f"{batch} could not be trained on: {error}"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    parts = trainer.state.parts
    if parts == 1:
        return f"{batch} fitted, so processing in parts was not tested."
    return f"{batch} was processed in {parts} parts."

"""Inspects a model: its layers, its initial weights, and its training speed on this machine."""

from __future__ import annotations

import copy
import dataclasses
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pruning_core.common.files import expand_path, sha256
from pruning_core.common.machine import LOWEST_CORE_SHARE
from pruning_core.engine.masks.masks import zero_layers, zero_masks
from pruning_core.engine.models import devices
from pruning_core.engine.models.batch_norm import has_batch_norm
from pruning_core.engine.models.build import build
from pruning_core.engine.models.devices import autocast
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.weight_files import pretrained_file
from pruning_core.engine.models.weights import load_weights
from pruning_core.methods.corrections import NO_BATCH_NORM
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.registry import load
from pruning_core.planning.inspection_types import (
    TRIAL_IMAGES,
    InspectModelResult,
    InspectModelSettings,
)
from pruning_core.planning.layer_checks import initial_zeros_note, zero_layers_note

TRIAL_SECONDS, TRIALS = 0.5, 3
# The batch size that `images_per_second` is for, and the two that are timed.
TRIAL_BATCHES = (8, 24)
# Of a step with the larger batch, at least this share is for its images: noise could say less.
LEAST_IMAGE_SHARE = 0.2
SHORTEST_STEP = 1e-6  # seconds; the clock of the processor may be coarse
PRECISION_TRIALS = 5
Batch = tuple[torch.Tensor, torch.Tensor]  # images (N, 3, S, S) and labels (N,)


def inspect_model(
    settings: InspectModelSettings, source: str, downloads: Path
) -> InspectModelResult:
    """Facts on a model and its initial weights.

    `source` is where the weights come from: `none`, `pretrained`, or a file.
    """
    model_settings, size = settings.model, settings.image_size
    device = devices.resolve(settings.device)
    torch.manual_seed(0)
    model = build(model_settings, settings.classes, size)
    entry = model_settings.get("weights_entry", "")
    notes = load_weights(model, source, model_settings["name"], downloads, entry)
    masks = zero_masks(model) if source != "none" else {}
    zeros = {name: mask.numel() - int(mask.sum()) for name, mask in masks.items()}
    zeros_notes = [
        *initial_zeros_note(layers(model), zeros),
        *zero_layers_note(zero_layers(model) if zeros else []),
    ]
    precision: dict[str, Any] = {}
    if settings.precision:
        precision = choose_precision(model, settings.classes, size, device)
    return InspectModelResult(
        **precision,
        device=device,
        devices=devices.available(),
        weights=weights_identity(source, model_settings["name"], downloads),
        notes=[*notes, *zeros_notes, *precision_notes(precision)],
        zeros=zeros,
        unsupported=_unsupported(model),
        layers=[dataclasses.asdict(layer) for layer in layers(model)],
        parameters=sum(p.numel() for p in model.parameters()),
        **speed_trial(model, settings.classes, size, device),
    )


def _unsupported(model: nn.Module) -> dict[str, str]:
    """The criteria and corrections that do not support the model, with the reason."""
    reasons = {
        name: load(criterion.unsupported)(model)
        for name, criterion in CRITERIA.items()
        if criterion.unsupported
    }
    reasons["bn_recalibration"] = "" if has_batch_norm(model) else NO_BATCH_NORM
    return {name: reason for name, reason in reasons.items() if reason}


def precision_notes(precision: dict[str, Any]) -> list[str]:
    """A note on the precision that `auto` chose."""
    if not precision:
        return []
    return [
        f"Automatic precision: {precision['precision']}. Speed-up of a training step in bf16 over "
        f"fp32: {precision['bf16_speedup']:.2f}."
    ]


def weights_identity(source: str, name: str, downloads: Path) -> str:
    """The identity of the initial weights in a stage's key: `none`, or the digest of the file."""
    if source == "none":
        return "none"
    path = pretrained_file(name, downloads) if source == "pretrained" else expand_path(source)
    return f"sha256:{sha256(path)}"


def speed_trial(model: nn.Module, classes: int, size: int, device: str) -> dict[str, Any]:
    """The speed of training steps, as fields of `InspectModelResult`.

    While other programs use the processor, the trial is repeated, and the quietest one counts.
    """
    model = devices.place(model, device).train()
    batches = [_random_batch(count, classes, size, device) for count in TRIAL_BATCHES]
    timed_step(model, *batches[0])  # the first step also allocates memory
    trials: list[dict[str, Any]] = []
    for _ in range(TRIALS):
        trials.append(_trial(model, batches))
        if trials[-1].get("core_share", 1.0) >= LOWEST_CORE_SHARE:
            break
    return max(trials, key=lambda trial: trial.get("core_share", 1.0))


def _trial(model: nn.Module, batches: list[Batch]) -> dict[str, Any]:
    """The speed of training steps in `TRIAL_SECONDS`, at least one with each batch.

    A step takes a fixed time and a time for each image, which the fastest steps give. On a CPU it
    is the time of the processor: it does not count the time in which other programs had the core.
    """
    on_cpu = batches[0][0].device.type == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    wall, cpu = time.perf_counter(), time.process_time()
    steps: dict[int, list[float]] = {len(labels): [] for _, labels in batches}
    while not steps[TRIAL_BATCHES[-1]] or time.perf_counter() - wall < TRIAL_SECONDS:
        for images, labels in batches:
            started = clock()
            timed_step(model, images, labels)
            steps[len(labels)].append(max(clock() - started, SHORTEST_STEP))
    (few, fast), (many, slow) = ((count, min(times)) for count, times in steps.items())
    each = max((slow - fast) / (many - few), LEAST_IMAGE_SHARE * slow / many)
    fixed = max(slow - many * each, 0.0)
    trial = {
        "images_per_second": TRIAL_IMAGES / (fixed + TRIAL_IMAGES * each),
        "step_seconds": fixed,
        "typical_share": statistics.median(
            min(times) / seconds for times in steps.values() for seconds in times
        ),
        "measured": time.time(),
    }
    if on_cpu:
        used = (time.process_time() - cpu) / max(time.perf_counter() - wall, 1e-9)
        trial["core_share"] = min(used, 1.0)
    return trial


def _random_batch(count: int, classes: int, size: int, device: str) -> Batch:
    images = torch.rand((count, 3, size, size), device=device)
    labels = torch.arange(count, device=device) % classes
    return images.to(memory_format=torch.channels_last), labels


def choose_precision(
    model: nn.Module, classes: int, image_size: int, device: str
) -> dict[str, Any]:
    """The precision that `auto` means for this model, image size and machine, and its speed-up.

    bf16 is chosen where a training step takes less than 0.9 of the time: the medians of
    interleaved trials are compared, and the margin keeps a noisy machine at fp32.
    """
    model = devices.place(copy.deepcopy(model), device).train()
    images, labels = _random_batch(TRIAL_IMAGES, classes, image_size, device)
    times: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(PRECISION_TRIALS + 1):
        for name, values in times.items():
            values.append(TRIAL_IMAGES / timed_step(model, images, labels, name))
    # The first trial of each is a warm-up.
    fp32, bf16 = (statistics.median(values[1:]) for values in times.values())
    speedup = fp32 / bf16
    return {"precision": "bf16" if speedup > 1 / 0.9 else "fp32", "bf16_speedup": speedup}


def timed_step(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str = "fp32"
) -> float:
    """Images per second of one forward and backward pass; images are (N, 3, S, S)."""
    started = time.perf_counter()
    with autocast(images.device.type, precision):
        loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    if images.is_cuda:
        torch.cuda.synchronize()
    return len(images) / (time.perf_counter() - started)

"""What pages need to know of a model: its layers, whether it loads, how fast it trains here."""

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

from pruning_core.engine.models import devices
from pruning_core.engine.models.batch_norm import has_batch_norm
from pruning_core.engine.models.build import build
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.weights import file_digest, load_weights, pretrained_file
from pruning_core.methods.corrections import NO_BATCH_NORM
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.registry import load

TRIAL_SECONDS = 0.5
TRIAL_IMAGES = 16
PRECISION_TRIALS = 5


def inspect_model(settings: dict[str, Any], source: str, downloads: Path) -> dict[str, Any]:
    """Facts on a model and its weights. `settings` are those of an `inspect_model` stage."""
    model_settings, size = settings["model"], settings["image_size"]
    device = devices.resolve(settings["device"])
    torch.manual_seed(0)
    model = build(model_settings, settings["classes"], size)
    notes = load_weights(model, source, model_settings["name"], downloads)
    found = layers(model)
    resolved = choose_precision(model, settings, device) if "precision" in settings else {}
    return {
        **resolved,
        "device": device,
        "devices": devices.available(),
        "weights": weights_identity(source, model_settings["name"], downloads),
        "notes": notes + _told(resolved),
        "unsupported": _unsupported(model),
        "layers": [dataclasses.asdict(layer) for layer in found],
        "parameters": sum(p.numel() for p in model.parameters()),
        "images_per_second": images_per_second(model, settings["classes"], size, device),
    }


def _unsupported(model: nn.Module) -> dict[str, str]:
    """The criteria and corrections that cannot be used with the model, with the reason."""
    reasons = {
        name: load(criterion.unsupported)(model)
        for name, criterion in CRITERIA.items()
        if criterion.unsupported
    }
    reasons["bn_recalibration"] = "" if has_batch_norm(model) else NO_BATCH_NORM
    return {name: reason for name, reason in reasons.items() if reason}


def _told(resolved: dict[str, Any]) -> list[str]:
    """Which precision `auto` became, in a sentence."""
    if not resolved:
        return []
    return [
        f"The automatic precision is {resolved['precision']} here: a training step in bf16 was "
        f"{resolved['bf16_speedup']:.2f} times as fast as one in fp32."
    ]


def weights_identity(source: str, name: str, downloads: Path) -> str:
    """What stands for the loaded weights in a key: `none`, or the file's digest."""
    if source == "none":
        return "none"
    path = pretrained_file(name, downloads) if source == "pretrained" else Path(source)
    return f"sha256:{file_digest(path.expanduser())}"


def images_per_second(model: nn.Module, classes: int, size: int, device: str) -> float:
    """Training images per second, from a short trial with small batches."""
    model = devices.place(model, device).train()
    images, labels = _batch(classes, size, device)
    best = timed_step(model, images, labels)
    spent = TRIAL_IMAGES / best
    while spent < TRIAL_SECONDS:
        rate = timed_step(model, images, labels)
        spent, best = spent + TRIAL_IMAGES / rate, max(best, rate)
    return best


def _batch(classes: int, size: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand((TRIAL_IMAGES, 3, size, size), device=device)
    labels = torch.arange(TRIAL_IMAGES, device=device) % classes
    return images.to(memory_format=torch.channels_last), labels


def choose_precision(model: nn.Module, settings: dict[str, Any], device: str) -> dict[str, Any]:
    """What the precision `auto` is for this model, image size and machine, and the evidence.

    bf16 is taken where a step takes less than nine tenths of the time, the median of trials
    that take turns; so a noisy machine stays with fp32.
    """
    model = devices.place(copy.deepcopy(model), device).train()
    images, labels = _batch(settings["classes"], settings["image_size"], device)
    times: dict[str, list[float]] = {"fp32": [], "bf16": []}
    for _ in range(PRECISION_TRIALS + 1):
        for name, found in times.items():
            found.append(TRIAL_IMAGES / timed_step(model, images, labels, name))
    fp32, bf16 = (statistics.median(found[1:]) for found in times.values())
    ratio = fp32 / bf16
    return {"precision": "bf16" if ratio > 1 / 0.9 else "fp32", "bf16_speedup": ratio}


def timed_step(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str = "fp32"
) -> float:
    """Images per second of one forward and backward pass."""
    started = time.perf_counter()
    with devices.computing(images.device.type, precision):
        loss = functional.cross_entropy(model(images), labels)
    loss.backward()
    if images.is_cuda:
        torch.cuda.synchronize()
    return len(images) / (time.perf_counter() - started)

"""What pages need to know of a model: its layers, whether it loads, how fast it trains here."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from pruning_core.engine import devices
from pruning_core.engine.layers import layers
from pruning_core.engine.models import build
from pruning_core.engine.weights import file_digest, load_weights, pretrained_file

TRIAL_SECONDS = 1.5
TRIAL_IMAGES = 16


def inspect_model(settings: dict[str, Any], source: str, downloads: Path) -> dict[str, Any]:
    """Facts on a model and its weights. `settings` are those of an `inspect_model` stage."""
    model_settings, size = settings["model"], settings["image_size"]
    device = devices.resolve(settings["device"])
    torch.manual_seed(0)
    model = build(model_settings, settings["classes"], size)
    notes = load_weights(model, source, model_settings["name"], downloads)
    found = layers(model)
    return {
        "device": device,
        "devices": devices.available(),
        "weights": loaded_identity(source, model_settings["name"], downloads),
        "notes": notes,
        "layers": [dataclasses.asdict(layer) for layer in found],
        "parameters": sum(p.numel() for p in model.parameters()),
        "images_per_second": speed(model, settings["classes"], size, device),
    }


def loaded_identity(source: str, name: str, downloads: Path) -> str:
    """What stands for the loaded weights in a key: `none`, or the file's digest."""
    if source == "none":
        return "none"
    path = pretrained_file(name, downloads) if source == "pretrained" else Path(source)
    return f"sha256:{file_digest(path.expanduser())}"


def speed(model: nn.Module, classes: int, size: int, device: str) -> float:
    """Training images per second, from a short trial with small batches."""
    model = devices.place(model, device).train()
    shape = (TRIAL_IMAGES, 3, size, size)
    images = torch.rand(shape, device=device).to(memory_format=torch.channels_last)
    labels = torch.arange(TRIAL_IMAGES, device=device) % classes
    best = trial(model, images, labels)
    spent = TRIAL_IMAGES / best
    while spent < TRIAL_SECONDS:
        rate = trial(model, images, labels)
        spent, best = spent + TRIAL_IMAGES / rate, max(best, rate)
    return best


def trial(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Images per second of one forward and backward pass."""
    started = time.perf_counter()
    functional.cross_entropy(model(images), labels).backward()
    if images.is_cuda:
        torch.cuda.synchronize()
    return len(images) / (time.perf_counter() - started)

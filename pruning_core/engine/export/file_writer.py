"""What is made into a file, and what opens one again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FinishedModel:
    """A finished model on the CPU, in evaluation mode.

    `rebuild` gives the same network with other weights, `untouched` the architecture before any
    channel went, and `network` tells how torchvision builds that. `example` are some normalized
    images (N, 3, H, W), `calibration` so many training images as batches of them.
    """

    model: nn.Module
    rebuild: Callable[[], nn.Module]
    untouched: Callable[[], nn.Module]
    network: dict[str, Any]
    example: Tensor
    calibration: Callable[[], list[Tensor]]
    settings: dict[str, Any]


@dataclass(frozen=True)
class FileWriter:
    """Writes a model to a file, and opens the file.

    `write` returns notes. `open` gives what computes the scores (N, classes) of normalized
    images (N, 3, H, W) from the file alone, but for the network's layout where `Source.rebuild`
    has to give it.
    """

    write: Callable[[FinishedModel, Path], list[str]]
    open: Callable[[FinishedModel, Path], Run]
    floor: Callable[[Path], dict[str, float]] | None = None


def with_weights(source: FinishedModel, state: dict[str, Tensor]) -> Run:
    """The network with these weights."""
    model = source.rebuild()
    model.load_state_dict(state)
    return model.eval()

"""What is exported, and what writes and opens a file of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

Run = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class FinishedModel:
    """A finished model on the CPU, in evaluation mode, with what exporting needs.

    `rebuild` returns its architecture with other weights, `rebuild_unpruned` the architecture
    before channels were removed, and `network` tells how torchvision builds that. `example` are
    some normalized images (N, 3, S, S), `calibration` returns batches of training images.
    """

    model: nn.Module
    rebuild: Callable[[], nn.Module]
    rebuild_unpruned: Callable[[], nn.Module]
    network: dict[str, Any]
    example: Tensor
    calibration: Callable[[], list[Tensor]]
    threads: int = 1
    calibration_images: int = 0


@dataclass(frozen=True)
class FileWriter:
    """Writes a model to a file, and opens the file.

    `write` returns notes. `open` returns a function from normalized images (N, 3, S, S) to scores
    (N, classes) with the weights of the file; files that hold no graph take the architecture from
    `FinishedModel.rebuild`. `order0_entropy` computes that of a sparse file.
    """

    write: Callable[[FinishedModel, Path], list[str]]
    open: Callable[[FinishedModel, Path], Run]
    order0_entropy: Callable[[Path], dict[str, float]] | None = None


def with_weights(source: FinishedModel, state: dict[str, Tensor]) -> Run:
    """The network of `source` with these weights."""
    model = source.rebuild()
    model.load_state_dict(state)
    return model.eval()

"""Which channels of the dense model are removed, and rewound weights for the remaining ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from pruning_core.engine.structured.groups import remove, trace
from pruning_core.engine.structured.widths import structure
from pruning_core.engine.training.rewinding import StateDict
from pruning_core.storage.stage_context import StageError

FILE = "gone.json"
RemovedChannels = dict[str, list[int]]


def total_removed(before: Mapping[str, list[int]], now: Mapping[str, list[int]]) -> RemovedChannels:
    """The removed channels of each group after another step, in the dense model's numbering.

    `now` numbers the channels that remained before this step.
    """
    total = {}
    for name, channels in now.items():
        earlier = before.get(name, [])
        total[name] = sorted([*earlier, *_dense_numbers(earlier, channels)])
    return total | {name: list(channels) for name, channels in before.items() if name not in now}


def _dense_numbers(before: list[int], now: list[int]) -> list[int]:
    """The dense numbers of channels that are numbered without those removed before."""
    removed, last = set(before), max(now, default=-1) + len(before) + 1
    remaining = [number for number in range(last + 1) if number not in removed]
    return [remaining[position] for position in now]


def write(removed: RemovedChannels, folder: Path) -> None:
    """Write the removed channels into a stage's folder."""
    (folder / FILE).write_text(json.dumps(removed))


def read(path: Path) -> RemovedChannels:
    """Read what `write` wrote."""
    removed: RemovedChannels = json.loads(path.read_text())
    return removed


def rewound_model(
    model: nn.Module, dense: nn.Module, state: StateDict, removed: RemovedChannels, image_size: int
) -> nn.Module:
    """The dense model with the weights of `state`, without the removed channels.

    `dense` is changed in place. Raises `StageError` where its widths are then not those of
    `model`.
    """
    dense.load_state_dict(state)
    remove(dense, trace(dense, image_size), removed)
    if structure(dense) != structure(model):
        raise StageError("The rewound weights do not fit the remaining channels.")
    return dense

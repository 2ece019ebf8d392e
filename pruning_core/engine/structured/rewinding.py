"""The channels that are gone of the dense model, and other weights for those that are left."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from pruning_core.engine.structured.groups import remove, trace
from pruning_core.engine.structured.widths import structure
from pruning_core.engine.training.rewinding import State
from pruning_core.storage.stage_context import StageError

FILE = "gone.json"
Gone = dict[str, list[int]]


def total(before: Mapping[str, list[int]], now: Mapping[str, list[int]]) -> Gone:
    """What is gone of each group after another cut, in the numbers of the dense model's channels.

    `now` counts the channels that were left before it.
    """
    return {
        name: sorted([*before.get(name, []), *_dense_numbers(before.get(name, []), now[name])])
        for name in now
    } | {name: list(gone) for name, gone in before.items() if name not in now}


def _dense_numbers(before: list[int], now: list[int]) -> list[int]:
    """The dense numbers of channels that are counted without those gone before."""
    gone, last = set(before), max(now, default=-1) + len(before) + 1
    left = [number for number in range(last + 1) if number not in gone]
    return [left[place] for place in now]


def write(gone: Gone, folder: Path) -> None:
    """Keep what is gone in a stage's folder."""
    (folder / FILE).write_text(json.dumps(gone))


def read(path: Path) -> Gone:
    """What `write` kept."""
    found: Gone = json.loads(path.read_text())
    return found


def restarted(
    model: nn.Module, dense: nn.Module, state: State, gone: Gone, image_size: int
) -> nn.Module:
    """The cut model with the weights that a state of the dense one gives to the channels left.

    It is made of `dense`. Raises `StageError` where what is left has other widths.
    """
    dense.load_state_dict(state)
    remove(dense, trace(dense, image_size), gone)
    if structure(dense) != structure(model):
        raise StageError("The rewound weights do not fit the channels that are left.")
    return dense

"""How the options on what is removed are read, and which choices they imply."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.methods.granularity import PATTERNS, pattern_share

# Each of these is read with one choice of another setting only: it implies that choice.
IMPLIED = {
    "by_hand": ("scope", "hand"),
    "norm": ("granularity", "filter"),
    "dim": ("granularity", "filter"),
}
# A pattern is one cut to its own share, beside the dense control.
CUTS = ("amounts", "target", "iterations", "targets", "schedule")


def entries(text: str) -> list[str]:
    """`classifier,conv1.*` as a list of texts; an empty text is an empty list."""
    return [part.strip() for part in text.split(",")] if text.strip() else []


def imply(prune: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Choose what the given options need. Raises `SpecError` where another is asked for."""
    for name, (setting, needed) in IMPLIED.items():
        if given[name] is None:
            continue
        if given[setting] not in (None, needed):
            message = f"it is read with --{setting} {needed} only; leave it out or ask for that."
            raise SpecError(f"--{name.replace('_', '-')}", message)
        prune[setting] = needed


def imply_pattern(value: dict[str, Any], given: Mapping[str, Any]) -> None:
    """With `--granularity 2:4` or `4:8` and nothing said of the cuts: its one cut, no chain."""
    pattern = given["granularity"]
    if pattern in PATTERNS and all(given[name] is None for name in CUTS):
        value["one_shot"]["amounts"] = [0.0, pattern_share(pattern)]
        value["iterative"]["enabled"] = False

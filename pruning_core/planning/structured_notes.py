"""What is to be said of channels that were removed, in sentences, and how zeros are counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pruning_core.common.formatting import format_bytes, format_count, format_macs, format_percent
from pruning_core.methods.channel_importance import STRUCTURED_TARGETS

WORDS = {
    n: t if t.isupper() or n == "macs" else t.lower() for n, t in STRUCTURED_TARGETS.titles.items()
}
NAMED = 3
COUNTED = (
    "Sparsities count against the dense baseline: a weight that was removed with its channel is "
    "gone like one that is zero."
)


def counts_against_dense(own: Mapping[str, int], dense: Mapping[str, int]) -> dict[str, int]:
    """The counts of `sparsities` against the dense model: what was removed counts as zero."""
    found = dict(dense)
    for name in ("prunable", "weights"):
        found[f"{name}_zeros"] = dense[name] - (own[name] - own[f"{name}_zeros"])
    return {**found, "nonzero": own["nonzero"]}


def removal_note(
    of: str, asked: float, reached: float, sizes: Mapping[str, tuple[float, float]]
) -> str:
    """What was asked, what was reached and what is left; `sizes` are pairs of now and dense."""
    parts = [_of(name, now, dense) for name, (now, dense) in sizes.items()]
    return (
        f"Channels removed until {format_percent(asked, 1)} of the {WORDS[of]} were gone; reached "
        f"{format_percent(reached, 1)}. Left: {'; '.join(parts)}. {COUNTED}"
    )


def dry_run_notes(found: Mapping[str, Any]) -> list[str]:
    """What a dry run found: what each amount would leave, the groups, and what cannot be cut."""
    sizes = ("channels", "parameters", "macs", "bytes")
    dense = found["dense"]
    left = [
        f"Removing channels to {format_percent(row['amount'])} would leave "
        + "; ".join(_of(name, row[name], dense[name]) for name in sizes)
        + "."
        for row in found["left"]
    ]
    cut = [group for group in found["groups"] if not group["reason"]]
    groups = [
        f"Coupled: {', '.join(group['layers'])}; {format_count(group['channels'], 'channel')}, of "
        f"which {' or '.join(map(str, group['left']))} would be left."
        for group in cut
    ]
    uncut = [f"Cannot be cut: {row['layer']}, {row['reason']}." for row in found["uncut"]]
    return [*left, *found["notes"], *groups, *uncut]


def _of(name: str, now: float, dense: float) -> str:
    word = "" if name == "bytes" else f" {WORDS[name]}"
    return f"{_size(name, now)} of {_size(name, dense)}{word}"


def _size(name: str, value: float) -> str:
    if name == "bytes":
        return format_bytes(value)
    return format_macs(value) if name == "macs" else f"{value:,}"


def partition_notes(parts: Iterable[int], round_to: int) -> list[str]:
    """Which layers lose channels in several parts alike, where there are such."""
    return [
        f"Layers in {part} parts (attention heads, groups of a convolution) keep the parts, and "
        f"each loses alike: their widths are multiples of {math.lcm(part, round_to)}."
        for part in sorted(set(parts) - {1})
    ]


def example_notes(scope: str) -> list[str]:
    """What the widths of a dry run are worth where scores decide on them."""
    if scope == "local":
        return []
    return [
        "With one threshold for all layers the trained scores decide how much goes of each: the "
        "widths here are an example, made with random weights."
    ]


def unprunable_notes(reasons: Mapping[str, str]) -> list[str]:
    """Which layers keep all their outputs, a sentence a reason."""
    grouped: dict[str, list[str]] = {}
    for layer, reason in reasons.items():
        grouped.setdefault(reason, []).append(layer)
    return [f"Not cut: {_some(names)}; {reason}." for reason, names in grouped.items()]


def _some(names: Sequence[str]) -> str:
    more = f" and {format_count(len(names) - NAMED, 'more layer')}" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

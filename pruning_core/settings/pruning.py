"""What a `PruneSpec` alone, and with the amounts, cannot be. Each raises `SpecError`."""

from __future__ import annotations

import math
from typing import Protocol

from pruning_core.common.errors import check
from pruning_core.methods.allocation import hand_entry
from pruning_core.methods.granularity import PATTERNS, pattern_share

HIGHEST_NORM = 16.0


class Pruning(Protocol):
    """The settings that are looked at here."""

    @property
    def scope(self) -> str: ...
    @property
    def by_hand(self) -> tuple[str, ...]: ...
    @property
    def granularity(self) -> str: ...
    @property
    def norm(self) -> str: ...
    @property
    def dim(self) -> int: ...
    @property
    def spare(self) -> tuple[str, ...]: ...


def check_prune(prune: Pruning) -> None:
    """Refuse entries that cannot be read and a scope that a granularity does not have."""
    for entry in prune.by_hand:
        hand_entry(entry)
    if prune.scope == "hand":
        message = "the scope `hand` needs entries such as 'features.*=0.9'."
        check(bool(prune.by_hand), "prune.by_hand", message)
    check(all(prune.spare), "prune.spare", "an entry is empty.")
    _check_norm(prune.norm)
    message = f"{prune.dim} is not 0 (outputs), 1 (inputs), 2 (rows) or 3 (columns of kernels)."
    check(prune.dim in (0, 1, 2, 3), "prune.dim", message)
    if prune.granularity in PATTERNS:
        message = f"`{prune.granularity}` takes the same share of every layer; take scope `layer`."
        check(prune.scope == "layer", "prune.granularity", message)


def _check_norm(text: str) -> None:
    try:
        norm = float(text)
    except ValueError:
        norm = math.nan
    message = f"{text!r} is neither a number above 0 and up to {HIGHEST_NORM:g} nor inf."
    check(0 < norm <= HIGHEST_NORM or norm == math.inf, "prune.norm", message)


def check_amounts(granularity: str, amounts: tuple[float, ...], chain: tuple[int, float]) -> None:
    """Refuse amounts that a pattern does not have. `chain`: its cuts (0: no chain), its target."""
    if granularity not in PATTERNS:
        return
    share = pattern_share(granularity)
    cuts, target = chain
    if set(amounts) <= {0.0, share} and (not cuts or (cuts == 1 and target == share)):
        return
    message = (
        f"`{granularity}` is one cut that removes {share:.0%} of each layer that fits, so the "
        f"one-shot amounts can only be 0 and {share:.0%}, and iterative pruning must be off "
        f"or a single iteration to {share:.0%}."
    )
    check(False, "prune.granularity", message)


def check_scan(enabled: bool, granularity: str) -> None:
    """Refuse a scan of layers over sparsities of a pattern, which has a single one."""
    message = (
        f"a scan tries several sparsities, but `{granularity}` has one. Scan single weights, "
        "kernels, filters or coupled groups."
    )
    check(not enabled or granularity not in PATTERNS, "scan.enabled", message)

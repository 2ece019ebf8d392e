"""How many pieces go of each layer, where that follows from the sizes of the layers alone.

A piece is a weight, a kernel or a filter, as the granularity has it. Of all pieces together
`round(amount * n)` go (`uniform`: of each layer).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pruning_core.common.errors import SpecError
from pruning_core.methods.granularity import noun
from pruning_core.methods.layers import floor_size

Settings = Mapping[str, Any]
FLOORED = ("global", "lamp", "erk")


@dataclass(frozen=True)
class Part:
    """A layer: the shape of its weight, its pieces, and how many of them are `removed` already."""

    name: str
    shape: tuple[int, ...]
    units: int
    removed: int = 0


Counts = Callable[[Sequence[Part], float, Settings], list[int]]


def uniform(parts: Sequence[Part], amount: float, prune: Settings) -> list[int]:
    """The same share of every layer. Zhu and Gupta 2017."""
    found = [round(amount * part.units) for part in parts]
    for part, count in zip(parts, found, strict=True):
        check_grows(part.removed, count, part.units, f"of {part.name}", prune)
    return found


def erk(parts: Sequence[Part], amount: float, prune: Settings) -> list[int]:
    """Erdős-Rényi-Kernel: small layers keep more. Evci et al. 2020.

    The share that a layer keeps is proportional to the sum of its dimensions over their
    product, at most 1 and at least the keep-floor.
    """
    every = sum(part.units for part in parts)
    gone = check_total(parts, amount, prune)
    most = [part.units - part.removed for part in parts]
    floors = [floor_size(part.units, prune["keep_floor"]) for part in parts]
    least = [min(pair) for pair in zip(floors, most, strict=True)]
    check_floor(gone, every - sum(least), every, prune)
    wishes = [sum(part.shape) / math.prod(part.shape) * part.units for part in parts]
    kept = apportion(wishes, every - gone, least, most)
    return [part.units - left for part, left in zip(parts, kept, strict=True)]


def by_hand(parts: Sequence[Part], amount: float, prune: Settings) -> list[int]:
    """The shares of a table, all scaled alike, so that the layers together lose `amount`.

    Per-layer shares from a sensitivity scan are those of Han et al. 2015 and Li et al. 2017.

    Raises `SpecError` where a share would become more than 1.
    """
    shares = hand_shares(prune["by_hand"], [part.name for part in parts])
    wishes = [share * part.units for share, part in zip(shares, parts, strict=True)]
    gone = check_total(parts, amount, prune)
    if not gone:
        return [0] * len(parts)
    scale = hand_scale(parts, amount, prune)
    if max(shares) * scale > 1 + 1e-9:
        name = parts[shares.index(max(shares))].name
        most = amount / (max(shares) * scale)
        message = (
            f"{amount:.2%} is asked for, {scale:.4g} times what the table removes, which is more "
            f"than there is of '{name}'. Ask for at most {math.floor(1e4 * most) / 1e4:.2%}, or "
            "give more layers a share."
        )
        raise SpecError("prune.by_hand", message)
    return apportion(wishes, gone, [part.removed for part in parts], [p.units for p in parts])


def hand_scale(parts: Sequence[Part], amount: float, prune: Settings) -> float:
    """What a level that is asked for `amount` multiplies the shares of the table by."""
    shares = hand_shares(prune["by_hand"], [part.name for part in parts])
    table = sum(share * part.units for share, part in zip(shares, parts, strict=True))
    if not table:
        raise SpecError("prune.by_hand", "the table removes nothing. Give a layer a share above 0.")
    return amount * sum(part.units for part in parts) / table


COUNTS: dict[str, Counts] = {"layer": uniform, "erk": erk, "hand": by_hand}


def hand_shares(entries: Sequence[str], names: Sequence[str]) -> list[float]:
    """The share of each layer by a table of texts `pattern=share`; later entries win.

    Raises `SpecError` for an entry that is none or matches no name.
    """
    shares = dict.fromkeys(names, 0.0)
    for entry in entries:
        pattern, share = hand_entry(entry)
        meant = [name for name in names if fnmatchcase(name, pattern)]
        if not meant:
            message = f"'{pattern}' matches no layer that is pruned. {suggestion(pattern, names)}"
            raise SpecError("prune.by_hand", message)
        shares.update(dict.fromkeys(meant, share))
    return list(shares.values())


def hand_entry(entry: str) -> tuple[str, float]:
    """`pattern=share` as its two parts; a share is a fraction, or percent with the sign."""
    pattern, _, text = (part.strip() for part in entry.rpartition("="))
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not pattern or not 0 <= share < 1:
        message = (
            f"{entry!r} is not an entry such as 'features.*=0.9' or 'features.*=90%': a name or "
            "a pattern, an equals sign, and a share from 0 up to, but not including, 1."
        )
        raise SpecError("prune.by_hand", message)
    return pattern, share


def suggestion(pattern: str, names: Sequence[str]) -> str:
    """Names close to one that matches nothing, as a sentence; else some of those there are."""
    if close := difflib.get_close_matches(pattern, names, n=3):
        return f"Did you mean {' or '.join(close)}?"
    return f"Names are such as {' and '.join(names[:2])}." if names else ""


def apportion(
    wishes: Sequence[float], total: int, least: Sequence[int], most: Sequence[int]
) -> list[int]:
    """Whole numbers that add up to `total`, proportional to the wishes within their bounds.

    What rounding leaves over goes to the largest remainders (Hamilton's method).
    """
    scale = _scale(wishes, total, least, most)
    exact = _scaled(wishes, scale, least, most)
    found = [math.floor(value) for value in exact]
    for i in sorted(range(len(found)), key=lambda i: found[i] - exact[i]):
        found[i] += sum(found) < total and found[i] < most[i]
    return found


def _scale(wishes: Sequence[float], total: int, least: Sequence[int], most: Sequence[int]) -> float:
    """The factor with which the bounded wishes add up to `total`, by halving."""
    ends = zip(wishes, most, strict=True)
    low, high = 0.0, max((end / wish for wish, end in ends if wish), default=0.0)
    for _ in range(100):
        middle = (low + high) / 2
        if sum(_scaled(wishes, middle, least, most)) < total:
            low = middle
        else:
            high = middle
    return high


def _scaled(
    wishes: Sequence[float], scale: float, least: Sequence[int], most: Sequence[int]
) -> list[float]:
    bounds = zip(wishes, least, most, strict=True)
    return [min(max(scale * wish, low), high) for wish, low, high in bounds]


def check_total(parts: Sequence[Part], amount: float, prune: Settings) -> int:
    """How many pieces go of all. Raises `SpecError` where more are removed already."""
    every = sum(part.units for part in parts)
    count = round(amount * every)
    check_grows(sum(part.removed for part in parts), count, every, "of all layers", prune)
    return count


def check_grows(removed: int, count: int, every: int, where: str, prune: Settings) -> None:
    """Refuse to give removed pieces back. Raises `SpecError`."""
    if removed > count:
        message = (
            f"{removed:,} of the {every:,} {noun(prune)} {where} are removed already, more than "
            f"the {count:,} asked for. Removed {noun(prune)} do not come back: ask for more."
        )
        raise SpecError("amount", message)


def check_floor(count: int, most: int, every: int, prune: Settings) -> None:
    """Refuse to remove more than the keep-floor allows. Raises `SpecError`."""
    if count > most:
        possible = math.floor(1e4 * most / every) / 1e4
        message = (
            f"while every layer keeps {prune['keep_floor']:.1%} of its {noun(prune)}, at most "
            f"{possible:.2%} of all can go, but {count / every:.2%} is asked for. "
            "Lower the floor or the amount."
        )
        raise SpecError("prune.keep_floor", message)

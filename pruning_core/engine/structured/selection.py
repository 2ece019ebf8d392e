"""How many channels each dependency group keeps, computed from scores and widths alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pruning_core.methods.channel_importance import STRUCTURED_SCOPES

BISECTIONS = 40

Widths = dict[str, int]
ShareRemoved = Callable[[Widths], float]


@dataclass(frozen=True)
class RankedGroup:
    """A dependency group: the scores of its channels, and the widths that it may have.

    `scores` (U,) has a value for each channel. Where the channels are divided into `parts` that
    must lose the same channels (attention heads, groups of a convolution), it has a value for each
    position within a part. `widths` falls from the current width to the narrowest allowed one.
    """

    scores: np.ndarray
    parts: int
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """The current number of channels."""
        return self.widths[0]

    def nearest(self, width: float) -> int:
        """The allowed width that is nearest; of two the smaller."""
        return min(reversed(self.widths), key=lambda allowed: abs(allowed - width))


def allowed_widths(
    width: int, dense: int, round_to: int, parts: int, max_ratio: float
) -> tuple[int, ...]:
    """The widths that a group may have, from its current width down.

    They are multiples of `round_to` and of `parts`, at least one multiple, and at least
    1 - `max_ratio` of the `dense` width. The current width is always among them.
    """
    step = math.lcm(round_to, parts)
    # Rounded first, because 10 * (1 - 0.7) is 3.0000000000000004 and would become 4.
    least = max(step, math.ceil(round(dense * (1 - max_ratio), 6)))
    largest = (width - 1) // step * step
    return (width, *(n for n in range(largest, 0, -step) if n >= least))


def local(groups: Mapping[str, RankedGroup], ratio: float) -> Widths:
    """The same ratio from every group, up to rounding.

    Li et al. 2017, https://arxiv.org/abs/1608.08710; torch-pruning's local pruning.
    """
    return {name: group.nearest(group.width * (1 - ratio)) for name, group in groups.items()}


def global_(groups: Mapping[str, RankedGroup], ratio: float) -> Widths:
    """One threshold for the scores of all groups: the lowest are removed, wherever they are.

    Liu et al. 2017, https://arxiv.org/abs/1708.06519; torch-pruning's global pruning.
    """
    scores = np.concatenate([group.scores for group in groups.values()])
    channels = np.concatenate([np.full(len(g.scores), g.parts) for g in groups.values()])
    order = np.argsort(scores, kind="stable")
    # A score of a group in parts stands for one channel in each part.
    removed_channels = np.cumsum(channels[order])
    removed = np.zeros(len(scores), dtype=bool)
    removed[order[removed_channels <= ratio * removed_channels[-1] + 1e-9]] = True
    boundaries = np.cumsum([len(group.scores) for group in groups.values()])[:-1]
    counts = [int(part.sum()) for part in np.split(removed, boundaries)]
    pairs = zip(groups.items(), counts, strict=True)
    return {name: group.nearest(group.width - group.parts * n) for (name, group), n in pairs}


def narrowest(groups: Mapping[str, RankedGroup]) -> Widths:
    """The narrowest allowed width of each group."""
    return {name: group.widths[-1] for name, group in groups.items()}


def widths_for_ratio(
    groups: Mapping[str, RankedGroup], scope: str, ratio: float, share_removed: ShareRemoved
) -> Widths | None:
    """The widths that remove at least the share `ratio`, and as little more as rounding permits.

    `share_removed` gives the share that is removed with given widths. Bisection finds the ratio of
    channels that the scope must remove. It differs from `ratio`, because parameters and MACs are
    not proportional to channels, and because widths are rounded. It ends with widths that just
    reach the target and widths that just miss it; then group after group, the best scores first,
    gets the wider width wherever the target is still reached. None where even the narrowest
    widths remove less.
    """
    if share_removed(narrowest(groups)) < ratio:
        return None
    low, high = 0.0, 1.0
    widths_at = STRUCTURED_SCOPES.load(scope)
    if share_removed(widths_at(groups, low)) >= ratio:
        widths: Widths = widths_at(groups, low)
        return widths
    if share_removed(widths_at(groups, high)) < ratio:
        return _widened(groups, narrowest(groups), widths_at(groups, high), ratio, share_removed)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        enough = share_removed(widths_at(groups, middle)) >= ratio
        low, high = (low, middle) if enough else (middle, high)
    narrow, wide = widths_at(groups, high), widths_at(groups, low)
    return _widened(groups, narrow, wide, ratio, share_removed)


def _widened(
    groups: Mapping[str, RankedGroup],
    narrow: Widths,
    wide: Widths,
    ratio: float,
    share_removed: ShareRemoved,
) -> Widths:
    """The narrow widths, each widened towards the wide one as long as the target is reached."""
    differing = [name for name in groups if wide[name] > narrow[name]]
    differing.sort(key=lambda name: -_mean_score(groups[name], narrow[name], wide[name]))
    widths = dict(narrow)
    for name in differing:
        # `widths` falls, so the first width that reaches the target is the widest.
        for width in (w for w in groups[name].widths if narrow[name] < w <= wide[name]):
            if share_removed({**widths, name: width}) >= ratio:
                widths[name] = width
                break
    return widths


def _mean_score(group: RankedGroup, narrow: int, wide: int) -> float:
    """The mean score of the channels that a group keeps at the wide but not the narrow width."""
    descending = np.sort(group.scores)[::-1]
    first = narrow // group.parts
    between = descending[first : max(wide // group.parts, first + 1)]
    return float(between.mean()) if len(between) else 0.0


def lowest_channels(group: RankedGroup, kept: int) -> list[int]:
    """The channels to remove so that `kept` remain: the lowest scores, the same in every part."""
    size = len(group.scores)
    order = np.argsort(group.scores, kind="stable")[: (group.width - kept) // group.parts]
    return sorted(int(i) + part * size for i in order for part in range(group.parts))

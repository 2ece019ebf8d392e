"""How many channels of each coupled group go, as maths on scores and widths alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pruning_core.methods.channel_importance import STRUCTURED_SCOPES

HALVINGS = 40

Kept = dict[str, int]
Share = Callable[[Kept], float]


@dataclass(frozen=True)
class Ranked:
    """A coupled group: the scores of its pieces, and the widths that it may be given.

    `scores` has a value for every channel that can go; of a layer in `parts` (attention heads,
    groups of a convolution) one for each place within a part, for the parts lose alike. `widths`
    falls from the group's width now to the least it may have.
    """

    scores: np.ndarray
    parts: int
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """The channels that there are now."""
        return self.widths[0]

    def nearest(self, wanted: float) -> int:
        """The allowed width nearest to this one, of two the smaller."""
        return min(reversed(self.widths), key=lambda width: abs(width - wanted))


def allowed(width: int, dense: int, round_to: int, parts: int, max_ratio: float) -> tuple[int, ...]:
    """The widths that a group may have, from its own down.

    Multiples of `round_to` and of `parts`, of which at least 1 - `max_ratio` of the `dense` width
    stays, and at least one multiple. The width it has is always among them.
    """
    step = math.lcm(round_to, parts)
    least = max(step, math.ceil(round(dense * (1 - max_ratio), 6)))
    largest = (width - 1) // step * step
    return (width, *(n for n in range(largest, 0, -step) if n >= least))


def local(groups: Mapping[str, Ranked], ratio: float) -> Kept:
    """Of every group the same share goes, up to rounding."""
    return {name: group.nearest(group.width * (1 - ratio)) for name, group in groups.items()}


def global_(groups: Mapping[str, Ranked], ratio: float) -> Kept:
    """One threshold for the scores of all groups: the lowest go, wherever they are."""
    counts = [group.parts for group in groups.values() for _ in group.scores]
    scores = np.concatenate([group.scores for group in groups.values()])
    order = np.argsort(scores, kind="stable")
    gone = np.zeros(len(scores), dtype=bool)
    weights = np.cumsum(np.asarray(counts)[order])
    gone[order[weights <= ratio * weights[-1] + 1e-9]] = True
    ends = np.cumsum([len(group.scores) for group in groups.values()])[:-1]
    lost = [int(part.sum()) for part in np.split(gone, ends)]
    pairs = zip(groups.items(), lost, strict=True)
    return {name: group.nearest(group.width - group.parts * n) for (name, group), n in pairs}


def most(groups: Mapping[str, Ranked]) -> Kept:
    """The least that may stay of each group."""
    return {name: group.widths[-1] for name, group in groups.items()}


def reach(groups: Mapping[str, Ranked], scope: str, asked: float, share: Share) -> Kept | None:
    """The widths that remove at least the share `asked`, and as little more as rounding permits.

    `share` tells what share is gone with given widths. The ratio is found by halving; then group
    after group is given back what the last step took, the best scores first, where the target is
    still met. None where even the narrowest widths remove less.
    """
    if share(most(groups)) < asked:
        return None
    low, high = 0.0, 1.0
    choose = STRUCTURED_SCOPES.load(scope)
    if share(choose(groups, low)) >= asked:
        return choose(groups, low)
    if share(choose(groups, high)) < asked:
        return _given_back(groups, most(groups), choose(groups, high), asked, share)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        enough = share(choose(groups, middle)) >= asked
        low, high = (low, middle) if enough else (middle, high)
    return _given_back(groups, choose(groups, high), choose(groups, low), asked, share)


def _given_back(
    groups: Mapping[str, Ranked], narrow: Kept, wide: Kept, asked: float, share: Share
) -> Kept:
    """The narrow widths, each made as wide as the wide ones where the target is still met."""
    differing = [name for name in groups if wide[name] > narrow[name]]
    differing.sort(key=lambda name: -_worth(groups[name], narrow[name], wide[name]))
    found = dict(narrow)
    for name in differing:
        between = [n for n in groups[name].widths if narrow[name] < n <= wide[name]]
        for width in between:
            if share({**found, name: width}) >= asked:
                found[name] = width
                break
    return found


def _worth(group: Ranked, narrow: int, wide: int) -> float:
    """The mean score of the channels between two widths."""
    ranked = np.sort(group.scores)[::-1]
    between = ranked[narrow // group.parts : max(wide // group.parts, narrow // group.parts + 1)]
    return float(between.mean()) if len(between) else 0.0


def chosen(group: Ranked, kept: int) -> list[int]:
    """The channels that go so that `kept` stay: the lowest scores, the same in every part."""
    size = len(group.scores)
    order = np.argsort(group.scores, kind="stable")[: (group.width - kept) // group.parts]
    return sorted(int(i) + part * size for i in order for part in range(group.parts))

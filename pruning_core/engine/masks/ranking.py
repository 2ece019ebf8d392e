"""The n smallest of many scores, exactly n of them, in about one pass over the memory.

Scores become whole numbers of the same order (the bits of an IEEE float, read as an integer,
do), so that places before all and after all are free for weights already removed and for
weights that must stay.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

SAMPLED_FROM = 2**18
SAMPLE = 2**17
SPREAD = 5.0


def sortable(scores: Tensor) -> np.ndarray:
    """Scores as integers of the same order, flat, in logical order whatever the memory format.

    Scores are 0 or more, so -1 stands below all of them; one that is not a number counts as
    the largest. Raises `ValueError` for a negative score.
    """
    flat = scores.detach().cpu().contiguous().reshape(-1)
    if flat.dtype.itemsize < 4:
        flat = flat.float()
    values = flat.numpy()
    bits = values.view(np.int32 if values.itemsize == 4 else np.int64)
    if bits.size and bits.min() < 0:
        raise ValueError("A criterion must give scores of 0 or more.")
    return bits


def smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """A bool array with exactly `count` True: the smallest keys, of equal ones the first."""
    if count <= 0 or count >= keys.size:
        return np.full(keys.shape, count > 0)
    limit = kth(keys, count - 1)
    chosen = keys < limit
    missing = count - int(np.count_nonzero(chosen))
    chosen[_first_equal(keys, limit, missing)] = True
    return chosen


def _first_equal(keys: np.ndarray, limit: np.integer, count: int) -> np.ndarray:
    return np.flatnonzero(keys == limit)[:count]


def kth(keys: np.ndarray, rank: int) -> np.integer:
    """The value that stands at `rank` (from 0) once the keys are sorted.

    A sample brackets it (Floyd and Rivest 1975); only the keys in the bracket are sorted.
    """
    if keys.size < SAMPLED_FROM:
        return _partitioned(keys, rank)
    low, high = _bracket(keys, rank)
    below = int(np.count_nonzero(keys < low))
    middle = keys[(keys >= low) & (keys <= high)]
    if below <= rank < below + middle.size:
        return _partitioned(middle, rank - below)
    return _partitioned(keys, rank)


def _partitioned(keys: np.ndarray, rank: int) -> np.integer:
    """The same by numpy's selection, which is slow where many keys are equal.

    That is so of weights already removed, which all have the least score.
    """
    least = keys.min()
    above = keys[keys > least]
    rank -= keys.size - above.size
    return least if rank < 0 else np.partition(above, rank)[rank]


def _bracket(keys: np.ndarray, rank: int) -> tuple[np.integer, np.integer]:
    """Two keys between which the wanted one lies, unless the sample is unlike the whole."""
    sample = np.sort(keys[:: keys.size // SAMPLE])
    share = (rank + 0.5) / keys.size
    spread = SPREAD * (sample.size * share * (1 - share)) ** 0.5 + 1
    place, last = share * sample.size, sample.size - 1
    return sample[max(int(place - spread), 0)], sample[min(int(place + spread), last)]


def order(scores: np.ndarray) -> np.ndarray:
    """The positions from the lowest score to the highest, of equal ones the first first.

    Scores are 0 or more. Those in float32 are sorted with their positions in one integer, which
    is several times as fast as numpy's stable sorting.
    """
    if scores.dtype != np.float32 or scores.size > 2**32:
        return np.argsort(scores, kind="stable")
    both = scores.view(np.int32).astype(np.int64) << 32
    both |= np.arange(scores.size)
    both.sort()
    both &= 2**32 - 1
    return both

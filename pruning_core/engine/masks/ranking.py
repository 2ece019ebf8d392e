"""The n smallest of many scores, exactly n of them, in about one pass over the memory.

Scores become integer keys of the same order: the bits of a non-negative IEEE float, read as an
integer, are in the order of the floats. So the keys below all scores (-1) and above all (the
highest integer) are free for weights that are pruned already and for weights that must stay.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

SAMPLED_FROM = 2**18
SAMPLE = 2**17
STANDARD_DEVIATIONS = 5.0


def sortable_keys(scores: Tensor) -> np.ndarray:
    """Scores of any shape as integer keys (U,) of the same order.

    Keys are in logical order, whatever the memory format. Scores are 0 or more, so -1 is below
    all of them; NaN counts as the largest. Raises `ValueError` for a negative score.
    """
    flat = scores.detach().cpu().contiguous().reshape(-1)
    if flat.dtype.itemsize < 4:
        # numpy has no bfloat16, and float16 and bfloat16 fit into float32 without rounding.
        flat = flat.float()
    values = flat.numpy()
    bits = values.view(np.int32 if values.itemsize == 4 else np.int64)
    # The sign is the highest bit of float and integer, so any negative score is a negative key.
    if bits.size and bits.min() < 0:
        raise ValueError("A criterion must give scores of 0 or more.")
    return bits


def smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """A bool array (U,) with exactly `count` True: the smallest keys; ties by position."""
    if count <= 0 or count >= keys.size:
        return np.full(keys.shape, count > 0)
    threshold = kth_smallest(keys, count - 1)
    selected = keys < threshold
    # Only some of the keys equal to the threshold are needed: the first, so that a mask does
    # not depend on the sorting algorithm.
    missing = count - int(np.count_nonzero(selected))
    selected[np.flatnonzero(keys == threshold)[:missing]] = True
    return selected


def kth_smallest(keys: np.ndarray, rank: int) -> np.integer:
    """The key (of U) at position `rank`, from 0, of the sorted keys.

    A sorted sample gives two keys that bracket it; only the keys in the bracket are sorted.
    Floyd and Rivest 1975, https://doi.org/10.1145/360680.360691
    """
    if keys.size < SAMPLED_FROM:
        return _by_partition(keys, rank)
    low, high = _bracket(keys, rank)
    below = int(np.count_nonzero(keys < low))
    inside = keys[(keys >= low) & (keys <= high)]
    if below <= rank < below + inside.size:
        return _by_partition(inside, rank - below)
    # The sample was unlike the whole, and the bracket missed.
    return _by_partition(keys, rank)


def _by_partition(keys: np.ndarray, rank: int) -> np.integer:
    """The key at position `rank` by numpy's selection.

    numpy is slow where many keys are equal, as those of pruned weights are: they all have the
    lowest key. So the lowest keys are counted first, and only the others partitioned.
    """
    lowest = keys.min()
    above = keys[keys > lowest]
    rank -= keys.size - above.size
    return lowest if rank < 0 else np.partition(above, rank)[rank]


def _bracket(keys: np.ndarray, rank: int) -> tuple[np.integer, np.integer]:
    """Two keys with the wanted one between them, unless the sample is unlike the whole.

    The rank of a sampled key is binomial, with a standard deviation of sqrt(n p (1 - p)); five of
    them on both sides miss about once in a million.
    """
    sample = np.sort(keys[:: keys.size // SAMPLE])
    share = (rank + 0.5) / keys.size
    spread = STANDARD_DEVIATIONS * (sample.size * share * (1 - share)) ** 0.5 + 1
    position, last = share * sample.size, sample.size - 1
    return sample[max(int(position - spread), 0)], sample[min(int(position + spread), last)]


def argsort_scores(scores: np.ndarray) -> np.ndarray:
    """The positions of scores (U,) from the lowest to the highest; ties are in order of position.

    Scores are 0 or more. float32 scores are sorted together with their positions, both in one
    integer, which is several times faster than numpy's stable sorting.
    """
    if scores.dtype != np.float32 or scores.size > 2**32:
        return np.argsort(scores, kind="stable")
    # High half: the bits of the score; low half: the position, which orders equal scores.
    both = scores.view(np.int32).astype(np.int64) << 32
    both |= np.arange(scores.size)
    both.sort()
    both &= 2**32 - 1
    return both

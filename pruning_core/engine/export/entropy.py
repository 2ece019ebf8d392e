"""How small a sparse file could be: the entropy of what it holds (Shannon 1948).

The mask of a tensor as independent bits of its own density, and each byte place of all values
as independent bytes (order 0). A compressor that finds an order between neighbours can be
smaller; one that does not cannot.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from pruning_core.engine.export import sparse_file


def entropy_bound(path: Path) -> dict[str, float]:
    """Bytes of a sparse file's mask and values at their entropy: `mask` and `values`."""
    packed = [sparse_file.pack(name, t) for name, t in sparse_file.load(path).items()]
    counts: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(256, dtype=np.int64))
    for tensor in packed:
        for i, plane in enumerate(tensor.planes):
            counts[len(tensor.planes), i] += np.bincount(plane, minlength=256)
    masks = sum(mask_entropy(tensor.mask) for tensor in packed if tensor.mask is not None)
    values = sum(map(byte_entropy, counts.values()))
    return {"mask": masks / 8, "values": values / 8}


def mask_entropy(mask: np.ndarray) -> float:
    """Bits of a mask whose values are independent, each 1 with the share there is."""
    share = float(np.count_nonzero(mask)) / max(mask.size, 1)
    parts = (share, 1 - share)
    return -mask.size * sum(p * math.log2(p) for p in parts if p > 0)


def byte_entropy(counts: np.ndarray) -> float:
    """Bits of independent bytes that come so often, `counts` (256,)."""
    found = counts[counts > 0].astype(np.float64)
    return float(-(found * np.log2(found / found.sum())).sum())

"""Order-0 entropy of a sparse file: its size if neighboring bits and bytes told nothing.

Shannon 1948, https://doi.org/10.1002/j.1538-7305.1948.tb01338.x. The mask of a tensor is modeled
as independent bits with the density of the tensor, and each byte position of all values as
independent bytes. It is a reference and no lower bound: a compressor that uses the order of the
bytes, or that layers have values of different size, writes a smaller file.
"""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from pruning_core.engine.export import sparse_file


def order0_entropy(path: Path) -> dict[str, float]:
    """Bytes of the `mask` and of the `values` of a sparse file at their order-0 entropy."""
    packed = [sparse_file.pack(name, t) for name, t in sparse_file.load(path).items()]
    # Counted by size of a value and byte position, over all tensors.
    counts: dict[tuple[int, int], np.ndarray] = defaultdict(lambda: np.zeros(256, dtype=np.int64))
    for tensor in packed:
        for i, plane in enumerate(tensor.planes):
            counts[len(tensor.planes), i] += np.bincount(plane, minlength=256)
    mask_bits = sum(mask_entropy(tensor.mask) for tensor in packed if tensor.mask is not None)
    value_bits = sum(map(byte_entropy, counts.values()))
    return {"mask": mask_bits / 8, "values": value_bits / 8}


def mask_entropy(mask: np.ndarray) -> float:
    """Bits of a boolean mask of independent values with its density."""
    density = float(np.count_nonzero(mask)) / max(mask.size, 1)
    probabilities = (density, 1 - density)
    return -mask.size * sum(p * math.log2(p) for p in probabilities if p > 0)


def byte_entropy(counts: np.ndarray) -> float:
    """Bits of independent bytes with the frequencies `counts` (256,)."""
    positive = counts[counts > 0].astype(np.float64)
    return float(-(positive * np.log2(positive / positive.sum())).sum())

"""The order-0 entropy of a sparse file, by hand and against scipy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from pruning_core.engine.export.entropy import byte_entropy, mask_entropy, order0_entropy
from pruning_core.engine.export.sparse_file import save


def test_entropies_by_hand() -> None:
    assert mask_entropy(np.array([True, False, False, False])) == pytest.approx(
        4 * (0.25 * 2 + 0.75 * math.log2(4 / 3))
    )
    assert mask_entropy(np.zeros(8, dtype=bool)) == 0
    assert byte_entropy(np.array([4, 4] + [0] * 254)) == 8


def test_a_constant_byte_position_costs_nothing(tmp_path: Path) -> None:
    """Four non-zero values of 100: 1.0, 1.0, 1.0 and 2.0 differ in the highest byte only."""
    values = torch.zeros(100)
    values[:4] = torch.tensor([1.0, 1.0, 1.0, 2.0])
    save({"a": values}, tmp_path / "model.sparse")
    computed = order0_entropy(tmp_path / "model.sparse")
    assert computed["mask"] == pytest.approx((4 * math.log2(25) + 96 * math.log2(100 / 96)) / 8)
    assert computed["values"] == pytest.approx((3 * math.log2(4 / 3) + math.log2(4)) / 8)


def test_a_file_with_patterns_is_smaller_than_its_order_0_entropy(tmp_path: Path) -> None:
    """Order 0 knows no neighbors, so it is no lower bound: here every second weight is pruned."""
    values = torch.arange(1, 8001, dtype=torch.float32)
    values[::2] = 0.0
    size = save({"a": values}, tmp_path / "model.sparse")
    entropy_bytes = order0_entropy(tmp_path / "model.sparse")
    assert entropy_bytes["mask"] == 1000
    assert size < sum(entropy_bytes.values())


def test_masks_and_byte_positions_are_counted_separately(tmp_path: Path) -> None:
    """Two sparse tensors: a density for each mask, byte positions counted over both tensors."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, sparsity in (("a", 0.9), ("b", 0.5)):
        values = torch.randn(4000, generator=generator)
        pruned = torch.rand(4000, generator=generator) < sparsity
        tensors[name] = values.masked_fill(pruned, 0.0)
    save(tensors, tmp_path / "model.sparse")
    computed = order0_entropy(tmp_path / "model.sparse")
    densities = [(value != 0).double().mean() for value in tensors.values()]
    bits = sum(4000 * entropy([density, 1 - density], base=2) for density in densities)
    assert computed["mask"] == pytest.approx(bits / 8)
    stored = torch.cat([value[value != 0] for value in tensors.values()]).numpy().view(np.uint32)
    planes = [((stored << 1 | stored >> 31) >> 8 * i & 255) for i in range(4)]
    counts = [np.unique(plane, return_counts=True)[1] for plane in planes]
    bits = sum(len(stored) * entropy(count, base=2) for count in counts)
    assert computed["values"] == pytest.approx(bits / 8)

"""The n smallest of many keys, and the k-th smallest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pruning_core.engine.masks import ranking
from pruning_core.engine.masks.ranking import kth_smallest, sortable_keys


@pytest.mark.parametrize("kind", ["normal", "tied", "sorted", "constant"])
def test_the_sampled_bracket_finds_the_exact_rank(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranking, "SAMPLED_FROM", 100)
    monkeypatch.setattr(ranking, "SAMPLE", 50)
    generator = np.random.default_rng(0)
    keys = (np.abs(generator.normal(size=5000)) * 1e6).astype(np.int32)
    keys = {"tied": keys % 5, "sorted": np.sort(keys), "constant": keys * 0}.get(kind, keys)
    for rank in (0, 1, 77, 2500, 4998, 4999):
        assert kth_smallest(keys, rank) == np.sort(keys)[rank]
        chosen = ranking.smallest(keys, rank)
        assert np.array_equal(
            np.flatnonzero(chosen), np.sort(np.argsort(keys, kind="stable")[:rank])
        )


def test_a_misleading_sample_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample has only the large keys, so the bracket misses."""
    monkeypatch.setattr(ranking, "SAMPLED_FROM", 100)
    monkeypatch.setattr(ranking, "SAMPLE", 50)
    keys = np.arange(1000, dtype=np.int32)
    keys[::20] += 100_000
    assert all(kth_smallest(keys, rank) == np.sort(keys)[rank] for rank in range(0, 1000, 37))


def test_negative_scores_are_an_error() -> None:
    with pytest.raises(ValueError, match="scores of 0 or more"):
        sortable_keys(torch.tensor([1.0, -1.0]))

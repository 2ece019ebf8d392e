"""Differences from a reference: which model it is, and what the rows carry."""

from __future__ import annotations

import math

import pytest

from pruning_core.results.differences import DENSE, Reference, references, with_reference
from tests.helpers.frames import comparison, three_seeds
from tests.results.test_difference_matrix import other_run


def test_the_default_reference_is_the_dense_control_of_the_same_run_and_seed() -> None:
    rows = [*comparison(), *other_run(-5), *comparison(1, 3)]
    pinned = Reference(rows)
    for row in rows:
        (other,) = [one for one in pinned.rows_for(row) if one["seed"] == row["seed"]]
        assert (other["run_id"], other["sparsity_asked"]) == (row["run_id"], 0.0)
        assert other["strategy"] == "one_shot"
    without = [row for row in rows if row["sparsity_asked"] > 0 or row["strategy"] == "baseline"]
    assert {r["strategy"] for r in Reference(without).rows_for(without[0])} == {"baseline"}
    assert references(without)[DENSE] == "the dense baseline of the same run"


def test_rows_carry_their_difference_in_accuracy_and_size() -> None:
    rows = with_reference(comparison())
    control = rows[1]
    for row in rows:
        assert row["reference"] == "the fine-tuned dense control"
        assert row["accuracy_difference"] == pytest.approx(row["accuracy"] - control["accuracy"])
        assert row["bytes_difference"] == row["sparse_bytes"] - control["sparse_bytes"]


def test_a_seed_without_the_dense_control_has_no_reference() -> None:
    """A mean over controls and baselines would be a difference from neither."""
    control = {"strategy": "one_shot", "sparsity_asked": 0.0, "seed": 1}
    rows = [row for row in three_seeds() if not control.items() <= row.items()]
    assert {row["seed"] for row in Reference(rows).rows_for(rows[0])} == {0, 2}
    assert all(
        math.isnan(row["accuracy_difference"]) == (row["seed"] == 1) for row in with_reference(rows)
    )


def test_the_name_of_the_dense_reference_covers_runs_without_a_control() -> None:
    other = [row for row in other_run() if row["sparsity_asked"] or row["strategy"] == "baseline"]
    names = references([*comparison(), *other])
    assert names[DENSE] == "the fine-tuned dense control (else the dense baseline) of the same run"

"""Sentences on structured pruning."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.planning.inspection_types import InspectGroupsResult
from pruning_core.planning.model_types import ModelResult
from pruning_core.planning.stage_types import restored
from pruning_core.planning.structured_notes import (
    counted_against_dense,
    dry_run_notes,
    example_notes,
    partition_notes,
    removal_note,
    unprunable_notes,
)
from tests.helpers.results import result


def test_removed_weights_count_as_zeros() -> None:
    dense = {
        "prunable": 80,
        "prunable_zeros": 0,
        "weights": 100,
        "weights_zeros": 0,
        "parameters": 120,
        "nonzero": 120,
    }
    model = replace(
        restored(ModelResult, result(0, 0.9, 1, 1)),
        prunable=50,
        prunable_zeros=5,
        weights=60,
        weights_zeros=6,
        parameters=75,
        nonzero=70,
    )
    assert counted_against_dense(model, dense) == replace(
        model, prunable=80, prunable_zeros=35, weights=100, weights_zeros=46, parameters=120
    )


def test_the_note_of_a_step_has_targets_and_sizes() -> None:
    sizes = {"channels": (60, 100), "macs": (3e6, 6e6), "bytes": (1e6, 2e6)}
    assert removal_note("macs", 0.5, 0.512, sizes) == (
        "Removed 51.2 % of the MACs (target 50.0 %). Remaining: 60 of 100 channels; 3 M of 6 M "
        "MACs; 1.00 MB of 2.00 MB. Removed weights count as zeros, relative to the dense baseline."
    )


def test_the_notes_of_a_dry_run() -> None:
    sizes = {"channels": 50, "parameters": 1000, "macs": 2000, "bytes": 4000}
    dry_run = InspectGroupsResult(
        dense={name: 2 * size for name, size in sizes.items()},
        kept=[{"amount": 0.5, **sizes}],
        groups=[
            {"group": "a", "layers": ["a", "b"], "channels": 8, "kept": [4, 2], "reason": ""},
            {"group": "head", "layers": ["head"], "channels": 10, "kept": [10], "reason": "x"},
        ],
        unprunable=[{"layer": "head", "reason": "its outputs are the classes"}],
        step=2,
        notes=["A note."],
    )
    assert dry_run_notes(dry_run) == [
        "A pruning ratio of 50 % keeps 50 of 100 channels; 1,000 of 2,000 parameters; 2 k of 4 k "
        "MACs; 4.00 kB of 8.00 kB.",
        "A note.",
        "1 dependency group can lose channels; 1 layer cannot. The Tune page lists the layers "
        "and widths of each group.",
        "Not pruned: head; its outputs are the classes.",
    ]


@pytest.mark.parametrize(("parts", "multiples"), [([1, 1], []), ([1, 12, 12], [24])])
def test_widths_are_multiples_of_the_parts(parts: list[int], multiples: list[int]) -> None:
    notes = partition_notes(parts, round_to=8)
    assert [
        f"multiples of {multiple}." in note for multiple, note in zip(multiples, notes, strict=True)
    ] == [True] * len(multiples)


def test_the_widths_of_a_dry_run_are_an_example_with_the_global_scope() -> None:
    assert example_notes("local") == []
    assert "random weights" in example_notes("global")[0]


def test_layers_that_are_not_pruned_are_listed_by_reason() -> None:
    reasons = {"a": "x", "b": "y", "c": "x", "d": "x", "e": "x", "f": "x"}
    assert unprunable_notes(reasons) == [
        "Not pruned: a, c, d and 2 more layers; x.",
        "Not pruned: b; y.",
    ]

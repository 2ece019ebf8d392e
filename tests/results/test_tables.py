"""Notes on the machines that computed models, where results of several stand side by side."""

from __future__ import annotations

import html
from typing import Any

import pytest

from pruning_core.reports.html_report import html_report
from pruning_core.results.tables import model_notes
from tests.helpers.frames import comparison, frame

INTEL: dict[str, Any] = {"processor": "Xeon (AVX2)"}
OTHER: dict[str, Any] = {"run": "other", "run_id": "run-2"}


@pytest.mark.parametrize("unknown", [{}, {"processor": ""}, {"torch": ""}])
def test_models_of_one_machine_need_no_note(unknown: dict[str, Any]) -> None:
    """What an older result does not hold is no difference."""
    assert model_notes(frame(comparison(), comparison(**OTHER, **unknown))) == []
    assert model_notes(frame()) == []


@pytest.mark.parametrize(
    ("machine", "named"),
    [
        (INTEL, 'Xeon (AVX2), PyTorch 2.9.0 (run "other")'),
        ({"torch": "2.6.0"}, 'Chip 9000 (AVX2), PyTorch 2.6.0 (run "other")'),
        ({"processor": "", "torch": "2.6.0"}, 'not recorded, PyTorch 2.6.0 (run "other")'),
    ],
)
def test_runs_of_different_machines_are_told(machine: dict[str, Any], named: str) -> None:
    results = frame(comparison(), comparison(**OTHER, **machine))
    (note,) = model_notes(results)
    assert 'Chip 9000 (AVX2), PyTorch 2.9.0 (run "run")' in note
    assert named in note
    assert "can come from the machine" in note
    assert html.escape(note) in html_report(results, {})


def test_models_within_a_run_are_named() -> None:
    """A cache that was copied to another machine continues there."""
    rows = comparison()
    rows[-1] |= INTEL
    (note,) = model_notes(frame(rows))
    assert "Xeon (AVX2), PyTorch 2.9.0 (one-shot, equal budget at 90 %)" in note

"""The notes on pruning that a terminal shows before any pruning runs."""

from __future__ import annotations

import io
import platform
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pruning_core.cli import progress
from pruning_core.common.paths import Cache
from pruning_core.planning.inspections import pruning_notes
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.structured import inspect_groups
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec, to_json
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.inspections import DRY_RUN, MODEL, Facts

LAYERS = [
    {"name": "stem.weight", "kind": "conv", "role": "stem", "shape": [8, 3, 3, 3], "size": 216},
    {"name": "head.weight", "kind": "linear", "role": "", "shape": [10, 8], "size": 80},
]
GROUPS = {**DRY_RUN, "notes": ["A note of the inspection."]}


def spec(granularity: str) -> Spec:
    return replace(
        QUICKSTART,
        pruning=PruningSpec(granularity=granularity),
        one_shot=OneShotSpec(amounts=(0.5,)),
        iterative=IterativeSpec(enabled=False),
    )


def facts(inspected: Spec) -> Facts:
    answers = Facts(inspected, model={**MODEL, "layers": LAYERS})
    if inspected.structured.enabled:
        answers.results[inspect_groups(inspected, 10).key] = GROUPS
    return answers


def printed(planned: Spec, cache: Cache, monkeypatch: pytest.MonkeyPatch, *kinds: str) -> list[str]:
    """The lines for a job whose stages are of these kinds, after two calls."""
    text = io.StringIO()
    monkeypatch.setattr(progress, "Store", lambda _: facts(planned))
    notes = progress._PruningNotes(cache, Console(file=text, width=200))
    rows = [SimpleNamespace(kind=kind) for kind in kinds]
    now: Any = SimpleNamespace(rows=rows, job=SimpleNamespace(spec=to_json(planned)))
    notes.print_once(now)
    notes.print_once(now)
    return text.getvalue().splitlines()


def test_layers_that_stay_dense_are_listed_once(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = printed(spec("2:4"), cache, monkeypatch, "baseline", "pruned")
    assert line.startswith("Note: ")
    assert "multiple of 4" in line
    assert "stem.weight" in line
    assert "head.weight" not in line


def test_the_dry_run_of_structured_pruning_is_listed(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = replace(spec("unstructured"), structured=StructuredSpec(True, (0.5,)))
    lines = printed(planned, cache, monkeypatch, "baseline", "structured")
    assert lines == [f"Note: {note}" for note in pruning_notes(planned, facts(planned))]
    for part in ("16 of 32 channels", "A note of the inspection.", "1 dependency group", "fc"):
        assert any(part in line for line in lines)


@pytest.mark.parametrize(
    ("granularity", "kinds"),
    [("2:4", ("inspect_model",)), ("unstructured", ("baseline", "pruned"))],
)
def test_otherwise_nothing_is_printed(
    granularity: str, kinds: tuple[str, ...], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(spec(granularity), cache, monkeypatch, *kinds) == []


def test_a_silent_worker_that_is_waited_for_is_named_once(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.StringIO()
    silence = progress._Silence(cache, Console(file=text, width=40))
    silence.print_once()
    assert text.getvalue() == ""
    row = {"pid": 123, "host": platform.node(), "started": 0.0, "heartbeat": 5.0}
    monkeypatch.setattr(silence.record, "silent", lambda: row)
    silence.print_once()
    silence.print_once()
    (line,) = text.getvalue().splitlines()
    assert line.startswith("Waiting for the worker (process 123, started 19")

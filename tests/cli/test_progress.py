"""What a terminal is told of the cuts before they run."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pruning_core.cli import progress
from pruning_core.common.paths import Cache
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.structured import inspection
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec, to_json
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.inspections import DRY_RUN, MODEL, Facts

LAYERS = [
    {"name": "stem.weight", "kind": "conv", "role": "stem", "shape": [8, 3, 3, 3], "size": 216},
    {"name": "head.weight", "kind": "linear", "role": "", "shape": [10, 8], "size": 80},
]


def spec(granularity: str) -> Spec:
    return replace(
        QUICKSTART,
        pruning=PruningSpec(granularity=granularity),
        one_shot=OneShotSpec(amounts=(0.5,)),
        iterative=IterativeSpec(enabled=False),
    )


def said(made: Spec, cache: Cache, monkeypatch: pytest.MonkeyPatch, *kinds: str) -> str:
    """What is printed when stages of these kinds are planned, looked at twice."""
    text, facts = io.StringIO(), Facts(made, model={**MODEL, "layers": LAYERS})
    if made.structured.enabled:
        facts.results[inspection(made, 10).key] = DRY_RUN
    monkeypatch.setattr(progress, "Store", lambda _: facts)
    teller = progress._Teller(cache, Console(file=text, width=200))
    rows = [SimpleNamespace(kind=kind) for kind in kinds]
    now: Any = SimpleNamespace(rows=rows, job=SimpleNamespace(spec=to_json(made)))
    teller.look(now)
    teller.look(now)
    return text.getvalue()


def test_layers_that_stay_dense_are_listed_once(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = said(spec("2:4"), cache, monkeypatch, "baseline", "pruned")
    assert found == "Note: Not cut to 2:4, as inputs are no multiple of 4: stem.weight.\n"


def test_what_the_dry_run_of_channels_found_is_listed(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = replace(spec("weight"), structured=StructuredSpec(True, (0.5,)))
    lines = said(made, cache, monkeypatch, "baseline", "structured").splitlines()
    assert lines == [
        "Note: Removing channels to 50 % would leave 16 of 32 channels; 300 of 1,000 parameters; "
        "1 M of 2 M MACs; 3.00 MB of 9.19 MB.",
        "Note: Layers in 12 parts keep the parts.",
        "Note: Coupled: a, b; 32 channels, of which 16 would be left.",
        "Note: Cannot be cut: fc, its outputs are the classes.",
    ]


@pytest.mark.parametrize(
    ("granularity", "kinds"), [("2:4", ("inspect_model",)), ("weight", ("baseline", "pruned"))]
)
def test_else_nothing_is_said(
    granularity: str, kinds: tuple[str, ...], cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert said(spec(granularity), cache, monkeypatch, *kinds) == ""

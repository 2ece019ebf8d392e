"""The widths of a model as a file: what is read back, and which files are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pruning_core.engine.structured import widths
from pruning_core.engine.structured.importance import ImportanceInputs, magnitude_l2
from pruning_core.engine.structured.widths import Structure, StructureError, load, resize, structure
from tests.helpers.structured import SIZE, built, prune_channels, settings


def dense_widths() -> Structure:
    return structure(built("mobilenet_v3_small"))


def refusal(change: Callable[[Structure], object]) -> str:
    """The error for a structure that was changed."""
    changed = copy.deepcopy(dense_widths())
    change(changed)
    with pytest.raises(StructureError) as caught:
        resize(built("mobilenet_v3_small"), changed)
    return str(caught.value)


def test_the_dense_widths_change_nothing() -> None:
    model = built("mobilenet_v3_small")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    load(model, json.loads(json.dumps(dense_widths())), before)
    assert all(torch.equal(before[name], v) for name, v in model.state_dict().items())


def test_another_architecture_is_refused() -> None:
    with pytest.raises(StructureError, match="another architecture"):
        resize(built("resnet18"), dense_widths())


@pytest.mark.parametrize("value", [0, -1, 2.5, "16", True, None, [16]])
def test_a_width_is_a_whole_number(value: Any) -> None:
    assert "whole numbers of at least 1" in refusal(
        lambda structure: structure["modules"]["features.0.0"].update(out_channels=value)
    )


def test_a_width_is_never_larger_than_the_architecture() -> None:
    assert "more than" in refusal(
        lambda structure: structure["modules"]["features.0.0"].update(out_channels=10**9)
    )


def test_missing_and_foreign_entries_are_refused() -> None:
    changes: dict[str, Any] = {
        "lacks features.0.0": lambda structure: structure["modules"].pop("features.0.0"),
        "has other": lambda structure: structure["modules"].update(other={}),
        "has no parameters": lambda structure: structure.pop("parameters"),
        "must give exactly in_channels": lambda structure: structure["modules"][
            "features.0.0"
        ].update(odd=1),
        "not a structure of format 1": lambda structure: structure.update(format=2),
        "This is not a structure": lambda structure: structure.update(note="verified"),
        "16 groups of features.1.block.0.0, which do not divide": lambda structure: structure[
            "modules"
        ]["features.1.block.0.0"].update(in_channels=15),
    }
    for message, change in changes.items():
        assert message in refusal(change)


def test_tensors_of_another_model_are_refused() -> None:
    model = built("mobilenet_v3_small")
    prune_channels(model, settings(), SIZE, magnitude_l2(ImportanceInputs(model)))
    with pytest.raises(StructureError, match="not from the same model"):
        load(
            built("mobilenet_v3_small"),
            structure(model),
            built("mobilenet_v3_small").state_dict(),
        )


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / widths.FILE
    for text in ("{", "[]", '{"format": 2}', '{"format": "1"}'):
        path.write_text(text)
        with pytest.raises(StructureError, match="is not a structure"):
            widths.read(path)

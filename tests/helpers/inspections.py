"""A store with the results of inspections: plans need no worker."""

from __future__ import annotations

from typing import Any

from pruning_core.planning.inspections import inspect_data, inspect_model
from pruning_core.planning.stage import Missing
from pruning_core.planning.structured import all_groups_spec, inspect_groups
from pruning_core.settings.spec import Spec

DATA: dict[str, Any] = {
    "digest": "d" * 64,
    "classes": [str(i) for i in range(10)],
    "train_counts": [144] * 9 + [141],
    "test_counts": [36] * 10,
    "split": "given",
    "notes": [],
    "flip": False,
    "broken": {},
    "left_out": {},
}
MODEL: dict[str, Any] = {
    "device": "cpu",
    "devices": ["cpu"],
    "weights": "none",
    "notes": [],
    "layers": [
        {"name": "stem.weight", "kind": "conv", "role": "stem", "shape": [10, 1], "size": 10},
        {"name": "body.weight", "kind": "conv", "role": "", "shape": [99, 10], "size": 990},
    ],
    "parameters": 1000,
    "images_per_second": 500.0,
}

DRY_RUN: dict[str, Any] = {
    "groups": [
        {
            "group": "a",
            "layers": ["a", "b"],
            "channels": 32,
            "parts": 1,
            "reason": "",
            "kept": [16],
        },
        {"group": "fc", "layers": ["fc"], "channels": 10, "parts": 1, "reason": "no", "kept": [10]},
    ],
    "unprunable": [{"layer": "fc", "reason": "its outputs are the classes"}],
    "dense": {"channels": 32, "parameters": 1000, "macs": 2_000_000, "bytes": 9_190_000},
    "kept": [
        {"amount": 0.5, "channels": 16, "parameters": 300, "macs": 1_000_000, "bytes": 3_000_000}
    ],
    "step": 8,
    "notes": ["Layers in 12 parts keep the parts."],
}


class Facts:
    """A store with both inspections of a spec; tests add the results of other stages."""

    machine = ""

    def __init__(
        self, spec: Spec, data: dict[str, Any] = DATA, model: dict[str, Any] = MODEL
    ) -> None:
        self.results: dict[str, Any] = {inspect_data(spec, self).key: data}
        classes = len(data["classes"])
        self.results[inspect_model(spec, classes).key] = model

    def exists(self, key: str) -> bool:
        return key in self.results

    def fingerprint(self, path: str) -> str:
        return f"files of {path}"

    def read(self, key: str) -> dict[str, Any]:
        if key not in self.results:
            raise Missing(key)
        return self.results[key]


class FactsWithGroups(Facts):
    """Also the dry runs of structured pruning and of a sensitivity analysis of groups."""

    def __init__(
        self, spec: Spec, data: dict[str, Any] = DATA, model: dict[str, Any] = MODEL
    ) -> None:
        super().__init__(spec, data, model)
        group = {"group": "stem", "reason": ""}
        for inspected in (spec, all_groups_spec(spec)):
            stage = inspect_groups(inspected, len(data["classes"]))
            self.results[stage.key] = {**DRY_RUN, "groups": [group], "notes": []}

"""A unit of work, the graph that many of them make, and the points on the charts they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.settings.serialization import canonical_json


@dataclass(frozen=True)
class Stage:
    """A unit of work.

    No part of the key are `hints`, which say where to find things, and `urgency`: the epochs
    of the longest chain that waits for this stage, itself included.
    """

    kind: str
    parent: str
    settings: dict[str, Any]
    hints: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    urgency: float = 0.0

    @property
    def key(self) -> str:
        """64 hexadecimal digits that stand for everything that can change the result."""
        body = [self.kind, STAGE_KINDS[self.kind].version, self.parent, self.settings]
        return hashlib.sha256(canonical_json(body).encode()).hexdigest()


@dataclass(frozen=True)
class PlannedModel:
    """A place on the charts: which stage it is, under which strategy. A `tail` cuts nothing."""

    strategy: str
    seed: int
    iteration: int
    asked: float
    key: str
    final: bool = False


@dataclass(frozen=True)
class Plan:
    """Stages, parents first, and the points they make. Not `complete`: inspections only."""

    stages: tuple[Stage, ...]
    models: tuple[PlannedModel, ...] = ()
    complete: bool = False


@dataclass(frozen=True)
class Outline:
    """What remains to be known of a complete plan: its points, and where notes may stand.

    A job keeps it, so that its results can be read when the user's files are long gone.
    """

    models: tuple[PlannedModel, ...] = ()
    noted: tuple[str, ...] = ()

    def dense_of(self, model: PlannedModel) -> PlannedModel:
        """The baseline of a point's seed."""
        return next(p for p in self.models if (p.strategy, p.seed) == ("baseline", model.seed))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Outline:
        value = json.loads(text)
        return cls(tuple(PlannedModel(**model) for model in value["models"]), tuple(value["noted"]))


def outline(plan: Plan) -> Outline:
    """The outline of a plan."""
    kinds = ("inspect_dataset", "inspect_model", "dataset", "baseline")
    noted = tuple(stage.key for stage in plan.stages if stage.kind in kinds)
    return Outline(plan.models, noted)


class Reader(Protocol):
    """The part of a store that planning needs."""

    def exists(self, key: str) -> bool: ...

    def read(self, key: str) -> dict[str, Any]: ...


def with_urgencies(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Stages, parents first, each with the epochs of the longest chain from it on."""
    found, longest = list(stages), dict[str, float]()
    for i, stage in reversed(list(enumerate(found))):
        own = float(stage.settings.get("epochs", 0)) + longest.get(stage.key, 0.0)
        longest[stage.parent] = max(longest.get(stage.parent, 0.0), own)
        found[i] = replace(stage, urgency=own)
    return tuple(found)


class Missing(KeyError):
    """The stage is not in the store, or was damaged and has been set aside."""


def known(store: Reader, key: str) -> dict[str, Any] | None:
    """A stage's result; None where it is missing or was damaged."""
    try:
        return store.read(key) if store.exists(key) else None
    except Missing:
        return None

"""A stage is a unit of work; a plan is the graph of stages that answers a spec."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

from pruning_core.methods.strategies import BASELINE
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import T, restored
from pruning_core.settings.serialization import canonical_json


@dataclass(frozen=True)
class Stage:
    """A unit of work: its result is stored under its key, and computed once.

    `parent` is the key of the stage whose result this one starts from, or empty. `hints` (where
    to find files), `threads` and `urgency` are no part of the key. `threads` is the number of
    cores that are kept free for the stage. `urgency` is the number of epochs in the longest chain
    of stages that begins with this one: longer chains start first.
    """

    kind: str
    parent: str
    settings: dict[str, Any]
    hints: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    urgency: float = 0.0

    @property
    def epochs(self) -> float:
        """The epochs of training; 0 of a kind that trains nothing."""
        return float(self.settings.get("epochs", 0))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys of all stages whose results this one reads."""
        return stage_inputs(self.parent, self.settings)

    @cached_property
    def key(self) -> str:
        """A SHA-256 (64 hexadecimal digits) over everything that can change the result."""
        body = [self.kind, STAGE_KINDS[self.kind].version, self.parent, self.settings]
        return hashlib.sha256(canonical_json(body).encode()).hexdigest()


@dataclass(frozen=True)
class PlannedModel:
    """A model of a comparison: the stage `key` that computes it, and its place in a strategy.

    `target` is the target sparsity (of structured pruning the ratio) as a fraction. `iteration`
    is the number of the pruning step, from 1; 0 where a strategy has a single step. A `final`
    model comes from final fine-tuning, which prunes nothing.
    """

    strategy: str
    seed: int
    iteration: int
    target: float
    key: str
    final: bool = False


@dataclass(frozen=True)
class Plan:
    """Stages, parents first, and the models that they compute.

    A plan that is not `complete` holds inspections only; the other stages follow from them.
    """

    stages: tuple[Stage, ...]
    models: tuple[PlannedModel, ...] = ()
    complete: bool = False


@dataclass(frozen=True)
class Outline:
    """The models of a complete plan, and the keys of the stages whose notes the results show.

    A job stores it, so that its results can be read after the user's files are deleted.
    """

    models: tuple[PlannedModel, ...] = ()
    noted: tuple[str, ...] = ()

    def dense_of(self, model: PlannedModel) -> PlannedModel:
        """The dense baseline with the seed of a model."""
        return next(m for m in self.models if (m.strategy, m.seed) == (BASELINE, model.seed))

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Outline:
        value = json.loads(text)
        return cls(tuple(PlannedModel(**model) for model in value["models"]), tuple(value["noted"]))


def outline(plan: Plan) -> Outline:
    """The outline of a plan."""
    noted = tuple(stage.key for stage in plan.stages if STAGE_KINDS[stage.kind].noted)
    return Outline(plan.models, noted)


class Reader(Protocol):
    """The part of a store that planning needs."""

    def exists(self, key: str) -> bool: ...

    def read(self, key: str) -> dict[str, Any]: ...


class FilesReader(Reader, Protocol):
    """A store that also knows the user's images, which a plan begins with, and what trains."""

    @property
    def machine(self) -> str:
        """The address of the cluster that trains the models; empty for this machine."""
        ...

    def fingerprint(self, path: str) -> str | Stage:
        """The fingerprint of a user's images, or the stage that has to compute it first.

        Raises `SpecError` where there is nothing that can be read.
        """
        ...


def stage_inputs(parent: str, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys of the stages that one with this parent and these settings reads."""
    return tuple(filter(None, (parent, *(settings.get("sensitivity") or ()))))


def with_urgencies(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """The same stages, inputs first, each with its urgency."""
    ordered, longest = list(stages), dict[str, float]()
    # Children come after their inputs, so in reverse each input sees its longest child.
    for i, stage in reversed(list(enumerate(ordered))):
        urgency = stage.epochs + longest.get(stage.key, 0.0)
        for key in stage.inputs:
            longest[key] = max(longest.get(key, 0.0), urgency)
        ordered[i] = replace(stage, urgency=urgency)
    return tuple(ordered)


class Missing(KeyError):
    """The stage is not in the store, or it was damaged and moved out of it."""


def read_result(store: Reader, key: str, cls: type[T]) -> T:
    """The result of a stage, of which `cls` is the class or a base. Raises `Missing`."""
    return restored(cls, store.read(key))


def known(store: Reader, key: str, cls: type[T]) -> T | None:
    """As `read_result`; None where the result is missing or was damaged."""
    try:
        return read_result(store, key, cls) if store.exists(key) else None
    except Missing:
        return None

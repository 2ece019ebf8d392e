"""What a running stage is given, and how it tells how far it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pruning_core.common.paths import Cache
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store


class StageError(RuntimeError):
    """A stage cannot go on, though its settings are right; the message is a sentence."""


@dataclass
class Progress:
    """What a running stage tells: filled by the stage, read by the timer thread."""

    fraction: float = 0.0
    message: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    published: int = 0

    def say(self, fraction: float, message: str) -> None:
        """How far the stage is, from 0 to 1, and what it is doing."""
        self.fraction, self.message = fraction, message

    def as_dict(self) -> dict[str, Any]:
        return {
            "fraction": self.fraction,
            "message": self.message,
            "history": list(self.history),
            "published": self.published,
        }


@dataclass(frozen=True)
class Context:
    """All that a stage may use. It writes its files into `folder` and returns its result."""

    row: Row
    cache: Cache
    store: Store
    folder: Path
    progress: Progress

    @property
    def settings(self) -> dict[str, Any]:
        return self.row.settings

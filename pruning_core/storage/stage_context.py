"""What a running stage receives, and how it reports its progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from pruning_core.common.paths import Cache
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store

# Covariant: what asks for the settings of any model also takes those of a pruned one.
S_co = TypeVar("S_co", covariant=True)


class StageError(RuntimeError):
    """A stage cannot continue although its settings are valid; the message is a sentence."""


class StageInterrupted(RuntimeError):
    """A stage was ended from outside and can continue from its checkpoint.

    The message is a sentence.
    """


@dataclass
class Progress:
    """The progress of a running stage: written by the stage, read by the heartbeat thread.

    `history` holds a row for each epoch. `published` counts the epochs that are saved in the
    checkpoint, so an interrupted stage does not repeat them.
    """

    fraction: float = 0.0
    message: str = ""
    history: list[dict[str, Any]] = field(default_factory=list)
    published: int = 0

    def say(self, fraction: float, message: str) -> None:
        """Set how much of the stage is done, from 0 to 1, and what it is doing."""
        self.fraction, self.message = fraction, message

    def as_dict(self) -> dict[str, Any]:
        """The progress as JSON values, for the queue."""
        return {
            "fraction": self.fraction,
            "message": self.message,
            "history": list(self.history),
            "published": self.published,
        }


@dataclass(frozen=True)
class Context(Generic[S_co]):
    """All that a stage may use. The stage writes its files into `folder` and returns its result.

    `settings` are those of the stage, an object of the class that belongs to its kind.
    """

    row: Row
    settings: S_co
    cache: Cache
    store: Store
    folder: Path
    progress: Progress

"""A job as the queue stores it, and the id that follows from its settings."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from pruning_core.settings.relevance import active_settings
from pruning_core.settings.serialization import canonical_json
from pruning_core.settings.spec import Spec


@dataclass(frozen=True)
class Job:
    """A submitted comparison. `status` is planning, active, refused or cancelled.

    `error` is a text, or `SpecError.to_json()` where `field` names the wrong setting. `outline`
    lists the models as JSON. `label` is the name of the run, and `origin` says where it is from:
    the default, the settings, or a person who typed it. `dataset` and `model` are names. `deleted`
    is the time of the deletion, which can be undone; None for other jobs.
    """

    id: str
    label: str
    spec: str
    created: float
    status: str
    error: str
    field: str
    outline: str
    origin: int = 0
    dataset: str = ""
    model: str = ""
    starred: bool = False
    archived: bool = False
    tags: tuple[str, ...] = ()
    notes: str = ""
    deleted: float | None = None


def job_id(spec: Spec) -> str:
    """Twelve hexadecimal digits of the digest of all settings that change the results.

    Settings without an effect and the label do not count. A setting that is added later does not
    count at its neutral value, so the ids of earlier jobs stay the same.
    """
    return hashlib.sha256(canonical_json(active_settings(spec)).encode()).hexdigest()[:12]


def job_row(values: dict[str, Any]) -> Job:
    """A row of the table as a `Job`."""
    flags = {name: bool(values[name]) for name in ("starred", "archived")}
    return Job(**{**values, **flags, "tags": tuple(json.loads(values["tags"]))})

"""Options that were given but are not read beside the other choices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pruning_core.methods.allocation import FLOORED
from pruning_core.methods.channel_importance import looks
from pruning_core.methods.criteria import IMAGES, needs
from pruning_core.methods.granularity import NORMED
from pruning_core.methods.sparsity_schedules import EXCHANGES
from pruning_core.settings.sensitivity import GROUP
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import total_epochs
from pruning_core.settings.structured import chain_epochs

STRUCTURED_NAMES = (
    "structured_of",
    "importance",
    "structured_scope",
    "round_to",
    "max_ratio",
    "structured_steps",
    "structured_epochs",
    "structured_tail",
)
Read = Callable[[Spec], bool]
CHAIN: tuple[Read, str] = (lambda spec: spec.iterative.enabled, "without --no-iterative")
CHANNELS: tuple[Read, str] = (lambda spec: spec.structured.enabled, "with --structured")
SCAN: tuple[Read, str] = (lambda spec: spec.scan.enabled, "with --scan or by the command scan")


def _images(spec: Spec) -> bool:
    exchanges = spec.iterative.enabled and spec.iterative.schedule in EXCHANGES
    channels = _scored_channels(spec) and looks(spec.structured.importance)
    return exchanges or channels or needs(spec.prune.criterion, IMAGES)


def _scored_channels(spec: Spec) -> bool:
    return spec.structured.enabled or (spec.scan.enabled and spec.scan.unit == GROUP)


def _trains(spec: Spec) -> bool:
    """Whether an epoch follows any cut; the dense control has no teacher."""
    one_shot = spec.one_shot.epochs > 0 and any(spec.one_shot.amounts)
    chain = spec.iterative.enabled and total_epochs(spec.iterative) > 0
    return one_shot or chain or (spec.structured.enabled and chain_epochs(spec.structured) > 0)


def _chained(spec: Spec) -> bool:
    return spec.iterative.enabled or spec.structured.enabled


READ: dict[str, tuple[Read, str]] = {
    "keep_floor": (
        lambda spec: spec.prune.scope in FLOORED,
        f"with --scope {', '.join(FLOORED)}",
    ),
    "score_images": (
        _images,
        "by criteria and importances that look at images, and by --schedule rigl",
    ),
    "norm": (lambda spec: spec.prune.criterion in NORMED, "by the criterion magnitude"),
    "ladder_images": (lambda spec: spec.ladder.enabled, "with --ladder"),
    "distill_weight": (_trains, "where something is trained after a cut"),
    "distill_temperature": (
        lambda spec: spec.recovery.distill_weight > 0 and _trains(spec),
        "with a --distill-weight above 0, where something is trained after a cut",
    ),
    **dict.fromkeys(("target", "iterations", "schedule", "targets", "tail"), CHAIN),
    "lr_span": (_chained, "without --no-iterative, or with --structured"),
    **dict.fromkeys(STRUCTURED_NAMES, CHANNELS),
    "importance": (_scored_channels, "with --structured or --scan-unit group"),
    **dict.fromkeys(("scan_sparsities", "scan_images", "scan_unit"), SCAN),
}


def unread(given: Mapping[str, Any], spec: Spec) -> list[str]:
    """A sentence on each given option that changes nothing, and on what would read it."""
    names = [name for name, (read, _) in READ.items() if given.get(name) is not None]
    return [
        f"--{name.replace('_', '-')} changes nothing here: it is read only {READ[name][1]}."
        for name in names
        if not READ[name][0](spec)
    ]

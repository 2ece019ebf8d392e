"""The stages of a sensitivity analysis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pruning_core.methods.channel_importance import IMPORTANCE_CHOICES, looks
from pruning_core.methods.criteria import CRITERION_CHOICES, IMAGES, needs
from pruning_core.methods.granularity import NORMED
from pruning_core.planning.stage import Stage
from pruning_core.settings.sensitivity import GROUP
from pruning_core.settings.spec import OneShotSpec, PruneSpec, Spec, describe


def stages(spec: Spec, baseline: Stage, names: Iterable[str]) -> list[Stage]:
    """One stage for each layer, or coupled group, of these names; none where no scan is asked."""
    if not spec.scan.enabled:
        return []
    shared = {
        "sparsities": list(spec.scan.sparsities),
        "images": spec.scan.images,
        "threads": spec.level_threads,
        **{name: baseline.settings[name] for name in ("seed", "device")},
        **(_by_group(spec) if spec.scan.unit == GROUP else _by_layer(spec)),
    }
    return [
        Stage("scan", baseline.key, {"layer": name, **shared}, threads=spec.level_threads)
        for name in names
    ]


def _by_layer(spec: Spec) -> dict[str, Any]:
    scored = _scored(spec) if needs(spec.prune.criterion, IMAGES) else {}
    return {"criterion": spec.prune.criterion, **pieces(spec.prune), **scored}


def _by_group(spec: Spec) -> dict[str, Any]:
    scored = _scored(spec) if looks(spec.structured.importance) else {}
    return {"unit": GROUP, "importance": spec.structured.importance, **scored}


def _scored(spec: Spec) -> dict[str, Any]:
    return {"score_images": spec.prune.score_images, "score_batch": spec.finetune.batch_size}


def scores_by(spec: Spec) -> str:
    """What decides which pieces go first, as people call it."""
    if spec.scan.unit == GROUP:
        return IMPORTANCE_CHOICES[spec.structured.importance].title
    return CRITERION_CHOICES[spec.prune.criterion].title


def pieces(prune: PruneSpec) -> dict[str, Any]:
    """What goes as one piece, as far as it is read; nothing for single weights."""
    if prune.granularity == "weight":
        return {}
    found: dict[str, Any] = {"granularity": prune.granularity}
    if prune.granularity == "filter":
        found["dim"] = prune.dim
        if prune.criterion in NORMED:
            found["norm"] = repr(float(prune.norm))
    return found


def scan_of(spec: Spec) -> Spec:
    """The scan of a spec's baseline, and nothing else of it."""
    return replace(
        spec,
        scan=replace(spec.scan, enabled=True),
        one_shot=OneShotSpec((), 0),
        iterative=replace(spec.iterative, enabled=False),
        ladder=replace(spec.ladder, enabled=False),
        structured=replace(spec.structured, enabled=False),
        label=f"Scan of {describe(spec)}",
    )

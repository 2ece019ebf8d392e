"""The stages of a sensitivity analysis."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pruning_core.common.names import within_name
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.methods.criteria import CRITERIA, IMAGES, needs
from pruning_core.methods.granularity import UNSTRUCTURED
from pruning_core.methods.sensitivity_units import GROUP
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.model_types import BaselineSettings
from pruning_core.planning.pruned import pruning_settings
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_types import restored, stored
from pruning_core.settings.conditions import analyzes_sensitivity
from pruning_core.settings.spec import Spec, describe
from pruning_core.settings.strategies import OneShotSpec


def stages(spec: Spec, baseline: Stage, names: Iterable[str]) -> list[Stage]:
    """A stage for each of these layers or dependency groups; none without the analysis.

    `names` are parameter names of layers, or names of dependency groups.
    """
    if not analyzes_sensitivity(spec):
        return []
    base = restored(BaselineSettings, baseline.settings)
    scores = _by_group(spec) if spec.sensitivity.unit == GROUP else _by_layer(spec)
    settings = [
        SensitivitySettings(
            layer=name,
            sparsities=list(spec.sensitivity.sparsities),
            images=spec.sensitivity.images,
            seed=base.seed,
            device=base.device,
            **scores,
        )
        for name in names
    ]
    return [Stage("sensitivity", baseline.key, stored(analysis)) for analysis in settings]


def _by_layer(spec: Spec) -> dict[str, Any]:
    images = _calibration(spec) if needs(spec.pruning.criterion, IMAGES) else {}
    corrected = spec.sensitivity.correction_images
    correction = {"correction_images": corrected} if corrected else {}
    return {"criterion": spec.pruning.criterion, **_unit_settings(spec), **images, **correction}


def _by_group(spec: Spec) -> dict[str, Any]:
    importance = spec.structured.channel_importance
    images = _calibration(spec) if CHANNEL_IMPORTANCES[importance].uses_images else {}
    return {"unit": GROUP, "channel_importance": importance, **images}


def _calibration(spec: Spec) -> dict[str, Any]:
    return {
        "calibration_images": spec.pruning.calibration_images,
        "score_batch": spec.finetune.batch_size,
    }


def importance_title(spec: Spec) -> str:
    """The title of the criterion or channel importance that the analysis uses."""
    if spec.sensitivity.unit == GROUP:
        return CHANNEL_IMPORTANCES[spec.structured.channel_importance].title
    return CRITERIA[spec.pruning.criterion].title


def _unit_settings(spec: Spec) -> dict[str, Any]:
    """The settings of the pruning unit that have an effect; none for single weights."""
    if spec.pruning.granularity == UNSTRUCTURED:
        return {}
    settings = pruning_settings(sensitivity_only(spec))
    names = ("granularity", "filter_dim", "filter_norm")
    return {name: settings[name] for name in names if name in settings}


def sensitivity_only(spec: Spec) -> Spec:
    """The spec with its sensitivity analysis as the only work after the baseline."""
    return replace(
        spec,
        sensitivity=replace(spec.sensitivity, enabled=True),
        one_shot=OneShotSpec((), 0),
        iterative=replace(spec.iterative, enabled=False),
        correction=replace(spec.correction, enabled=False),
        structured=replace(spec.structured, enabled=False),
        label=within_name("Sensitivity of ", describe(spec)),
    )

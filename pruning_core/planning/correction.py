"""The stages of training-free correction."""

from __future__ import annotations

from collections.abc import Sequence

from pruning_core.methods import strategies
from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.planning.model_types import BaselineSettings, CorrectionSettings, PrunedSettings
from pruning_core.planning.pruned import pruned_stage, without_rewinding
from pruning_core.planning.stage import PlannedModel, Stage
from pruning_core.planning.stage_types import restored, stored
from pruning_core.settings.pruning_steps import Step
from pruning_core.settings.spec import Spec


def correction_branches(
    spec: Spec, baseline: Stage, sensitivity: Sequence[str] = ()
) -> list[tuple[Stage, PlannedModel]]:
    """For each one-shot sparsity above 0 the pruned model, and its corrections.

    `sensitivity` is as in `pruned_stage`.
    """
    seed, branches = restored(BaselineSettings, baseline.settings).seed, []
    for target in filter(None, spec.one_shot.amounts if spec.correction.enabled else ()):
        pruned = pruned_stage(
            without_rewinding(spec),
            baseline,
            Step(target, 0),
            (0, 0),
            spec.finetune,
            sensitivity=sensitivity,
        )
        for place, stage in enumerate(correction_stages(pruned, spec.correction.images)):
            model = PlannedModel(strategies.CORRECTION, seed, place, target, stage.key)
            branches.append((stage, model))
    return branches


def correction_stages(pruned: Stage, images: int) -> list[Stage]:
    """The pruned model and its corrections, in order; each has the one before as parent."""
    stages, origin = [pruned], restored(PrunedSettings, pruned.settings)
    _, *corrections = CORRECTIONS
    for name in corrections:
        settings = CorrectionSettings(
            correction=name,
            images=images,
            pruning=origin.pruning,
            epochs=0,
            seed=origin.seed,
            device=origin.device,
            precision=origin.precision,
        )
        stages.append(Stage("correction", stages[-1].key, stored(settings)))
    return stages

"""Sensitivity of one dependency group: its channels are removed from a copy of the model.

Li et al. 2017 (https://arxiv.org/abs/1608.08710) remove filters of single layers; here the coupled
channels of all layers in the group go with them (Fang et al. 2023,
https://arxiv.org/abs/2301.12900).
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from pruning_core.engine.criteria.calibration import analysis_images
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.structured.groups import remove, trace
from pruning_core.engine.structured.importance import ImportanceInputs, Scorer
from pruning_core.engine.structured.selection import RankedGroup, lowest_channels
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.planning.measurement_types import SensitivitySettings
from pruning_core.planning.model_types import BaselineSettings
from pruning_core.storage.stage_context import StageError


class GroupPruner:
    """Prunes one dependency group on copies of the model; `pruned` is the last copy.

    Raises `StageError` for a group that the importance cannot score.
    """

    def __init__(self, model: nn.Module, name: str, image_size: int, scorer: Scorer) -> None:
        graph = trace(model, image_size)
        group = next(group for group in graph.groups if group.name == name)
        scores = scorer(graph.traced_groups[name])
        if scores is None:
            raise StageError(f"The channel importance cannot score the group {name}.")
        # Attention heads and groups of a convolution lose the same channels, so a unit is one
        # position in all of them, and its score is the mean.
        units = scores.detach().double().cpu().reshape(group.parts, -1).mean(0).numpy()
        self.ranked = RankedGroup(units, group.parts, (group.width,))
        self.model, self.name, self.image_size = model, name, image_size
        self.pruned = model

    def prune(self, sparsity: float) -> int:
        """Remove this share of the channels, but not all. Returns the non-zero weights removed."""
        units = len(self.ranked.scores)
        removed_units = min(round(sparsity * units), units - 1)
        self.pruned = copy.deepcopy(self.model)
        width = self.ranked.width - removed_units * self.ranked.parts
        removed = lowest_channels(self.ranked, width)
        remove(self.pruned, trace(self.pruned, self.image_size), {self.name: removed})
        return _nonzero(self.model) - _nonzero(self.pruned)


def _nonzero(model: nn.Module) -> int:
    return sum(int(torch.count_nonzero(value)) for value in model.parameters())


def make_scorer(
    model: nn.Module, settings: SensitivitySettings, splits: Splits, base: BaselineSettings
) -> Scorer:
    """The channel importance of the settings, prepared on the baseline's model.

    `base` are the settings of the baseline.
    """
    importance = settings.channel_importance or ""
    seed = derived_seed(settings.seed, settings.layer)
    inputs = ImportanceInputs(model, generator=torch.Generator().manual_seed(seed))
    if CHANNEL_IMPORTANCES[importance].uses_images:
        sample = analysis_images(settings, splits, base)
        inputs = ImportanceInputs(model, sample, inputs.generator)
    scorer: Scorer = CHANNEL_IMPORTANCES.load(importance)(inputs)
    return scorer

"""How much one coupled group of channels bears: its channels taken out of a copy, and a look.

Li et al. 2017 scan the filters of each layer; here all that is coupled to them goes too (Fang et
al. 2023).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from pruning_core.engine.criteria.collect import calibration_images
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.structured.groups import remove, trace
from pruning_core.engine.structured.importance import Scorer, Sight
from pruning_core.engine.structured.selection import Ranked, chosen
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.storage.stage_context import Context, StageError


class GroupPruner:
    """The cuts of one coupled group, each made on a copy of the model; `now` is the last one.

    Raises `StageError` for a group that the importance cannot score.
    """

    def __init__(self, model: nn.Module, name: str, image_size: int, scorer: Scorer) -> None:
        graph = trace(model, image_size)
        group = next(group for group in graph.groups if group.name == name)
        scores = scorer(graph.found[name])
        if scores is None:
            raise StageError(f"{name} has nothing that the importance looks at.")
        pieces = scores.detach().double().cpu().reshape(group.parts, -1).mean(0).numpy()
        self.ranked = Ranked(pieces, group.parts, (group.width,))
        self.model, self.name, self.image_size = model, name, image_size
        self.now = model

    def cut(self, sparsity: float) -> int:
        """Take this share of the channels out. Returns how many weights not zero have gone."""
        pieces = min(round(sparsity * len(self.ranked.scores)), len(self.ranked.scores) - 1)
        self.now = copy.deepcopy(self.model)
        kept = self.ranked.width - pieces * self.ranked.parts
        gone = chosen(self.ranked, kept)
        remove(self.now, trace(self.now, self.image_size), {self.name: gone})
        return _nonzero(self.model) - _nonzero(self.now)


def _nonzero(model: nn.Module) -> int:
    return sum(int(torch.count_nonzero(value)) for value in model.parameters())


def make_scorer(model: nn.Module, context: Context, splits: Splits, base: dict[str, Any]) -> Scorer:
    """The importance that a scan's settings name, made ready on the baseline."""
    settings = context.settings
    seed = derived_seed(settings["seed"], settings["layer"])
    sight = Sight(model, generator=torch.Generator().manual_seed(seed))
    if CHANNEL_IMPORTANCES[settings["channel_importance"]].uses_images:
        count, batch = settings["calibration_images"], settings["score_batch"]
        sample = calibration_images(context, splits, base["data"], count, batch)
        sight = Sight(model, sample, sight.generator)
    scorer: Scorer = CHANNEL_IMPORTANCES.load(settings["channel_importance"])(sight)
    return scorer

"""The part of a pruning step in which the remaining weights make up for the pruned ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pruning_core.engine.correction.corrections import CorrectionInputs
from pruning_core.engine.correction.least_squares import ProductSums
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.masks.masks import Masks, compute_masks
from pruning_core.engine.masks.units import remaining_units
from pruning_core.engine.models.layers import convolution_groups
from pruning_core.engine.models.modes import evaluation_mode
from pruning_core.engine.models.traced_layers import TracedLayer
from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.granularity import pattern_of
from pruning_core.methods.registry import load
from pruning_core.storage.stage_context import Progress

Tensors = dict[str, Tensor]
Choice = Callable[[TracedLayer, ProductSums], Tensor]


@dataclass(frozen=True)
class CompensatedStep:
    """A pruning step whose criterion names a compensation.

    `inputs` are those of the criterion, `pruning` holds a `PruningSpec`'s settings and `target` is
    the amount. `previous` and `initial` are the masks (O, I, *K) of the step before and of zeros in
    the initial weights, `norm_masks` those (O,) of batch norm that is pruned with its filter.
    """

    inputs: CriterionInputs
    pruning: dict[str, Any]
    target: float
    previous: Tensors
    initial: Tensors
    norm_masks: Tensors

    def run(
        self, model: nn.Module, masks: Tensors, others: Tensors, progress: Progress
    ) -> tuple[Tensors, list[str]]:
        """Prune a model in place and correct it; returns the masks that it has then, and notes.

        `masks` are the choice from the scores of the unpruned model; `others` are masks of weights
        that are not prunable. The correction goes through the layers in the order of computation;
        excluded layers are solved, too, but keep their zeros.
        """
        masks, dense = dict(masks), copy.deepcopy(model)
        correction = CRITERIA[self.pruning["criterion"]].compensation
        choices = self._choices(masks)
        weights: Tensors = dict(model.named_parameters(remove_duplicate=False))
        Masks(weights, masks, {**self.norm_masks, **others}).multiply()
        with evaluation_mode(model), evaluation_mode(dense):
            notes: list[str] = CORRECTIONS.load(correction)(
                CorrectionInputs(
                    model,
                    dense,
                    self.inputs.batches,
                    {**masks, **others},
                    recalibrate=lambda: None,
                    seed=int(torch.randint(2**62, (), generator=self.inputs.generator)),
                    report=lambda share: progress.say(share, "Compensating layer by layer"),
                    restore_zeros=Masks(weights, {}, self.norm_masks).multiply,
                    choose=choices,
                )
            )
        return masks, notes

    def _choices(self, masks: Tensors) -> dict[str, Choice]:
        """The choice within each layer once the layers before it are pruned; changes `masks`.

        A layer loses as many units as in `masks`. Empty where the criterion does not repeat its
        choice, and for filters: their rows keep no weight that could make up for the others.
        """
        rescoring = CRITERIA[self.pruning["criterion"]].rescoring
        if not rescoring or self.pruning["granularity"] == "filter":
            return {}
        pruning = {**self.pruning, "allocation": "uniform", "keep_zeros": True}
        scores, groups = load(rescoring)(self.inputs), convolution_groups(self.inputs.model)

        def choose(layer: TracedLayer, sums: ProductSums) -> Tensor:
            name = layer.weight_name
            if bool(masks[name].all()):
                return masks[name]
            units = remaining_units(masks[name], pruning, groups[name])
            share = 1 - float(np.count_nonzero(units)) / units.size
            amount = self.target if pattern_of(pruning["granularity"]) else share
            former = {name: self.previous[name]} if name in self.previous else {}
            allowed = former.get(name, torch.ones_like(masks[name]))
            layer_scores = {name: scores(layer, sums, allowed)}
            chosen = compute_masks(layer_scores, amount, pruning, former, groups)[name]
            masks[name] = chosen & self.initial.get(name, chosen).to(chosen.device)
            return masks[name]

        return dict.fromkeys(masks, choose)

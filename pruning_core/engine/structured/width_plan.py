"""The width plan of a structured pruning step: which channels to remove to reach a ratio.

The ratio is measured in channels, parameters, MACs or bytes, against the dense model.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.common.formatting import format_percent
from pruning_core.engine.models.macs import macs, weight_uses
from pruning_core.engine.structured.groups import Graph, Group, reduced_widths, remove
from pruning_core.engine.structured.importance import Scorer
from pruning_core.engine.structured.selection import (
    RankedGroup,
    Widths,
    allowed_widths,
    lowest_channels,
    narrowest,
    widths_for_ratio,
)
from pruning_core.engine.structured.widths import Shape, Structure, structure, unchecked_shapes
from pruning_core.storage.stage_context import StageError

Settings = Mapping[str, Any]
DTYPES = {
    torch.float32: "F32",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.bool: "BOOL",
}


@dataclass(frozen=True)
class ModelSize:
    """The size of a model.

    `channels` are those of its dependency groups, coupled channels counted once. `macs` are
    multiply-accumulates for one image, `bytes` those of the dense safetensors file.
    """

    channels: int
    parameters: int
    macs: int
    bytes: int

    def share_removed(self, dense: ModelSize, ratio_of: str) -> float:
        """The share of a `dense` model's channels, parameters, macs or bytes that is removed."""
        return 1 - getattr(self, ratio_of) / getattr(dense, ratio_of)


@dataclass(frozen=True)
class WidthPlan:
    """What a pruning step would keep.

    `kept` has the number of channels by group. `groups` have the reasons against pruning them,
    `ranked` the scores of those that can be pruned. `widths` are those of all modules after it.
    """

    kept: Widths
    groups: tuple[Group, ...]
    ranked: dict[str, RankedGroup]
    before: ModelSize
    after: ModelSize
    widths: Structure

    @property
    def removed(self) -> dict[str, list[int]]:
        """The channels to remove, by group."""
        return {name: lowest_channels(g, self.kept[name]) for name, g in self.ranked.items()}


class SizeEstimator:
    """Computes the size of a model with other widths from shapes alone, without building it."""

    def __init__(self, model: nn.Module, groups: tuple[Group, ...], image_size: int) -> None:
        self.model, self.groups = model, groups
        self.uses = weight_uses(model, image_size)
        self.parameters = {name for name, _ in model.named_parameters()}
        self.state = model.state_dict()
        self.widths = structure(model)
        shapes = {name: tuple(value.shape) for name, value in self.state.items()}
        # The MACs that are no product with a weight: those of attention between tokens. They are
        # proportional to the embedding dimension.
        self.other_macs = macs(model, image_size) - self._weight_macs(shapes)
        self.embedding = _embedding_dimensions(self.widths)

    def size(self, kept: Mapping[str, int]) -> tuple[ModelSize, Structure]:
        """The size with these widths of groups (others keep theirs), and the widths of modules.

        It does not depend on which channels are kept.
        """
        removed = {g.name: np.arange(g.width) >= kept.get(g.name, g.width) for g in self.groups}
        widths = reduced_widths(self.widths, self.groups, removed)
        shapes = unchecked_shapes(self.model, widths)
        other_macs = self.other_macs
        if self.embedding:
            other_macs = round(other_macs * _embedding_dimensions(widths) / self.embedding)
        size = ModelSize(
            channels=sum(kept.get(group.name, group.width) for group in self.groups),
            parameters=sum(math.prod(shapes[name]) for name in self.parameters),
            macs=self._weight_macs(shapes) + other_macs,
            bytes=self._file_bytes(shapes),
        )
        return size, widths

    def _weight_macs(self, shapes: dict[str, Shape]) -> int:
        return sum(math.prod(shapes[name]) * uses for name, uses in self.uses.items())

    def _file_bytes(self, shapes: dict[str, Shape]) -> int:
        """The bytes of a safetensors file.

        It has 8 bytes for the length of the header, a JSON header that is padded to a multiple of
        8, and the tensors. The header is written out, because the digits of the offsets count.
        """
        header, start = dict[str, Any](), 0
        for name in sorted(shapes, key=lambda name: (-self.state[name].element_size(), name)):
            end = start + math.prod(shapes[name]) * self.state[name].element_size()
            dtype = DTYPES[self.state[name].dtype]
            header[name] = {"dtype": dtype, "shape": shapes[name], "data_offsets": [start, end]}
            start = end
        text = json.dumps(header, separators=(",", ":"))
        return 8 + -(-len(text.encode()) // 8) * 8 + start


def _embedding_dimensions(widths: Structure) -> int:
    """The sum of the embedding dimensions of all attention modules."""
    return sum(width.get("embed_dim", 0) for width in widths["modules"].values())


def plan_widths(
    model: nn.Module,
    graph: Graph,
    settings: Settings,
    image_size: int,
    scorer: Scorer,
    dense: ModelSize | None = None,
    dense_widths: Mapping[str, int] | None = None,
) -> WidthPlan:
    """The widths with which at least the share `settings["target"]` of the dense model is removed.

    `settings` holds the target and `ratio_of`, `scope`, `round_to` and `max_ratio` of a
    `StructuredSpec`. `dense` and `dense_widths` (by group) are those before the first pruning
    step; by default those of the model itself. Raises `SpecError` where that much cannot be
    removed.
    """
    estimator = SizeEstimator(model, graph.groups, image_size)
    before, _ = estimator.size({})
    whole = dense or before
    groups, ranked = rank_groups(graph, settings, scorer, dense_widths or {})
    target, ratio_of = float(settings["target"]), settings["ratio_of"]

    @functools.cache
    def share_of_items(kept: tuple[tuple[str, int], ...]) -> float:
        return estimator.size(dict(kept))[0].share_removed(whole, ratio_of)

    def share_removed(kept: Widths) -> float:
        return share_of_items(tuple(sorted(kept.items())))

    kept = widths_for_ratio(ranked, settings["scope"], target, share_removed) if ranked else None
    if kept is None:
        raise _too_much(target, share_removed(narrowest(ranked)) if ranked else 0.0, settings)
    after, widths = estimator.size(kept)
    return WidthPlan(kept, groups, ranked, before, after, widths)


def rank_groups(
    graph: Graph, settings: Settings, scorer: Scorer, dense_widths: Mapping[str, int]
) -> tuple[tuple[Group, ...], dict[str, RankedGroup]]:
    """All groups with the reason against pruning them, and the scores of those without one."""
    groups, ranked = [], {}
    for group in graph.groups:
        result = _ranked(group, graph, settings, scorer, dense_widths)
        if isinstance(result, RankedGroup):
            ranked[group.name] = result
            groups.append(group)
        else:
            groups.append(replace(group, reason=result))
    return tuple(groups), ranked


def _ranked(
    group: Group,
    graph: Graph,
    settings: Settings,
    scorer: Scorer,
    dense_widths: Mapping[str, int],
) -> RankedGroup | str:
    """A group with its scores, or the reason against pruning it."""
    if group.reason:
        return group.reason
    dense = dense_widths.get(group.name, group.width)
    round_to, max_ratio = settings["round_to"], settings["max_ratio"]
    widths = allowed_widths(group.width, dense, round_to, group.parts, max_ratio)
    if len(widths) < 2:
        step = math.lcm(round_to, group.parts)
        parts = f" (for {group.parts} equal parts)" if group.parts > 1 else ""
        return (
            f"with {group.width} channels, no smaller multiple of {step}{parts} keeps "
            f"{format_percent(1 - max_ratio)} of its dense width"
        )
    scores = scorer(graph.traced_groups[group.name])
    if scores is None:
        return "it has no weights that the channel importance scores"
    # Parts lose the same channels, so a channel's score is the mean over them.
    means = scores.detach().double().cpu().reshape(group.parts, -1).mean(0).numpy()
    if not np.isfinite(means).all():
        return "its scores are not finite"
    return RankedGroup(means, group.parts, widths)


def remove_channels(model: nn.Module, graph: Graph, plan: WidthPlan) -> nn.Module:
    """Remove the plan's channels from a model, in place, and its gradients.

    Raises `StageError` where the widths are not the planned ones.
    """
    remove(model, graph, plan.removed)
    model.zero_grad(set_to_none=True)
    if structure(model) != plan.widths:
        raise StageError("torch-pruning produced other widths than were planned.")
    return model


def _too_much(target: float, possible: float, settings: Settings) -> SpecError:
    """The error for a ratio that cannot be reached; the ratio that it offers can be."""
    limit = Share.at_most(possible)
    offer = "At most {possible}" if limit.value > 0 else "Nothing"
    remedies = [
        "lower the ratio" if limit.value > 0 else "choose another {importance}",
        *(["lower {round}"] if settings["round_to"] > 1 else []),
        "raise {max}",
    ]
    remedy = " or ".join(remedies)
    return SpecError(
        "structured.ratios",
        f"{{target}} of the {{ratio_of}} cannot be removed. {offer} can be removed, with multiples "
        f"of {{round_to}} channels and at most {{max_ratio}} of each layer. "
        f"{remedy[0].upper()}{remedy[1:]}.",
        target=Share(target),
        ratio_of=Choice("structured.ratio_of", settings["ratio_of"]),
        possible=limit,
        round_to=settings["round_to"],
        max_ratio=Share(settings["max_ratio"]),
        round=Ref("structured.round_to"),
        max=Ref("structured.max_ratio"),
        importance=Ref("structured.channel_importance"),
    )

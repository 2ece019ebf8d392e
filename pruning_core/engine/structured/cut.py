"""Cutting channels out of a model, to a share of its channels, parameters, MACs or bytes."""

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

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.macs import macs, positions
from pruning_core.engine.structured import selection
from pruning_core.engine.structured.groups import Graph, Group, narrowed, remove, trace
from pruning_core.engine.structured.importance import Scorer
from pruning_core.engine.structured.widths import Shape, Structure, structure, unchecked_shapes
from pruning_core.storage.stage_context import StageError

Settings = Mapping[str, Any]
Shapes = dict[str, Shape]


@dataclass(frozen=True)
class Size:
    """How large a model is. `channels` are those of its groups, each coupled one once.

    `macs` are multiply-accumulates for one image, `bytes` those of the dense file.
    """

    channels: int
    parameters: int
    macs: int
    bytes: int

    def share_gone(self, dense: Size, of: str) -> float:
        """The share that is gone of a `dense` model's channels, parameters, macs or bytes."""
        return 1 - getattr(self, of) / getattr(dense, of)


@dataclass(frozen=True)
class Plan:
    """What a cut would leave: widths of groups by name, sizes, and each group with its reason."""

    kept: dict[str, int]
    groups: tuple[Group, ...]
    ranked: dict[str, selection.Ranked]
    before: Size
    after: Size
    widths: Structure

    @property
    def gone(self) -> dict[str, list[int]]:
        """The channels that go of each group that can be cut."""
        return {n: selection.chosen(ranked, self.kept[n]) for n, ranked in self.ranked.items()}


class Gauge:
    """Tells the size of a model of given widths from shapes alone, without making it."""

    def __init__(self, model: nn.Module, groups: tuple[Group, ...], image_size: int) -> None:
        self.model, self.groups = model, groups
        self.places = positions(model, image_size)
        self.parameters = {name for name, _ in model.named_parameters()}
        self.state = model.state_dict()
        self.own = structure(model)
        own = {name: tuple(value.shape) for name, value in self.state.items()}
        # What attention does beside its weights' products, and whatever is not a layer's own.
        self.rest = macs(model, image_size) - self._products(own)
        self.streams = _streams(self.own)

    def size(self, kept: Mapping[str, int]) -> tuple[Size, Structure]:
        """The size with these widths of groups, and all widths. Which channels go is no matter."""
        gone = {g.name: np.arange(g.width) >= kept.get(g.name, g.width) for g in self.groups}
        widths = narrowed(self.own, self.groups, gone)
        wanted = unchecked_shapes(self.model, widths)
        channels = sum(kept.get(group.name, group.width) for group in self.groups)
        parameters = sum(math.prod(wanted[name]) for name in self.parameters)
        rest = round(self.rest * _streams(widths) / self.streams) if self.streams else self.rest
        made = Size(channels, parameters, self._products(wanted) + rest, self._bytes(wanted))
        return made, widths

    def _products(self, wanted: Shapes) -> int:
        return sum(math.prod(wanted[name]) * places for name, places in self.places.items())

    def _bytes(self, wanted: Shapes) -> int:
        """Of a safetensors file: 8 bytes, a header filled up to a multiple of 8, the tensors."""
        header, place = dict[str, Any](), 0
        order = sorted(wanted, key=lambda name: (-self.state[name].element_size(), name))
        for name in order:
            end = place + math.prod(wanted[name]) * self.state[name].element_size()
            dtype = DTYPES[self.state[name].dtype]
            header[name] = {"dtype": dtype, "shape": wanted[name], "data_offsets": [place, end]}
            place = end
        text = json.dumps(header, separators=(",", ":"))
        return 8 + -(-len(text.encode()) // 8) * 8 + place


DTYPES = {torch.float32: "F32", torch.int64: "I64", torch.float64: "F64", torch.float16: "F16"}
DTYPES |= {torch.bfloat16: "BF16", torch.bool: "BOOL"}


def _streams(widths: Structure) -> int:
    """The widths of attention: its products of queries, keys and values are in proportion."""
    return sum(width.get("embed_dim", 0) for width in widths["modules"].values())


def plan_cut(
    model: nn.Module,
    graph: Graph,
    settings: Settings,
    image_size: int,
    scorer: Scorer,
    dense: Size | None = None,
    dense_widths: Mapping[str, int] | None = None,
) -> Plan:
    """What is to go so that at least the share `settings["target"]` of the dense model is gone.

    `settings` holds `of`, `scope`, `round_to`, `max_ratio` and the target; `dense` and
    `dense_widths` are of the model before the first cut, the model itself where they are not
    given. Raises `SpecError` where that much cannot go.
    """
    gauge = Gauge(model, graph.groups, image_size)
    before, _ = gauge.size({})
    whole = dense or before
    groups, ranked = rank(graph, settings, scorer, dense_widths or {})
    asked, of = float(settings["target"]), settings["ratio_of"]

    @functools.cache
    def gone(kept: tuple[tuple[str, int], ...]) -> float:
        return gauge.size(dict(kept))[0].share_gone(whole, of)

    def share(kept: selection.Kept) -> float:
        return gone(tuple(sorted(kept.items())))

    kept = selection.reach(ranked, settings["scope"], asked, share) if ranked else None
    if kept is None:
        most = share(selection.most(ranked)) if ranked else 0.0
        raise SpecError("structured.ratios", _too_much(asked, most, settings))
    after, widths = gauge.size(kept)
    return Plan(kept, groups, ranked, before, after, widths)


def rank(
    graph: Graph, settings: Settings, scorer: Scorer, dense_widths: Mapping[str, int]
) -> tuple[tuple[Group, ...], dict[str, selection.Ranked]]:
    """The groups, each with the reason why it cannot be cut, and the scores of those that can."""
    groups, ranked = [], {}
    for group in graph.groups:
        told = group.reason
        if not told:
            dense = dense_widths.get(group.name, group.width)
            widths = selection.allowed(
                group.width, dense, settings["round_to"], group.parts, settings["max_ratio"]
            )
            told = _narrow(group, settings) if len(widths) < 2 else ""
        if not told:
            scores = _scores(graph.found[group.name], scorer, group)
            told = "" if scores is not None else "it has nothing that the importance looks at"
            if scores is not None and not np.isfinite(scores).all():
                told = "its scores are not finite"
        if not told and scores is not None:
            ranked[group.name] = selection.Ranked(scores, group.parts, widths)
        groups.append(replace(group, reason=told))
    return tuple(groups), ranked


def apply(model: nn.Module, graph: Graph, made: Plan) -> nn.Module:
    """Take the channels out of the model, in place; they go with gradients and all.

    Raises `StageError` where what is left is not what was planned.
    """
    remove(model, graph, made.gone)
    model.zero_grad(set_to_none=True)
    if structure(model) != made.widths:
        raise StageError("torch-pruning left other widths than were planned; nothing was kept.")
    return model


def cut(
    model: nn.Module, settings: Settings, image_size: int, scorer: Scorer
) -> tuple[nn.Module, Plan]:
    """Trace, plan and apply in one: the model, cut in place, and what was planned."""
    graph = trace(model, image_size)
    made = plan_cut(model, graph, settings, image_size, scorer)
    return apply(model, graph, made), made


def _scores(found: Any, scorer: Scorer, group: Group) -> np.ndarray | None:
    """One score for each piece; of a layer in parts the mean over them."""
    scores = scorer(found)
    if scores is None:
        return None
    return scores.detach().double().cpu().reshape(group.parts, -1).mean(0).numpy()


def _narrow(group: Group, settings: Settings) -> str:
    step = math.lcm(settings["round_to"], group.parts)
    alike = f" ({group.parts} parts must lose alike)" if group.parts > 1 else ""
    return (
        f"it has {group.width} channels, and no multiple of {step}{alike} below that keeps "
        f"{1 - settings['max_ratio']:.0%} of its first width"
    )


def _too_much(asked: float, most: float, settings: Settings) -> str:
    return (
        f"at most {most:.1%} of the {settings['of']} can go with channels in multiples of "
        f"'{settings['round_to']}' and at most {settings['max_ratio']:.0%} of a layer, and "
        f"{asked:.1%} is asked for. Ask for less, round to fewer, or allow more of a layer."
    )

"""Folding: channels that are zero wherever they are read are taken out, with the same outputs.

Masks leave filters of zeros. Where the batch norm behind them is zero too (see `dead_norms`), and
every other branch that writes into the same channel, nothing but zeros reaches the layers after,
and the channel can go. Which are zero is found by a pass through a copy of the model in which
every number is 0 or 1: 1 for a weight that is not zero, and for a value that may be another than 0.
So nothing is called zero for having been zero on some images. A constant that is not zero, such as
the bias of batch norm behind a dead filter, is a 1 and stays.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import OPTYPE

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_count
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.small_convs import plain
from pruning_core.engine.structured.groups import CLASSES, Graph, Group, remove, trace

CONSUMERS = (OPTYPE.CONV, OPTYPE.LINEAR)
# They compute each of their outputs from all channels, so taking one out would change the others.
MIXING = (nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention)
MIXED = {OPTYPE.LN: "layer norm", OPTYPE.GN: "group norm", OPTYPE.MHA: "attention"}


@dataclass(frozen=True)
class Folded:
    """How many channels of each group were taken out, of how many dead filters, and notes."""

    removed: dict[str, int]
    dead_filters: int
    notes: tuple[str, ...]


@torch.no_grad()
def fold(model: nn.Module, image_size: int, round_to: int = 1) -> Folded:
    """Take out of the model, in place, the channels that are zero wherever they are read.

    In evaluation mode its outputs stay the same, but for the order of sums. The model is in
    evaluation mode afterwards. Of every group one channel stays at least, and so many that the
    widths of groups that lose any are multiples of `round_to`.
    """
    dead = dead_filters(model)
    try:
        graph = trace(model, image_size)
    except SpecError as error:
        return Folded({}, dead, (f"Nothing was folded: {error.message}",))
    read = _live_inputs(model, image_size)
    unread = {group.name: _unread(group, read) for group in graph.groups}
    could = {group.name: _foldable(group, unread[group.name]) for group in graph.groups}
    gone = {group.name: _rounded(group, could[group.name], round_to) for group in graph.groups}
    kept = list(_kept_told(model, graph, gone, could, round_to))
    remove(model, graph, gone)
    removed = {name: len(channels) for name, channels in gone.items() if channels}
    return Folded(removed, dead, (*_told(removed, dead), *kept))


def dead_filters(model: nn.Module) -> int:
    """How many output channels, but for the classes, have no weight that is not zero."""
    return sum(int(_dead(weight).sum()) for weight in _weights(model).values())


def _foldable(group: Group, unread: np.ndarray) -> list[int]:
    """The channels that can go: none where they are mixed or stand in parts."""
    if group.reason or group.parts > 1 or _mixed(group):
        return []
    return [int(i) for i in np.flatnonzero(unread)]


def _rounded(group: Group, channels: list[int], round_to: int) -> list[int]:
    """Those of them that go, so that a multiple is left; one channel stays at least."""
    left = max(group.width - len(channels), 1)
    return channels[: max(group.width - math.ceil(left / round_to) * round_to, 0)]


def _mixed(group: Group) -> str:
    """What mixes the group's channels; empty where nothing does."""
    return next((MIXED[m.kind] for m in group.members if m.kind in MIXED), "")


def _unread(group: Group, live: dict[str, np.ndarray]) -> np.ndarray:
    """Which channels of a group (True) no layer reads anything but zeros of."""
    readers = [m for m in group.members if not m.outputs and m.kind in CONSUMERS]
    found = np.full(group.width, bool(readers) and all(m.name in live for m in readers))
    for member in readers:
        read = live.get(member.name)
        if read is not None:
            found[member.roots[read[member.channels]]] = False
    return found


@torch.no_grad()
def _live_inputs(model: nn.Module, image_size: int) -> dict[str, np.ndarray]:
    """For each convolution and linear layer which input channels (True) matter.

    Those that may be another value than 0, and that the layer has a weight for.
    """
    twin = _indicator(model)
    found: dict[str, np.ndarray] = {}
    like = next(twin.parameters())
    with plain(twin), _binary(twin, found):
        twin(torch.ones(1, 3, image_size, image_size, dtype=like.dtype, device=like.device))
    return found


def _indicator(model: nn.Module) -> nn.Module:
    """A copy in which each weight is 1 where it is not zero, and batch norm passes on ones."""
    twin = copy.deepcopy(model).eval()
    for parameter in twin.parameters():
        parameter.copy_((parameter != 0).to(parameter.dtype))
    for module in twin.modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            assert module.running_var is not None
            # What is subtracted makes a value of 0 another, as adding does.
            module.running_mean.copy_(-(module.running_mean != 0).to(module.running_mean.dtype))
            module.running_var.fill_(1.0)
    return twin


@contextmanager
def _binary(twin: nn.Module, found: dict[str, np.ndarray]) -> Iterator[None]:
    """Every layer's output is made 0 or 1, and the inputs of layers with products are noted."""

    products, hooks = (_ConvNd, nn.Linear), []
    for name, module in twin.named_modules():
        if isinstance(module, products):
            hooks.append(module.register_forward_pre_hook(_noted(name, found)))
        if isinstance(module, (*products, *MIXING, _BatchNorm)):
            hooks.append(module.register_forward_hook(_as_binary))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _noted(name: str, found: dict[str, np.ndarray]) -> Callable[[Any, tuple[Tensor, ...]], None]:
    """A hook that notes which inputs of a layer matter; a layer that is called again adds to it."""

    def look(module: Any, inputs: tuple[Tensor, ...]) -> None:
        channels = 1 if isinstance(module, _ConvNd) else -1
        live = (inputs[0] != 0).transpose(0, channels).flatten(1).any(1)
        if getattr(module, "groups", 1) == 1:
            live &= module.weight.transpose(0, 1).flatten(1).any(1)
        found[name] = live.cpu().numpy() | found.get(name, np.zeros(len(live), dtype=bool))

    return look


def _as_binary(module: nn.Module, inputs: Any, output: Any) -> Any:
    """A hook that makes an output 0 or 1; all 1 where the module mixes its channels."""
    if not isinstance(module, MIXING):
        return (output != 0).to(output.dtype)
    if isinstance(output, tuple):
        return (torch.ones_like(output[0]), *output[1:])
    return torch.ones_like(output)


def _weights(model: nn.Module) -> dict[str, Tensor]:
    named = dict(model.named_parameters())
    return {layer.name: named[layer.name] for layer in layers(model) if layer.role != "classifier"}


def _dead(weight: Tensor) -> Tensor:
    return ~weight.detach().flatten(1).any(1)


def _told(removed: dict[str, int], dead: int) -> list[str]:
    if not removed:
        return [
            f"Nothing was folded: no channel is zero wherever it is read ({dead:,} dead filters)."
        ]
    channels = format_count(sum(removed.values()), "coupled channel")
    return [f"Folded away: {channels} in {format_count(len(removed), 'group')}."]


def _kept_told(
    model: nn.Module,
    graph: Graph,
    gone: dict[str, list[int]],
    could: dict[str, list[int]],
    round_to: int,
) -> Iterator[str]:
    """Why filters of zeros stay, a sentence a reason, with how many."""
    rounded = f"with them the widths are multiples of {round_to}"
    weights, counts = _weights(model), dict[str, int]()
    for group in graph.groups:
        going, exclude = set(gone[group.name]), set(could[group.name]) - set(gone[group.name])
        for member in group.members:
            weight = weights.get(f"{member.name}.weight")
            if weight is None or not member.outputs:
                continue
            places = zip(member.channels, member.roots, strict=True)
            dead = _dead(weight).cpu().numpy()
            for channel, root in places:
                if dead[channel] and int(root) not in going:
                    reason = rounded if int(root) in exclude else _why(group)
                    counts[reason] = counts.get(reason, 0) + 1
    for reason, count in counts.items():
        yield f"Not folded: {format_count(count, 'filter')} of zeros; {reason}."


def _why(group: Group) -> str:
    if group.reason and group.reason != CLASSES:
        return group.reason
    if group.reason:
        return "they are outputs of classes"
    if group.parts > 1:
        return f"they stand in {group.parts} parts that must stay alike"
    if mixed := _mixed(group):
        return f"{mixed} computes with all channels together"
    return "another branch writes into the channel, or a constant that is not zero reaches a layer"

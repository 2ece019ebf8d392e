"""The coupled groups of a model: which layers must lose the same channels, and which cannot.

Taken from torch-pruning's dependency graph (Fang et al. 2023). A residual sum couples all layers
that write into it; a depthwise convolution and batch norm are coupled to what they read;
squeeze-and-excitation's last layer to the maps that it scales.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch_pruning as tp
from torch import nn
from torch.nn.modules.conv import _ConvNd
from torch_pruning.ops import OPTYPE
from torchvision.models import VisionTransformer

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.small_convs import plain
from pruning_core.engine.structured.widths import Structure, kind_of

ROOTS = [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear]
# Attention that computes with its weights without calling their layers; the graph cannot be read.
UNREADABLE = ("ShiftedWindowAttention", "RelativePositionalMultiHeadAttention")
CLASSES = "its outputs are the classes"
UNFOLLOWED = "torch-pruning cannot follow its channels to the layers after it"
UNREACHED = "torch-pruning's graph does not reach its outputs"
INSIDE = "it is a part of attention, cut with the stream that it reads and writes"


@dataclass(frozen=True)
class Member:
    """A layer (or loose parameter) of a group: which side of it shrinks, and by how much.

    Its channel `channels[i]` goes with the group's channel `roots[i]`; `each[r]` of them go with
    the group's channel r. `kind` is torch-pruning's.
    """

    name: str
    kind: OPTYPE
    outputs: bool
    channels: np.ndarray
    roots: np.ndarray
    each: np.ndarray


@dataclass(frozen=True)
class Group:
    """Layers that lose the same channels, of which there are `width`, in `parts` that lose alike.

    `reason` says why they cannot be cut; it is empty where they can.
    """

    name: str
    width: int
    parts: int
    members: tuple[Member, ...]
    reason: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose outputs these channels are."""
        return tuple(member.name for member in self.members if member.outputs)


@dataclass(frozen=True)
class Graph:
    """A model's groups, and torch-pruning's own graph and groups, by the name of the group."""

    groups: tuple[Group, ...]
    dependencies: tp.DependencyGraph
    found: dict[str, Any]


def trace(model: nn.Module, image_size: int) -> Graph:
    """Run one image through the model and read off which layers are coupled.

    The model is in evaluation mode afterwards. Raises `SpecError` where its graph cannot be read.
    """
    _check_readable(model)
    like = next(model.parameters())
    image = torch.zeros(1, 3, image_size, image_size, device=like.device)
    with plain(model), warnings.catch_warnings(), torch.enable_grad():
        warnings.simplefilter("ignore")
        try:
            graph = tp.DependencyGraph().build_dependency(
                model, image, unwrapped_parameters=_loose(model), verbose=False
            )
            found = list(graph.get_all_groups(root_module_types=ROOTS))
        except (RuntimeError, ArithmeticError, LookupError, TypeError, AssertionError) as error:
            raise SpecError("model.name", _unread(model, str(error))) from error
    names = {module: name for name, module in model.named_modules()}
    classifiers = {x.name.removesuffix(".weight") for x in layers(model) if x.role == "classifier"}
    groups = [_group(each, graph, names, classifiers) for each in found]
    return Graph(tuple(groups), graph, dict(zip([g.name for g in groups], found, strict=True)))


def remove(model: nn.Module, graph: Graph, gone: dict[str, list[int]]) -> None:
    """Take these channels of groups out of the model, in place, by the name of the group."""
    with plain(model):
        for name, channels in gone.items():
            root = graph.found[name][0].dep.target.module
            handler = graph.found[name][0].dep.handler
            if channels:
                graph.dependencies.get_pruning_group(root, handler, channels).prune()
    if isinstance(model, VisionTransformer):
        model.hidden_dim = model.conv_proj.out_channels


def uncut(model: nn.Module, groups: tuple[Group, ...]) -> dict[str, str]:
    """Every convolution and linear layer whose outputs cannot be cut, with the reason."""
    reasons = {name: group.reason for group in groups for name in group.layers}
    named = [name for name, m in model.named_modules() if isinstance(m, tuple(ROOTS))]
    told = {name: reasons.get(name, _missing(model, name)) for name in named}
    return {name: reason for name, reason in told.items() if reason}


def _missing(model: nn.Module, name: str) -> str:
    parent = model.get_submodule(name.rpartition(".")[0])
    return INSIDE if isinstance(parent, nn.MultiheadAttention) else UNREACHED


def narrowed(
    widths: Structure, groups: tuple[Group, ...], gone: dict[str, np.ndarray]
) -> Structure:
    """The widths of a model whose groups lose these channels (True), by the name of the group."""
    modules, parameters = copy.deepcopy((widths["modules"], widths["parameters"]))
    for group in groups:
        if group.name not in gone:
            continue
        for member in group.members:
            count = int(member.each[gone[group.name]].sum())
            if member.kind == OPTYPE.PARAMETER:
                _shrink_parameter(parameters[member.name], count)
            else:
                _shrink(modules, member, count)
    if "hidden_dim" in modules.get("", {}):
        modules[""]["hidden_dim"] = modules["conv_proj"]["out_channels"]
    return {**widths, "modules": modules, "parameters": parameters}


def _shrink(modules: dict[str, dict[str, Any]], member: Member, count: int) -> None:
    width = modules[member.name]
    if member.kind == OPTYPE.LN:
        width["normalized_shape"][-1] -= count
        return
    for attribute in SHRINKS[member.kind, member.outputs]:
        width[attribute] -= count
    if member.kind == OPTYPE.MHA:
        width["head_dim"] = width["embed_dim"] // width["num_heads"]
        projection = modules[f"{member.name}.out_proj"]
        projection["in_features"] -= count
        projection["out_features"] -= count


def _shrink_parameter(shape: list[int], count: int) -> None:
    shape[pruned_dimension(shape)] -= count


SHRINKS: dict[tuple[OPTYPE, bool], tuple[str, ...]] = {
    (OPTYPE.CONV, True): ("out_channels",),
    (OPTYPE.CONV, False): ("in_channels",),
    (OPTYPE.DEPTHWISE_CONV, True): ("in_channels", "out_channels", "groups"),
    (OPTYPE.LINEAR, True): ("out_features",),
    (OPTYPE.LINEAR, False): ("in_features",),
    (OPTYPE.BN, True): ("num_features",),
    (OPTYPE.GN, True): ("num_channels",),
    (OPTYPE.MHA, True): ("embed_dim", "kdim", "vdim"),
}
KNOWN = {kind for kind, _ in SHRINKS} | {OPTYPE.LN, OPTYPE.PARAMETER}
PLAIN = {OPTYPE.CONCAT, OPTYPE.SPLIT, OPTYPE.ELEMENTWISE, OPTYPE.RESHAPE, OPTYPE.UNBIND}
PLAIN |= {OPTYPE.EXPAND, OPTYPE.SLICE, OPTYPE.OUTPUT}


def pruned_dimension(shape: list[int] | tuple[int, ...]) -> int:
    """Which dimension of a loose parameter holds its channels: the last that is longer than 1."""
    return max((i for i, size in enumerate(shape) if size > 1), default=len(shape) - 1)


def _loose(model: nn.Module) -> list[tuple[nn.Parameter, int]]:
    """The parameters that belong to no layer that torch-pruning knows, and their dimension."""
    held = {id(p) for m in model.modules() if kind_of(m) for p in m.parameters(recurse=False)}
    attention = [m for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
    held |= {id(p) for m in attention for p in m.parameters()}
    loose = [p for p in model.parameters() if id(p) not in held and max(p.shape, default=1) > 1]
    return [(p, pruned_dimension(tuple(p.shape))) for p in loose]


def _group(
    found: Any, graph: tp.DependencyGraph, names: dict[nn.Module, str], classifiers: set[str]
) -> Group:
    root = found[0].dep.target.module
    width, members, reason = len(found[0].idxs), [], ""
    for item in found:
        node = item.dep.target
        if node.type == OPTYPE.OUTPUT:
            reason = CLASSES
        if node.type not in KNOWN:
            reason = reason or _foreign(node)
            continue
        if any(i is None for i in item.root_idxs):
            reason = reason or UNFOLLOWED
            continue
        loose = node.type == OPTYPE.PARAMETER
        name = graph._param_to_name[node.module] if loose else names[node.module]
        outputs = bool(graph.is_out_channel_pruning_fn(item.dep.handler))
        channels, roots = np.asarray(item.idxs), np.asarray(item.root_idxs)
        each = np.bincount(roots, minlength=width)
        members.append(Member(name, node.type, outputs, channels, roots, each))
        if outputs and name in classifiers:
            reason = CLASSES
    parts = math.lcm(*(_parts(item.dep.target) for item in found))
    if width % parts:
        reason = reason or f"its {width} channels do not divide into {parts} equal parts"
    return Group(names[root], width, parts, tuple(members), reason)


def _foreign(node: Any) -> str:
    """Why a node that has weights of a kind unknown here cannot be cut; nothing for plain ops."""
    return "" if node.type in PLAIN else f"it is coupled to a {type(node.module).__name__}"


def _parts(node: Any) -> int:
    """In how many parts a layer's channels stand, of which each must lose as many."""
    module = node.module
    if isinstance(module, nn.MultiheadAttention):
        return int(module.num_heads)
    if isinstance(module, nn.GroupNorm):
        return int(module.num_groups)
    grouped = isinstance(module, _ConvNd) and node.type == OPTYPE.CONV
    return int(module.groups) if grouped else 1


def _check_readable(model: nn.Module) -> None:
    for module in model.modules():
        if type(module).__name__ in UNREADABLE:
            raise SpecError("model.name", _unread(model, f"it has {type(module).__name__}"))


def _unread(model: nn.Module, reason: str) -> str:
    short = (reason.splitlines() or ["no reason given"])[0][:200].rstrip(".")
    return (
        f"torch-pruning cannot read which layers of {type(model).__name__} are coupled ({short}). "
        "Prune by mask, or take another model, such as mobilenet_v2, resnet18 or vit_b_16."
    )

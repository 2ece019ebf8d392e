"""The dependency groups of a model: which layers must lose the same channels, and which cannot.

They come from torch-pruning's dependency graph (Fang et al. 2023, DepGraph,
https://arxiv.org/abs/2301.12900). A residual sum couples all layers that write into it; a
depthwise convolution and batch norm are coupled to the layer before them; the last layer of
squeeze-and-excitation to the maps that it scales.
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
from torchvision.models.maxvit import RelativePositionalMultiHeadAttention
from torchvision.models.swin_transformer import ShiftedWindowAttention

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.layers import layers
from pruning_core.engine.models.modes import restored_hooks, restored_modes
from pruning_core.engine.models.small_convs import standard_convs
from pruning_core.engine.structured.widths import Structure, kind_of

ROOTS = [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear]
# Attention that uses the weights of layers without calling them, so that no graph can be traced.
# torch-pruning never ends on the second version of Swin, whose attention is a subclass.
UNTRACEABLE = (ShiftedWindowAttention, RelativePositionalMultiHeadAttention)
CLASSES = "its outputs are the classes"
UNFOLLOWED = "torch-pruning cannot follow its channels to the next layers"
UNREACHED = "torch-pruning's graph does not reach its outputs"
INSIDE_ATTENTION = "it is part of attention, which is pruned with its embedding dimension"
# The widths of a module that shrink with its channels, by torch-pruning's kind and the side.
SHRINKING: dict[tuple[OPTYPE, bool], tuple[str, ...]] = {
    (OPTYPE.CONV, True): ("out_channels",),
    (OPTYPE.CONV, False): ("in_channels",),
    (OPTYPE.DEPTHWISE_CONV, True): ("in_channels", "out_channels", "groups"),
    (OPTYPE.LINEAR, True): ("out_features",),
    (OPTYPE.LINEAR, False): ("in_features",),
    (OPTYPE.BN, True): ("num_features",),
    (OPTYPE.GN, True): ("num_channels",),
    (OPTYPE.MHA, True): ("embed_dim", "kdim", "vdim"),
}
PRUNABLE = {kind for kind, _ in SHRINKING} | {OPTYPE.LN, OPTYPE.PARAMETER}
WITHOUT_WEIGHTS = {OPTYPE.CONCAT, OPTYPE.SPLIT, OPTYPE.ELEMENTWISE, OPTYPE.RESHAPE, OPTYPE.UNBIND}
WITHOUT_WEIGHTS |= {OPTYPE.EXPAND, OPTYPE.SLICE, OPTYPE.OUTPUT}


@dataclass(frozen=True)
class Member:
    """A layer (or single parameter) of a group, and which of its channels belong to the group.

    `outputs` says whether its output or its input channels shrink; `kind` is torch-pruning's. Its
    channel `channels[i]` goes with channel `roots[i]` of the group, and `counts[r]` of its
    channels go with channel r.
    """

    name: str
    kind: OPTYPE
    outputs: bool
    channels: np.ndarray
    roots: np.ndarray
    counts: np.ndarray


@dataclass(frozen=True)
class Group:
    """Coupled layers with `width` common channels, in `parts` that must lose equally many.

    `reason` says why the group cannot be pruned; it is empty where it can.
    """

    name: str
    width: int
    parts: int
    members: tuple[Member, ...]
    reason: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers whose outputs these channels are."""
        return tuple(member.name for member in self.members if member.outputs)


@dataclass(frozen=True)
class Graph:
    """The groups of a model, torch-pruning's graph, and its groups by the name of the group."""

    groups: tuple[Group, ...]
    dependencies: tp.DependencyGraph
    traced_groups: dict[str, Any]


def trace(model: nn.Module, image_size: int) -> Graph:
    """Run one image (1, 3, image_size, image_size) and find which layers are coupled.

    The model keeps its modes. Raises `SpecError` where it cannot be traced.
    """
    for module in model.modules():
        if isinstance(module, UNTRACEABLE):
            raise _untraceable(model, f"it has {type(module).__name__}")
    image = torch.zeros(1, 3, image_size, image_size, device=next(model.parameters()).device)
    # torch-pruning reads the graph from autograd, so gradients must be on.
    with (
        restored_modes(model),
        restored_hooks(model),
        standard_convs(model),
        warnings.catch_warnings(),
        torch.enable_grad(),
    ):
        warnings.simplefilter("ignore")
        try:
            graph = tp.DependencyGraph().build_dependency(
                model, image, unwrapped_parameters=_single_parameters(model), verbose=False
            )
            traced = list(graph.get_all_groups(root_module_types=ROOTS))
        except (RuntimeError, ArithmeticError, LookupError, TypeError, AssertionError) as error:
            raise _untraceable(model, str(error)) from error
    names = {module: name for name, module in model.named_modules()}
    classifiers = {x.name.removesuffix(".weight") for x in layers(model) if x.role == "classifier"}
    groups = [_group(items, graph, names, classifiers) for items in traced]
    return Graph(tuple(groups), graph, dict(zip([g.name for g in groups], traced, strict=True)))


def remove(model: nn.Module, graph: Graph, channels: dict[str, list[int]]) -> None:
    """Remove these channels of the groups from a model, in place, by the name of the group."""
    with standard_convs(model):
        for name, removed in channels.items():
            root = graph.traced_groups[name][0].dep.target.module
            handler = graph.traced_groups[name][0].dep.handler
            if removed:
                # Built again, because removing a group renumbers the channels of other groups.
                graph.dependencies.get_pruning_group(root, handler, removed).prune()
    if isinstance(model, VisionTransformer):
        model.hidden_dim = model.conv_proj.out_channels


def unprunable_layers(model: nn.Module, groups: tuple[Group, ...]) -> dict[str, str]:
    """Every convolution and linear layer whose outputs cannot be pruned, with the reason."""
    reasons = {name: group.reason for group in groups for name in group.layers}
    names = [name for name, module in model.named_modules() if isinstance(module, tuple(ROOTS))]
    all_reasons = {name: reasons.get(name, _reason_outside_groups(model, name)) for name in names}
    return {name: reason for name, reason in all_reasons.items() if reason}


def _reason_outside_groups(model: nn.Module, name: str) -> str:
    parent = model.get_submodule(name.rpartition(".")[0])
    return INSIDE_ATTENTION if isinstance(parent, nn.MultiheadAttention) else UNREACHED


def reduced_widths(
    widths: Structure, groups: tuple[Group, ...], removed: dict[str, np.ndarray]
) -> Structure:
    """The widths of a model after its groups lose these channels (True), (U,) by group name."""
    modules, parameters = copy.deepcopy((widths["modules"], widths["parameters"]))
    for group in groups:
        if group.name not in removed:
            continue
        for member in group.members:
            count = int(member.counts[removed[group.name]].sum())
            if member.kind == OPTYPE.PARAMETER:
                shape = parameters[member.name]
                shape[pruned_dimension(shape)] -= count
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
    for attribute in SHRINKING[member.kind, member.outputs]:
        width[attribute] -= count
    if member.kind == OPTYPE.MHA:
        width["head_dim"] = width["embed_dim"] // width["num_heads"]
        # torch-pruning prunes the output projection together with the attention module.
        projection = modules[f"{member.name}.out_proj"]
        projection["in_features"] -= count
        projection["out_features"] -= count


def pruned_dimension(shape: list[int] | tuple[int, ...]) -> int:
    """The dimension of a single parameter that holds its channels: the last longer than 1."""
    return max((i for i, size in enumerate(shape) if size > 1), default=len(shape) - 1)


def _single_parameters(model: nn.Module) -> list[tuple[nn.Parameter, int]]:
    """The parameters that belong to no layer that torch-pruning knows, with their dimension.

    Examples are the class token of ViT and the layer scale of ConvNeXt.
    """
    in_layers = {id(p) for m in model.modules() if kind_of(m) for p in m.parameters(recurse=False)}
    attention = [m for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
    in_layers |= {id(p) for m in attention for p in m.parameters()}
    return [
        (parameter, pruned_dimension(tuple(parameter.shape)))
        for parameter in model.parameters()
        if id(parameter) not in in_layers and max(parameter.shape, default=1) > 1
    ]


def _group(
    items: Any, graph: tp.DependencyGraph, names: dict[nn.Module, str], classifiers: set[str]
) -> Group:
    """A group as torch-pruning traced it; the first reason against pruning it is kept."""
    root = items[0].dep.target.module
    width, members, reason = len(items[0].idxs), [], ""
    for item in items:
        node = item.dep.target
        if node.type == OPTYPE.OUTPUT:
            reason = CLASSES
        if node.type not in PRUNABLE:
            reason = reason or _unknown_kind(node)
            continue
        # torch-pruning marks channels that it lost on the way, such as through a reshape, by None.
        if any(i is None for i in item.root_idxs):
            reason = reason or UNFOLLOWED
            continue
        single = node.type == OPTYPE.PARAMETER
        name = graph._param_to_name[node.module] if single else names[node.module]
        outputs = bool(graph.is_out_channel_pruning_fn(item.dep.handler))
        channels, roots = np.asarray(item.idxs), np.asarray(item.root_idxs)
        # More than one after a flatten: a channel is then several inputs of a linear layer.
        counts = np.bincount(roots, minlength=width)
        members.append(Member(name, node.type, outputs, channels, roots, counts))
        if outputs and name in classifiers:
            reason = CLASSES
    parts = math.lcm(*(_parts(item.dep.target) for item in items))
    if width % parts:
        reason = reason or f"its {width} channels do not divide into {parts} equal parts"
    return Group(names[root], width, parts, tuple(members), reason)


def _unknown_kind(node: Any) -> str:
    """Why a node with weights of an unknown kind cannot be pruned; empty for other operations."""
    known = node.type in WITHOUT_WEIGHTS
    return "" if known else f"it is coupled to a {type(node.module).__name__}"


def _parts(node: Any) -> int:
    """How many parts of a layer's channels must lose equally many: heads, or groups."""
    module = node.module
    if isinstance(module, nn.MultiheadAttention):
        return int(module.num_heads)
    if isinstance(module, nn.GroupNorm):
        return int(module.num_groups)
    grouped = isinstance(module, _ConvNd) and node.type == OPTYPE.CONV
    return int(module.groups) if grouped else 1


def _untraceable(model: nn.Module, reason: str) -> SpecError:
    short = (reason.splitlines() or ["no reason given"])[0][:200].rstrip(".")
    return SpecError(
        "model.name",
        "torch-pruning cannot trace the dependency groups of {model} ({reason}). Switch structured "
        "pruning off, or choose another model, such as mobilenet_v2, resnet18 or vit_b_16.",
        model=type(model).__name__,
        reason=short,
    )

"""Global mask selection over a whole network, against `prune.global_unstructured`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from pruning_core.engine.benchmark.timing import interleaved, paired_ratio
from pruning_core.engine.criteria.inputs import CriterionInputs
from pruning_core.engine.criteria.magnitude import magnitude
from pruning_core.engine.masks.masks import compute_masks
from pruning_core.engine.models.build import make
from pruning_core.engine.models.layers import weights
from pruning_core.results.benchmark import MedianRange
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict

MODELS = ("mobilenet_v2", "resnet50", "vit_b_16")
CLASSES = 1000
AMOUNT = 0.9


def selection_speedup(name: str, rounds: int) -> MedianRange:
    """The speed-up of our global mask selection over torch's, on the same weights."""
    torch.manual_seed(0)
    model = make(name, CLASSES)
    seconds = interleaved(
        {"torch": lambda: torch_masks(model), "ours": lambda: our_masks(model)}, rounds
    )
    return paired_ratio(seconds["torch"], seconds["ours"])


def our_masks(model: nn.Module, amount: float = AMOUNT) -> dict[str, Tensor]:
    """Our masks of all prunable weights, with one threshold and no minimum density."""
    prunable = weights(model, "all")
    return compute_masks(
        magnitude(CriterionInputs(prunable)),
        amount,
        to_dict(PruningSpec(allocation="global", min_density=0.0)),
    )


def torch_masks(model: nn.Module, amount: float = AMOUNT) -> dict[str, Tensor]:
    """The masks of torch for the same weights, which are not changed."""
    holders = {}
    for name, weight in weights(model, "all").items():
        holder = nn.Module()
        holder.register_parameter("weight", nn.Parameter(weight.detach(), requires_grad=False))
        holders[name] = holder
    pairs = [(holder, "weight") for holder in holders.values()]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=amount)
    return {name: holder.get_buffer("weight_mask").bool() for name, holder in holders.items()}

"""Notes on what the Python API does to a model beside pruning it."""

from __future__ import annotations

from torch import Tensor, nn

from pruning_core.common.formatting import join_words
from pruning_core.engine.masks.masks import empty_layers, zero_layers
from pruning_core.engine.models.computed_weights import unprunable_weights
from pruning_core.planning.layer_checks import zero_layers_note


def sparser_layers(masks: dict[str, Tensor], amount: float) -> list[str]:
    """The names of the masks (True: stays) that prune more than `amount` of their weights."""
    return [
        name
        for name, mask in masks.items()
        if mask.numel() - int(mask.sum()) > round(amount * mask.numel())
    ]


def notes_on_computed(computed: dict[str, str]) -> list[str]:
    """A note on weights that were computed; `computed` is how, by the name of the weight."""
    if not computed:
        return []
    names = join_words(f"{name} ({title})" for name, title in computed.items())
    return [
        "Weights that the model computed are plain parameters of the copy from now on, so that "
        f"pruned weights stay zero: {names}. The names in its state_dict change."
    ]


def notes_on_dense(model: nn.Module) -> list[str]:
    """A note on weights that are never pruned."""
    names = unprunable_weights(model)
    if not names:
        return []
    return [
        f"These weights stay dense: {join_words(names)}. Only parameters of convolutions, linear, "
        "recurrent and attention layers are pruned."
    ]


def notes_on_zeros(masks: dict[str, Tensor], sparser: list[str], model: nn.Module) -> list[str]:
    """Notes on weights that were zero before: `masks` are False there (see `sparser_layers`)."""
    zeros = {name: mask.numel() - int(mask.sum()) for name, mask in masks.items()}
    layers = join_words(
        f"{name} ({zeros[name]:,} of {mask.numel():,})"
        for name, mask in masks.items()
        if zeros[name]
    )
    if not layers:
        return []
    note = (
        f"Weights were zero before: {layers}. They stay zero, also in training, and count "
        "towards the sparsity."
    )
    if sparser:
        note += f" In {join_words(sparser)} they are more than the amount, and no more is pruned."
    others = [name for name in zero_layers(model) if name not in masks]
    return [note, *zero_layers_note(others)]


def notes_on_empty(masks: dict[str, Tensor]) -> list[str]:
    """A note on layers of which no weight remains."""
    layers = empty_layers(masks)
    if not layers:
        return []
    return [
        f"Every weight of {join_words(layers)} is pruned, so no information about the image "
        "passes there. Use a smaller amount."
    ]

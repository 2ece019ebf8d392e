"""Loading a checkpoint into a model: known differences are adapted and noted, others refused."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.vision_transformer import interpolate_embeddings

from pruning_core.common.errors import Ref, SpecError
from pruning_core.common.files import expand_path
from pruning_core.common.formatting import format_count
from pruning_core.common.terminal import one_line
from pruning_core.engine.models.build import INCEPTIONS, shapes
from pruning_core.engine.models.checkpoint_networks import (
    Choice,
    Needed,
    Network,
    choose_network,
    listed,
)
from pruning_core.engine.models.stored_tensors import (
    StoredTensor,
    conversion_notes,
    dtype_name,
    is_mask,
    plain_tensor,
    problem,
)
from pruning_core.engine.models.weight_files import Checkpoint, download, read_checkpoint

State = dict[str, Tensor]

# Names that torchvision itself translates when it loads its older files.
OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
POSITIONS = "encoder.pos_embedding"
VARIANCE = "running_var"
# A file may claim any number of patches; this is more than any vision transformer has.
MOST_PATCHES_PER_SIDE = 256


def load_weights(
    model: nn.Module, source: str, name: str, downloads: Path, entry: str = ""
) -> list[str]:
    """Load weights into a model of `models.build`. Returns notes on what was adapted.

    `source` is `none` (the random weights stay), `pretrained` (torchvision's default weights of
    the model `name`, kept in `downloads`) or a checkpoint file, of which `entry` names the network
    where it holds several. Raises `SpecError`; then the model is unchanged.
    """
    if source == "none":
        return []
    if source == "pretrained":
        _check_width(model, name)
    path = download(name, downloads) if source == "pretrained" else expand_path(source)
    checkpoint = read_checkpoint(path)
    choice = choose_network(checkpoint, _needed(model, name), entry)
    notes = _choice_notes(choice, checkpoint)
    network = choice.network
    state = _plain(network, model, path)
    notes += conversion_notes(list(network.tensors.values()))
    notes += _resize_positions(state, model, network)
    notes += _head_notes(network, model, name)
    notes += _type_notes(network, model)
    state = _converted(state, model)
    _check_values(state, network, path)
    if source != "pretrained" and name in INCEPTIONS:
        notes.append(f"{name} converts its input as torchvision's pretrained model does.")
    _copy(state, model)
    return notes


def head_keys(name: str) -> list[str]:
    """The parameters whose shape depends on the number of classes."""
    ten, eleven = shapes(name, 10), shapes(name, 11)
    return [key for key in ten if ten[key] != eleven[key]]


def _needed(model: nn.Module, name: str) -> Needed:
    needed, head = model.state_dict(), head_keys(name)

    def adaptable(key: str, shape: tuple[int, ...]) -> bool:
        right = tuple(needed[key].shape)
        if key in head:
            return len(shape) == len(right) and shape[1:] == right[1:]
        return key == POSITIONS and _patches_per_side(model, shape) > 0

    return Needed(name, needed, head, _present_name, _is_counter, adaptable)


def _present_name(key: str) -> str:
    for pattern, replacement in OLD_NAMES:
        key = pattern.sub(replacement, key)
    return key


def _is_counter(key: str) -> bool:
    """Whether it is a batch counter of batch norm, which old files lack and nothing needs."""
    return key.endswith("num_batches_tracked")


def _choice_notes(choice: Choice, checkpoint: Checkpoint) -> list[str]:
    """Notes on what was taken from a file, and what was not."""
    network, file, notes = choice.network, checkpoint.path.name, []
    kind = "averaged weights (EMA or SWA)" if network.averaged else "weights"
    if network.entry:
        notes.append(f"The {kind} were loaded from '{network.name}' in {file}.")
    if network.wrappers:
        wrappers = listed(sorted(network.wrappers))
        notes.append(f"Parts of names that the model does not have were ignored: {wrappers}.")
    if network.head:
        notes.append(f"The classifier was loaded from '{one_line(network.head)}'.")
    for other in choice.others:
        what = "averaged weights (EMA or SWA)" if other.averaged else "weights that fit"
        notes.append(
            f"{file} also holds {what} in '{other.name}'. To load them instead, set the checkpoint "
            f"entry (--weights-entry) to {other.name}."
        )
    if choice.remainder:
        notes.append(f"Not loaded from {file}: {listed(choice.remainder)}.")
    if checkpoint.whole_model:
        notes.append(f"{file} holds a whole model: its tensors were read, its code was not run.")
    if checkpoint.skipped:
        classes = listed(checkpoint.skipped)
        notes.append(f"Python objects in {file} were not read: {classes}.")
    return notes


def _plain(network: Network, model: nn.Module, path: Path) -> State:
    """The tensors of a network as plain dense ones, without the classifier if that is replaced.

    Raises `SpecError`, which names the tensor.
    """
    needed, state = model.state_dict(), {}
    for key, stored in network.tensors.items():
        if key in network.adapted and key != POSITIONS:
            continue
        location = f"{one_line(stored.name)} in {path.name}"
        if reason := problem(stored.value, needed[key]):
            raise SpecError("model.weights", f"{location} {reason}")
        _check_mask(stored, path)
        try:
            value = plain_tensor(stored.value)
            if stored.mask is not None:
                # Adding 0 turns the -0.0 of a product into 0.0.
                value = value * plain_tensor(stored.mask) + 0.0
        except (RuntimeError, ValueError, NotImplementedError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise SpecError(
                "model.weights", f"{location} cannot be read ({reason}). Save a dense tensor."
            ) from error
        state[key] = value
    return state


def _check_mask(stored: StoredTensor, path: Path) -> None:
    """Refuse a mask whose meaning is not known. That of `torch.nn.utils.prune` is a factor."""
    if stored.mask is None or stored.name.endswith("_orig") or is_mask(stored.mask):
        return
    raise SpecError(
        "model.weights",
        f"{one_line(stored.mask_name)} in {path.name} has values other than 0 and 1. Save the "
        "weights as the model uses them, without a mask.",
    )


def _patches_per_side(model: nn.Module, shape: tuple[int, ...]) -> int:
    """The side of the grid of patches that a position embedding (1, P + 1, C) is for.

    0 where the embedding cannot be interpolated for the model.
    """
    if not isinstance(model, VisionTransformer) or len(shape) != 3:
        return 0
    needed = model.state_dict()[POSITIONS].shape
    side = math.isqrt(max(shape[1] - 1, 0))
    fits = shape == (1, side**2 + 1, needed[2]) and side <= MOST_PATCHES_PER_SIDE
    return side if fits else 0


def _resize_positions(state: State, model: nn.Module, network: Network) -> list[str]:
    """Interpolate the position embedding of a network for another image size, in place."""
    if POSITIONS not in network.adapted or not isinstance(model, VisionTransformer):
        return []
    side = _patches_per_side(model, tuple(state[POSITIONS].shape))
    new_side = model.image_size // model.patch_size
    positions = OrderedDict({POSITIONS: state[POSITIONS].float()})
    state |= interpolate_embeddings(model.image_size, model.patch_size, positions)
    return [
        f"The position embedding was interpolated from {side} x {side} patches in the file to "
        f"{new_side} x {new_side}."
    ]


def _head_notes(network: Network, model: nn.Module, name: str) -> list[str]:
    """A note where the model keeps its random classifier."""
    replaced = [key for key in head_keys(name) if key in network.adapted]
    if not replaced:
        return []
    needed = model.state_dict()[replaced[0]].shape[0]
    stored = network.tensors.get(replaced[0])
    if stored is None:
        new = listed([key for key in network.adapted if key != POSITIONS])
        return [f"The file has no classifier that fits: {new} kept their random weights."]
    return [
        f"The file has {stored.value.shape[0]} classes, the data set {needed}: the classifier was "
        "replaced by a new one with random weights."
    ]


def _check_width(model: nn.Module, name: str) -> None:
    """Refuse another width than 1, before the download: there are only weights for width 1."""
    published, adaptable = shapes(name, 10), {*head_keys(name), POSITIONS}
    state = model.state_dict()
    if any(state[key].shape != published[key] for key in state if key not in adaptable):
        raise SpecError(
            "model.weights",
            "the pretrained weights of {model} are for width 1. Set {width} to 1, or choose none.",
            model=name,
            width=Ref("model.width"),
        )


def _type_notes(network: Network, model: nn.Module) -> list[str]:
    """Notes on floating-point types that were converted."""
    needed = model.state_dict()
    pairs = {
        (dtype_name(stored.value.dtype), dtype_name(needed[key].dtype))
        for key, stored in network.tensors.items()
        if needed[key].is_floating_point() and stored.value.is_floating_point()
    }
    return [
        f"Weights stored as {stored} were converted to {right}."
        for stored, right in sorted(pairs)
        if stored != right
    ]


def _converted(state: State, model: nn.Module) -> State:
    """The tensors in the shapes and types of the model."""
    needed = model.state_dict()
    return {key: value.reshape(needed[key].shape).to(needed[key]) for key, value in state.items()}


def _check_values(state: State, network: Network, path: Path) -> None:
    """Refuse values with which a network computes nothing. Raises `SpecError`."""
    if problem_tensor := bad_values(state):
        key, reason = problem_tensor
        location = f"{one_line(network.tensors[key].name)} in {path.name}"
        raise SpecError("model.weights", f"{location} {reason}. Choose another checkpoint.")


def bad_values(state: State) -> tuple[str, str] | None:
    """The first tensor of a state dict with which a network computes nothing, and the reason."""
    for key, value in state.items():
        if not value.is_floating_point():
            continue
        bad = value.numel() - int(torch.isfinite(value).sum())
        if bad:
            return key, f"holds {format_count(bad, 'value')} that are infinite or not numbers"
        if key.endswith(VARIANCE) and value.numel() and float(value.min()) < 0:
            return key, f"holds a negative variance ({float(value.min()):.3g})"
    return None


def _copy(state: State, model: nn.Module) -> None:
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key in state:
                value.copy_(state[key])

"""Loading a checkpoint into a model: known differences are adapted and noted, others refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.vision_transformer import interpolate_embeddings

from pruning_core.common.errors import Ref, SpecError
from pruning_core.engine.models.build import INCEPTIONS, shapes
from pruning_core.engine.models.layers import fold_hooks
from pruning_core.engine.models.weight_files import download, read_weights

State = dict[str, Tensor]
Adaptation = Callable[[State, nn.Module, str], tuple[State, str]]

PREFIXES = {
    "module.": "torch.nn.DataParallel",
    "_orig_mod.": "torch.compile",
    "model.": "PyTorch Lightning",
}
# Names that torchvision itself translates when it loads its older files.
OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
POSITIONS = "encoder.pos_embedding"
SHOWN = 5


def load_weights(model: nn.Module, source: str, name: str, downloads: Path) -> list[str]:
    """Load weights into a model of `models.build`. Returns notes on what was adapted.

    `source` is `none` (the random weights stay), `pretrained` (torchvision's default weights of
    the model `name`, kept in `downloads`) or a `.safetensors`, `.pt`, `.pth` or `.ckpt` file.
    Raises `SpecError` for the field `model.weights`; then the model is unchanged.
    """
    if source == "none":
        return []
    if source == "pretrained":
        _check_width(model, name)
    path = download(name, downloads) if source == "pretrained" else Path(source).expanduser()
    state, notes = _adapted(read_weights(path), model, name)
    _check_match(state, model, path, name)
    _check_finite(state, path)
    notes += _conversions(state, model)
    if source != "pretrained" and name in INCEPTIONS:
        notes.append(f"{name} converts its input as torchvision's pretrained model does.")
    _copy(state, model)
    return notes


def head_keys(name: str) -> list[str]:
    """The parameters whose shape depends on the number of classes."""
    ten, eleven = shapes(name, 10), shapes(name, 11)
    return [key for key in ten if ten[key] != eleven[key]]


def _adapted(state: State, model: nn.Module, name: str) -> tuple[State, list[str]]:
    notes = []
    for adapt in ADAPTATIONS:
        state, note = adapt(state, model, name)
        notes += [note] if note else []
    return state, notes


def _without_prefix(state: State, model: nn.Module, name: str) -> tuple[State, str]:
    for prefix, origin in PREFIXES.items():
        if all(key.startswith(prefix) for key in state):
            note = f"The prefix {prefix!r}, which {origin} adds to names, was removed."
            return {key.removeprefix(prefix): value for key, value in state.items()}, note
    return state, ""


def _without_hooks(state: State, model: nn.Module, name: str) -> tuple[State, str]:
    folded = fold_hooks(state)
    if len(folded) == len(state):
        return state, ""
    return folded, "The file has masks of torch.nn.utils.prune; they were applied to its weights."


def _renamed(state: State, model: nn.Module, name: str) -> tuple[State, str]:
    names, renamed = set(model.state_dict()), {}
    for key, value in state.items():
        new = key
        for pattern, replacement in OLD_NAMES:
            new = pattern.sub(replacement, new)
        renamed[new if new in names else key] = value
    return renamed, ""


def _without_auxiliary(state: State, model: nn.Module, name: str) -> tuple[State, str]:
    if name not in INCEPTIONS or not any(key.startswith(AUXILIARY) for key in state):
        return state, ""
    kept = {key: value for key, value in state.items() if not key.startswith(AUXILIARY)}
    return kept, "The auxiliary classifiers in the file were not loaded."


def _resized_positions(state: State, model: nn.Module, name: str) -> tuple[State, str]:
    if not isinstance(model, VisionTransformer) or POSITIONS not in state:
        return state, ""
    stored, needed = state[POSITIONS], model.state_dict()[POSITIONS]  # (1, P + 1, C)
    patches = stored.shape[1] - 1 if stored.dim() == 3 else 0
    side, new_side = math.isqrt(max(patches, 0)), model.image_size // model.patch_size
    fits = stored.shape == (1, side**2 + 1, needed.shape[2])
    if side == new_side or side == 0 or not fits:
        return state, ""
    resized = interpolate_embeddings(
        model.image_size, model.patch_size, {**state, POSITIONS: stored.float()}
    )
    note = (
        f"The position embedding was interpolated from {side} x {side} patches in the file to "
        f"{new_side} x {new_side}."
    )
    return dict(resized), note


def _fresh_head(state: State, model: nn.Module, name: str) -> tuple[State, str]:
    """Where only the number of classes differs, the model keeps its random classifier."""
    current = model.state_dict()
    keys = [key for key in head_keys(name) if key in state]
    pairs = [(state[key].shape, current[key].shape) for key in keys]
    if not pairs or any(a[1:] != b[1:] or a[:1] == b[:1] for a, b in pairs):
        return state, ""
    note = (
        f"The file has {pairs[0][0][0]} classes, the data set {pairs[0][1][0]}: the classifier was "
        "replaced by a new one with random weights."
    )
    return {**state, **{key: current[key] for key in keys}}, note


ADAPTATIONS: tuple[Adaptation, ...] = (
    _without_prefix,
    _without_hooks,
    _renamed,
    _without_auxiliary,
    _resized_positions,
    _fresh_head,
)


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


def _check_match(state: State, model: nn.Module, path: Path, name: str) -> None:
    needed = model.state_dict()
    missing = [key for key in needed if key not in state and not _is_counter(key)]
    wrong = [
        f"{key} is {_size(state[key])}, the model needs {_size(needed[key])}"
        for key in needed
        if key in state and state[key].shape != needed[key].shape
    ]
    unexpected = [key for key in state if key not in needed]
    problems = (("missing", missing), ("unexpected", unexpected), ("of another shape", wrong))
    parts = [f"{len(keys)} {kind} ({_listed(keys)})" for kind, keys in problems if keys]
    if parts:
        message = f"the weights in {path.name} do not fit {name}: {'; '.join(parts)}."
        raise SpecError("model.weights", message)


def _is_counter(key: str) -> bool:
    """Whether it is a batch counter of batch norm, which old files lack and nothing needs."""
    return key.endswith("num_batches_tracked")


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _listed(items: list[str]) -> str:
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + rest


def _check_finite(state: State, path: Path) -> None:
    for key, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value.float()).all()):
            message = f"{key} in {path.name} holds values that are infinite or not numbers."
            raise SpecError("model.weights", message)


def _conversions(state: State, model: nn.Module) -> list[str]:
    current = model.state_dict()
    pairs = {(state[key].dtype, current[key].dtype) for key in current if key in state}
    return [
        f"Weights stored as {_type(stored)} were converted to {_type(needed)}."
        for stored, needed in sorted(pairs, key=str)
        if stored != needed
    ]


def _type(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _copy(state: State, model: nn.Module) -> None:
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key in state:
                value.copy_(state[key])

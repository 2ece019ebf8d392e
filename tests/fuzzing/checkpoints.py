"""Checkpoints: odd names, types, layouts and wrappers, and changed bytes."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.build import make
from pruning_core.engine.models.weights import load_weights
from pruning_core.settings.messages import for_command_line
from tests.fuzzing.kinds import InputKind, edited, edits

NAME, CLASSES = "squeezenet1_1", 2
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "backbone.", "a.b.", "\x1b[2J", "")
WRAPPERS = ("state_dict", "model_state_dict", "model", "ema", "weights", "0", "model_ema")
SUFFIXES = (".pt", ".pth", ".ckpt", ".pth.tar", ".safetensors", ".bin", "", ".txt")
FURTHER: dict[str, Callable[[], Any]] = {
    "epoch": lambda: 7,
    "n_averaged": lambda: torch.tensor(9),
    "criterion.weight": lambda: torch.ones(CLASSES),
    "optimizer": lambda: {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
    "loss": lambda: np.float64(0.5),
    "note": lambda: "text\n\x1b[31m",
    "shape": lambda: torch.Size([1]),
}


def _quantized(tensor: Tensor) -> Tensor:
    return torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8)


CHANGES: dict[str, Callable[[Tensor], Any]] = {
    "half": Tensor.half,
    "bfloat16": Tensor.bfloat16,
    "double": Tensor.double,
    "int": Tensor.int,
    "bool": Tensor.bool,
    "complex": lambda t: t.to(torch.complex64),
    "float8": lambda t: t.to(torch.float8_e4m3fn),
    "quantized": _quantized,
    "coo": lambda t: t.to_sparse(),
    "csr": lambda t: t.reshape(t.shape[0], -1).to_sparse_csr(),
    "meta": lambda t: t.to("meta"),
    "strided": lambda t: t.repeat_interleave(2, -1)[..., ::2],
    "scalar": lambda t: torch.tensor(1.5),
    "empty": lambda t: t[:0],
    "one more": lambda t: torch.cat([t, t[:1]]),
    "more axes": lambda t: t[None],
    "nan": lambda t: t * float("nan"),
    "negative": lambda t: -t.abs() - 1,
    "parameter": nn.Parameter,
    "list": Tensor.tolist,
    "array": Tensor.numpy,
    "none": lambda t: None,
}


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file, its suffix, and whether the weights in it are those of the model."""

    content: bytes
    suffix: str
    genuine: bool


@functools.cache
def _model() -> nn.Module:
    torch.manual_seed(0)
    return make(NAME, CLASSES)


@functools.cache
def _target() -> nn.Module:
    """The model into which each file is loaded."""
    return make(NAME, CLASSES)


@st.composite
def checkpoints(draw: DrawFn) -> Checkpoint:
    """The state dict of a small network, as other tools write it, with up to two changes."""
    state: dict[str, Any] = dict(_model().state_dict())
    genuine = True
    for _ in range(draw(st.sampled_from((0, 0, 1, 2)))):
        name = draw(st.sampled_from(sorted(state)))
        action = draw(st.sampled_from((*CHANGES, "drop", "rename")))
        genuine, value = False, state.pop(name)
        if action == "rename":
            state[draw(st.text(max_size=8))] = value
        elif action != "drop" and isinstance(value, Tensor):
            try:
                with warnings.catch_warnings(action="ignore"):
                    state[name] = CHANGES[action](value)
                    torch.save(state[name], io.BytesIO())  # torch cannot write every tensor
            except (RuntimeError, IndexError, TypeError, ValueError):
                state[name] = value
    prefix = "".join(draw(st.lists(st.sampled_from(PREFIXES), max_size=3)))
    entries = {prefix + name: value for name, value in state.items()}
    further = draw(st.lists(st.sampled_from(list(FURTHER)), max_size=2))
    if draw(st.booleans()):
        entries |= {name: FURTHER[name]() for name in further}
    content: Any = entries
    for wrapper in draw(st.lists(st.sampled_from(WRAPPERS), max_size=2)):
        content = {wrapper: content, **{name: FURTHER[name]() for name in further}}
    changes = draw(edits(3)) if draw(st.integers(0, 3)) == 0 else []
    suffix = draw(st.sampled_from(SUFFIXES))
    written = _written(content, draw(st.sampled_from(("zip", "zip", "legacy", "safetensors"))))
    return Checkpoint(edited(written, changes), suffix, genuine and not changes)


def _written(content: Any, form: str) -> bytes:
    tensors = isinstance(content, dict) and all(isinstance(v, Tensor) for v in content.values())
    if form == "safetensors" and tensors:
        try:
            return bytes(save_safetensors({k: v.contiguous() for k, v in content.items()}))
        except (RuntimeError, ValueError, KeyError):
            form = "zip"
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=form != "legacy")
    return buffer.getvalue()


def attempt(example: Checkpoint, folder: Path) -> str | None:
    """Load the file into a model. A refused file changes nothing; genuine weights come back."""
    path = folder / f"weights{example.suffix}"
    path.write_bytes(example.content)
    model = _target()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.25)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        with warnings.catch_warnings(action="ignore"):
            notes = load_weights(model, str(path), NAME, folder)
    except SpecError as error:
        assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
        return for_command_line(error)
    for name, tensor in model.state_dict().items():
        assert tensor.dtype == before[name].dtype, name
        assert not tensor.is_floating_point() or bool(tensor.isfinite().all()), name
        if example.genuine:
            assert torch.equal(tensor, _model().state_dict()[name]), name
    assert all(note.endswith(".") for note in notes), notes
    return None


CHECKPOINTS = InputKind("checkpoints", checkpoints(), attempt, share=0.15)

"""The compact file: the dense network without its zero channels, as safetensors.

Its metadata hold, as JSON, `network` (torchvision's name of the architecture, the options that
build it, and the stride of its first convolution) and `widths`, the widths of its layers (see
`structured.widths`).
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import load_file, save

from pruning_core.engine.export.file_writer import FileWriter, FinishedModel, Run
from pruning_core.engine.export.sparse_file import contiguous_state, sorted_metadata
from pruning_core.engine.structured.fold import fold
from pruning_core.engine.structured.widths import Structure, load, structure


def write_compact(source: FinishedModel, path: Path) -> list[str]:
    """Remove the zero channels of a copy (see `structured.fold`), and write it with its widths."""
    model = copy.deepcopy(source.model)
    folded = fold(model, source.example.shape[-1])
    metadata = {"network": source.network, "widths": structure(model)}
    blob = save(
        contiguous_state(model), {name: json.dumps(value) for name, value in metadata.items()}
    )
    path.write_bytes(sorted_metadata(blob))
    return list(folded.notes)


def open_compact(source: FinishedModel, path: Path) -> Run:
    """The network with the widths and the weights of the file."""
    return load(source.rebuild_unpruned(), widths_in(path), load_file(path)).eval()


def widths_in(path: Path) -> Structure:
    """The widths in a file's metadata."""
    with safe_open(path, "pt") as file:
        widths: Structure = json.loads(file.metadata()["widths"])
    return widths


def compact() -> FileWriter:
    """The dense network without its zero channels."""
    return FileWriter(write_compact, open_compact)

"""MNN files: sparse layers, blocks of output channels, and a converter that fails or crashes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from pruning_core.engine.export import mnn_files
from pruning_core.engine.export.file_writer import FinishedModel
from pruning_core.engine.export.mnn_files import (
    BLOCK,
    SPARSE_LAYER,
    block_parameters,
    mnn,
    mnn_sparse,
    zero_block,
)
from pruning_core.storage.stage_context import StageError


def network(sparsity: float, block: int) -> nn.Module:
    """Two convolutions and a linear layer with zeros in blocks of output channels."""
    torch.manual_seed(0)
    first, second, head = nn.Conv2d(3, 16, 3), nn.Conv2d(16, 32, 1), nn.Linear(32, 10)
    layers = [first, nn.ReLU(), second, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head]
    with torch.no_grad():
        for layer in (first, second, head):
            weight = layer.weight.flatten(1)
            kept = torch.rand(-(-len(weight) // block), weight.shape[1]) >= sparsity
            mask = kept.repeat_interleave(block, 0)[: len(weight)]
            layer.weight.mul_(mask.reshape(layer.weight.shape))
    return nn.Sequential(*layers).eval()


def finished(model: nn.Module) -> FinishedModel:
    images = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return FinishedModel(model, lambda: model, lambda: model, {}, images, lambda: [images])


@pytest.mark.parametrize(("sparsity", "block"), [(0.9, 1), (0.9, BLOCK), (0.5, BLOCK), (0.9, 8)])
def test_a_file_is_sparse_and_gives_the_same_scores(
    sparsity: float, block: int, tmp_path: Path
) -> None:
    pytest.importorskip("MNN", reason="MNN, an extra, is not installed")
    source = finished(network(sparsity, block))
    dense, sparse = tmp_path / "dense.mnn", tmp_path / "sparse.mnn"
    mnn().write(source, dense)
    blocks = f", in blocks of {BLOCK} output channels" if block > 1 else ""
    assert mnn_sparse().write(source, sparse)[-1] == f"MNN skips the zeros of 3 layers{blocks}."
    assert dense.read_bytes().count(SPARSE_LAYER) == 0
    for path, writer in ((dense, mnn()), (sparse, mnn_sparse())):
        run = writer.open(source, path)
        for count in (3, 8):
            with torch.no_grad():
                expected = source.model(source.example[:count])
            torch.testing.assert_close(run(source.example[:count]), expected)


def test_zero_channels_that_are_no_whole_block_leave_the_blocks_in_place(tmp_path: Path) -> None:
    pytest.importorskip("MNN", reason="MNN, an extra, is not installed")
    model = network(0.6, BLOCK)
    with torch.no_grad():
        model.get_parameter("2.weight")[8:16] = 0
        model.get_parameter("6.weight")[:, [1, 2, 3, *range(8, 17)]] = 0
    source, path = finished(model), tmp_path / "model.mnn"
    notes = mnn_sparse().write(source, path)
    assert notes[0] == "Removed 8 zero channels (1 dependency group)."
    assert notes[-1].endswith(f", in blocks of {BLOCK} output channels.")
    with torch.no_grad():
        expected = model(source.example)
    torch.testing.assert_close(mnn_sparse().open(source, path)(source.example), expected)


def test_a_file_of_a_dense_model_says_that_no_layer_is_sparse(tmp_path: Path) -> None:
    pytest.importorskip("MNN", reason="MNN, an extra, is not installed")
    notes = mnn_sparse().write(finished(network(0, 1)), tmp_path / "model.mnn")
    assert notes == ["No layer has enough zeros for MNN's sparse kernels: all are dense."]


def test_blocks_are_used_where_the_zeros_lie_in_blocks() -> None:
    assert zero_block(network(0.8, 1)) == 1
    assert zero_block(network(0.8, 2)) == 1
    assert zero_block(network(0.8, BLOCK)) == BLOCK
    assert zero_block(network(0.8, 8)) == BLOCK


def test_the_size_of_blocks_is_a_message_of_protocol_buffers() -> None:
    """Encoded by hand from MNN_compression.proto."""
    assert block_parameters(4) == b"\n\x050.0.0\x12\x0a\x08\x01\x1a\x06\x08\x01\x1a\x02\x20\x04"


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("import os; os.abort()", "crashed with signal 6"),
        ("print('no such operator'); raise SystemExit(3)", "failed: no such operator"),
        ("pass", "failed. Use another format."),
    ],
)
def test_a_converter_that_fails_ends_the_export_with_a_sentence(
    program: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnn_files, "CONVERT", program)
    with pytest.raises(StageError, match=text):
        mnn().write(finished(network(0, 1)), tmp_path / "model.mnn")
    assert list(tmp_path.iterdir()) == []

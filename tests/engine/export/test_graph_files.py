"""Graph and tensor files of other architectures than MobileNetV2, each with a few blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.mobilenetv3 import InvertedResidualConfig
from torchvision.models.resnet import BasicBlock

from pruning_core.engine.export.file_writer import FileWriter, FinishedModel
from pruning_core.engine.export.graph_files import INPUT
from pruning_core.engine.export.stage import largest_difference
from pruning_core.methods.file_formats import FILE_FORMATS


def mobilenet_v3() -> nn.Module:
    """Blocks with squeeze-and-excitation and ReLU, and with hard swish."""
    blocks = [
        InvertedResidualConfig(16, 3, 16, 16, True, "RE", 2, 1, 1),
        InvertedResidualConfig(16, 5, 64, 24, True, "HS", 2, 1, 1),
        InvertedResidualConfig(24, 5, 64, 24, False, "HS", 1, 1, 1),
    ]
    return models.MobileNetV3(blocks, last_channel=64, num_classes=10)


def efficientnet() -> nn.Module:
    """Blocks with squeeze-and-excitation and SiLU, one of them with a residual connection."""
    blocks = [
        MBConvConfig(1, 3, 1, 16, 16, 1),
        MBConvConfig(6, 5, 2, 16, 24, 1),
        MBConvConfig(6, 3, 1, 24, 24, 1),
    ]
    return models.EfficientNet(blocks, dropout=0.2, num_classes=10)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v3": mobilenet_v3,
    "resnet": lambda: models.ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10),
    "efficientnet": efficientnet,
    "convnext": lambda: models.ConvNeXt(
        [CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], num_classes=10
    ),
    "vit": lambda: models.VisionTransformer(
        32, patch_size=8, num_layers=1, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10
    ),
}


def writer(name: str) -> FileWriter:
    file_writer: FileWriter = FILE_FORMATS.load(name)()
    return file_writer


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def source(name: str) -> FinishedModel:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    if isinstance(model, models.VisionTransformer):
        nn.init.normal_(model.heads.head.weight)  # torchvision initializes it to zeros
    return FinishedModel(
        model,
        rebuild=NETWORKS[name],
        rebuild_unpruned=NETWORKS[name],
        network={"name": name},
        example=images(8),
        calibration=lambda: [images(16)],
    )


@pytest.mark.parametrize("kind", ["onnx", "torch_export", "executorch", "mnn", "mnn_sparse"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_of_each_network_gives_the_same_scores(
    name: str, kind: str, tmp_path: Path
) -> None:
    if package := FILE_FORMATS[kind].package:
        pytest.importorskip(package)
    finished, path = source(name), tmp_path / f"model.{FILE_FORMATS[kind].suffix}"
    writer(kind).write(finished, path)
    run = writer(kind).open(finished, path)
    for count in (1, 5):
        difference = largest_difference(finished.model, run, images(count), exact=True)
        assert difference < 0.01


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_quantized_with_a_free_batch_size(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    finished, path = source(name), tmp_path / "model.onnx"
    writer("onnx_int8").write(finished, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = finished.model(images(5)).numpy()
    (scores,) = session.run(None, {INPUT: images(5).numpy()})
    assert scores.shape == expected.shape
    # Scores of random weights are close together, so the correlation is compared and not the bits.
    assert np.corrcoef(scores.ravel(), expected.ravel())[0, 1] > 0.9
    onnx = pytest.importorskip("onnx")
    arrays = map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer)
    weights = [array for array in arrays if array.dtype == np.int8 and array.ndim > 1]
    # Two products with activations of 8 bits fit into 16 bits, as processors without VNNI need.
    assert weights
    assert all(np.abs(weight.astype(int)).max() <= 64 for weight in weights)


def with_zero_filters() -> nn.Module:
    """Half of the second layer's channels read only the constants of zero filters."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(3, 16, 3, bias=False), nn.Conv2d(16, 16, 1, bias=False)
    norms = [nn.BatchNorm2d(16, momentum=None) for _ in range(2)]
    with torch.no_grad():
        first.weight[:8] = 0.0
        second.weight[:8, 8:] = 0.0
        norms[0].bias[:8] = torch.linspace(0.3, 1.0, 8)
    model = nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU())
    model.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)])
    model.train()(bright_and_dark())
    return model.eval()


def bright_and_dark() -> Tensor:
    return images(64) * torch.linspace(0.2, 3.0, 64)[:, None, None, None]


def test_constant_channels_survive_int8(tmp_path: Path) -> None:
    """Batch norm divides by a deviation near 0, so rounded weights and means would not cancel."""
    path = tmp_path / "model.onnx"
    finished = replace(
        source("resnet"), model=with_zero_filters(), calibration=lambda: [bright_and_dark()]
    )
    writer("onnx_int8").write(finished, path)
    run = writer("onnx_int8").open(finished, path)
    with torch.no_grad():
        expected = finished.model(bright_and_dark())
    spread = float(expected.std(0).mean())
    assert float((run(bright_and_dark()) - expected).abs().mean()) < 0.3 * spread


@pytest.mark.parametrize(("kind", "limit"), [("bitmask_fp16", 0.01), ("bitmask_int8", 0.3)])
@pytest.mark.parametrize("name", NETWORKS)
def test_rounding_changes_scores_little(name: str, kind: str, limit: float, tmp_path: Path) -> None:
    """Relative to the largest score; wrong weights or a missing batch norm are far above."""
    finished, path = source(name), tmp_path / "model.sparse"
    writer(kind).write(finished, path)
    run = writer(kind).open(finished, path)
    with torch.no_grad():
        largest = float(finished.model(images(5)).abs().max())
    assert 0 < largest_difference(finished.model, run, images(5), exact=False) < limit * largest

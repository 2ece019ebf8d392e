"""Files that hold the network itself, of other architectures than MobileNetV2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pruning_core.engine.export.makers import MAKERS
from torch import Tensor, nn
from torchvision import models
from torchvision.models.convnext import CNBlockConfig

from pruning_core.engine.export.file_writer import FinishedModel
from pruning_core.engine.export.graph_files import INPUT
from pruning_core.engine.export.stage import largest_difference
from pruning_core.methods.file_formats import FILE_FORMATS

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v3": lambda: models.mobilenet_v3_small(num_classes=10),
    "resnet": lambda: models.resnet18(num_classes=10),
    "efficientnet": lambda: models.efficientnet_b0(num_classes=10),
    "convnext": lambda: models.ConvNeXt(
        [CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], num_classes=10
    ),
    "vit": lambda: models.VisionTransformer(
        32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10
    ),
}


def images(count: int) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def source(name: str) -> FinishedModel:
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    if isinstance(model, models.VisionTransformer):
        nn.init.normal_(model.heads.head.weight)  # torchvision begins with zeros
    return FinishedModel(
        model,
        rebuild=NETWORKS[name],
        untouched=NETWORKS[name],
        network={"name": name},
        example=images(8),
        calibration=lambda: [images(16)],
        settings={"threads": 1},
    )


@pytest.mark.parametrize("kind", ["onnx", "torch_export", "executorch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_answers_alike_from_its_file(name: str, kind: str, tmp_path: Path) -> None:
    if package := FILE_FORMATS[kind].package:
        pytest.importorskip(package)
    made, path = source(name), tmp_path / f"model.{FILE_FORMATS[kind].suffix}"
    MAKERS[kind].write(made, path)
    run = MAKERS[kind].open(made, path)
    for count in (1, 5):
        with torch.no_grad():
            wanted = made.model(images(count))
        torch.testing.assert_close(run(images(count)), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_is_quantized_and_takes_any_number_of_images(
    name: str, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made, path = source(name), tmp_path / "model.onnx"
    MAKERS["onnx_int8"].write(made, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        wanted = made.model(images(5)).numpy()
    (scores,) = session.run(None, {INPUT: images(5).numpy()})
    assert scores.shape == wanted.shape
    # Random weights answer by little: what is asked is the same shape of the answer, not its bits.
    assert np.corrcoef(scores.ravel(), wanted.ravel())[0, 1] > 0.9


def deadened() -> nn.Module:
    """Filters of zeros whose constants are all that half of the next layer's channels read."""
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


def test_constants_that_cancel_out_survive_8_bits(tmp_path: Path) -> None:
    """Batch norm divides by next to nothing there: rounded as they are, they would drown all."""
    path = tmp_path / "model.onnx"
    made = replace(source("resnet"), model=deadened(), calibration=lambda: [bright_and_dark()])
    MAKERS["onnx_int8"].write(made, path)
    run = MAKERS["onnx_int8"].open(made, path)
    with torch.no_grad():
        wanted = made.model(bright_and_dark())
    spread = float(wanted.std(0).mean())
    assert float((run(bright_and_dark()) - wanted).abs().mean()) < 0.3 * spread


@pytest.mark.parametrize(("kind", "most"), [("bitmask_fp16", 0.01), ("bitmask_int8", 0.3)])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_rounding_changes_is_little(name: str, kind: str, most: float, tmp_path: Path) -> None:
    """As a share of the largest score: garbage weights, or a lost batch norm, are far above."""
    made, path = source(name), tmp_path / "model.sparse"
    MAKERS[kind].write(made, path)
    run = MAKERS[kind].open(made, path)
    with torch.no_grad():
        largest = float(made.model(images(5)).abs().max())
    assert 0 < largest_difference(made.model, run, images(5), exact=False) < most * largest

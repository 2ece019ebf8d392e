"""Every classification network of torchvision: its counts, its layers, its state dict, its files.

All networks are built with shapes and no values. One of each family is pruned, trained for a step,
saved and loaded; large families are made narrow. `tests/engine/test_network_runs.py` runs stages.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import (
    ConvNeXt,
    MaxVit,
    ResNet,
    SwinTransformer,
    VisionTransformer,
    get_model_weights,
)
from torchvision.models.convnext import CNBlockConfig
from torchvision.models.resnet import Bottleneck
from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformerBlockV2

from pruning_core.engine.export import sparse_file
from pruning_core.engine.export.bundle.stage import module_file
from pruning_core.engine.export.bundle.verify import open_weights
from pruning_core.engine.export.compact_file import widths_in
from pruning_core.engine.export.file_writer import FileWriter, FinishedModel
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.models import build as models
from pruning_core.engine.models import layers
from pruning_core.engine.models.macs import macs
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import step
from pruning_core.methods.file_formats import FILE_FORMATS, SPARSE_LOADER, WIDTHS
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec
from tests.helpers.pruning import masks_of

CLASSES = 10
# Tensors of two and more dimensions that are no product with the input: they stay dense.
DENSE = {
    *("class_token", "pos_embedding", "layer_scale"),
    *("relative_position_bias_table", "logit_scale"),
}


@functools.cache
def published(name: str) -> tuple[int, float]:
    """The smallest image size for which torchvision has weights, and their published GMACs."""
    sizes = {w.transforms().crop_size[0]: w.meta["_ops"] for w in get_model_weights(name)}
    return min(sizes.items())


@functools.cache
def shaped(name: str) -> nn.Module:
    """The network that torchvision's weights belong to, without values."""
    return models.outline(name, 1000, published(name)[0])


@pytest.mark.parametrize("name", models.names())
def test_macs_are_those_that_torchvision_publishes(name: str) -> None:
    size, gmacs = published(name)
    assert macs(shaped(name), size) / 1e9 == pytest.approx(gmacs, abs=0.0006)


@pytest.mark.parametrize("name", models.names())
def test_all_tensors_that_multiply_the_input_are_prunable(name: str) -> None:
    parameters = dict(shaped(name).named_parameters())
    prunable = {layer.name for layer in layers.layers(shaped(name))}
    others = {n: p for n, p in parameters.items() if n not in prunable}
    matrices = [n.rpartition(".")[2] for n, p in others.items() if p.ndim > 1]
    assert set(matrices) <= DENSE
    total = sum(p.numel() for p in parameters.values())
    assert sum(p.numel() for p in others.values()) < 0.02 * total


@pytest.mark.parametrize("name", models.names())
def test_versions_survive_a_sparse_file(name: str, tmp_path: Path) -> None:
    """The versions are of the modules, so one number for each weight stands for the tensors."""
    state = shaped(name).state_dict()
    numbers = {key: torch.zeros(1) for key in state if key.endswith(".weight")}
    path = tmp_path / "model.sparse"
    sparse_file.save(sparse_file.with_versions(numbers, sparse_file.versions_of(state)), path)
    versions = sparse_file.versions_of(sparse_file.load(path))
    assert versions == sparse_file.versions_of(state)
    shaped(name).load_state_dict(sparse_file.with_versions(dict(state), versions))


def test_attention_by_hand() -> None:
    """ViT-B/16: a patch embedding, 12 layers, a classifier, and the products between 197 tokens."""
    width, tokens, patches = 768, 197, 196
    layer = tokens * (4 * width**2 + 2 * 4 * width**2) + 2 * tokens**2 * width
    by_hand = patches * 3 * 16**2 * width + 12 * layer + width * CLASSES
    assert by_hand == 17_563_067_904
    assert macs(models.outline("vit_b_16", CLASSES), 224) == by_hand


def narrow_vit() -> nn.Module:
    return VisionTransformer(32, 16, 2, 2, 32, 64, num_classes=CLASSES)


def narrow_swin(version: int) -> nn.Module:
    second: dict[str, Any] = {"block": SwinTransformerBlockV2, "downsample_layer": PatchMergingV2}
    extra = second if version == 2 else {}
    return SwinTransformer(
        [4, 4], 16, [1, 1, 2, 1], [1, 2, 4, 8], [7, 7], num_classes=CLASSES, **extra
    )


def narrow_maxvit() -> nn.Module:
    return MaxVit((32, 32), 8, 2, [8, 16], [1, 1], 8, 0.0, num_classes=CLASSES)


def narrow_convnext() -> nn.Module:
    settings = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)]
    return ConvNeXt(settings, num_classes=CLASSES)


def narrow_resnext() -> nn.Module:
    return ResNet(Bottleneck, [1, 1, 1, 1], CLASSES, groups=4, width_per_group=2)


Build = Callable[[], nn.Module]
NARROW: dict[str, tuple[Build, int]] = {
    "vit": (narrow_vit, 32),
    "swin": (functools.partial(narrow_swin, 1), 32),
    "swin_v2": (functools.partial(narrow_swin, 2), 32),
    "maxvit": (narrow_maxvit, 32),
    "convnext": (narrow_convnext, 32),
    "resnext": (narrow_resnext, 32),
}
FULL = (
    *("mnasnet0_5", "shufflenet_v2_x0_5", "squeezenet1_1", "mobilenet_v2"),
    *("mobilenet_v3_small", "regnet_y_400mf"),
)
FAMILIES = NARROW | {name: (functools.partial(models.make, name, CLASSES), 32) for name in FULL}


def pruned_and_trained(model: nn.Module, size: int) -> nn.Module:
    """The model at 95 % sparsity after a step of training, in evaluation mode."""
    prunable = layers.weights(model, "all")
    masks = Masks(prunable, masks_of(prunable, 0.95, min_density=0.02))
    state = TrainingState(model, make_optimizer(model, to_dict(TrainSpec())), masks)
    masks.multiply()
    step(state, torch.rand(4, 3, size, size), torch.arange(4), lr=0.001, clip_grad_norm=1.0)
    assert not state.skipped
    masks.check()
    return model.eval()


def finished(model: nn.Module, build: Build, size: int) -> FinishedModel:
    example = torch.rand(2, 3, size, size)
    return FinishedModel(model, build, build, {}, example, lambda: [example])


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_a_family_is_pruned_trained_saved_and_loaded(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build, size = FAMILIES[name]
    with torch.enable_grad():
        model = pruned_and_trained(build(), size)
    source = finished(model, build, size)
    expected = model(source.example)
    for file_format in ("state_dict", "bitmask_fp32", "compact"):
        writer: FileWriter = FILE_FORMATS.load(file_format)()
        writer.write(source, path := tmp_path / file_format)
        actual = writer.open(source, path)(source.example)
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-4)


TENSOR_FORMATS = [n for n, kind in FILE_FORMATS.items() if kind.opener == "open_weights"]


@pytest.mark.parametrize("name", TENSOR_FORMATS)
@torch.no_grad()
def test_files_of_a_network_that_needs_versions_are_loaded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MNASNet refuses tensors without versions: in the writer, in verify.py and in plain torch."""
    torch.manual_seed(0)
    build = functools.partial(models.make, "mnasnet0_5", CLASSES)
    with torch.enable_grad():
        model = pruned_and_trained(build(), 32)
    source, file_format = finished(model, build, 32), FILE_FORMATS[name]
    path = tmp_path / f"model.{file_format.suffix}"
    writer: FileWriter = FILE_FORMATS.load(name)()
    writer.write(source, path)
    actual: Tensor = writer.open(source, path)(source.example)
    if file_format.exact:
        torch.testing.assert_close(actual, model(source.example), rtol=1e-3, atol=1e-4)
    for module in (SPARSE_LOADER, WIDTHS):  # a bundle holds them beside verify.py
        monkeypatch.syspath_prepend(str(module_file(module).parent))
    arguments = models.options("mnasnet0_5", CLASSES, 1.0, 32)
    network = {"name": "mnasnet0_5", "stem_stride": 2, "options": arguments}
    widths = {"widths": widths_in(path)} if file_format.has_widths else {}
    run = open_weights(path, {"network": {**network, **widths}})
    torch.testing.assert_close(torch.from_numpy(run(source.example.numpy())), actual)

"""Models that can be built, and settings that are refused before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import VGG, VisionTransformer
from torchvision.models.resnet import ResNet

from pruning_core.common.errors import SpecError
from pruning_core.engine.export.file_sizes import save_and_measure
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.models import build as models
from pruning_core.engine.models import layers
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import step
from pruning_core.methods.models import WIDTH_MODELS
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec
from tests.helpers.pruning import masks_of


def settings(name: str, width: float = 1.0, stem_stride: int = 2) -> dict[str, Any]:
    return {"name": name, "width": width, "stem_stride": stem_stride, "weights": "none"}


def build(name: str, size: int = 32, classes: int = 7, **options: Any) -> nn.Module:
    return models.build(settings(name, **options), classes, size)


RUNNING = [
    ("mobilenet_v2", 28),
    ("mobilenet_v3_small", 32),
    ("resnet18", 28),
    ("vgg11_bn", 32),
    ("efficientnet_b0", 32),
    ("convnext_tiny", 32),
    ("vit_b_16", 48),
    ("squeezenet1_1", 32),
    ("regnet_x_400mf", 32),
    ("googlenet", 32),
    ("swin_t", 32),
]


@pytest.mark.parametrize(("name", "size"), RUNNING)
def test_models_run_on_small_images(name: str, size: int) -> None:
    model = build(name, size)
    assert model.training
    with torch.inference_mode():
        assert model.eval()(torch.rand(2, 3, size, size)).shape == (2, 7)


FAMILIES = [
    *("mobilenet_v3_small", "resnet18", "vgg11_bn"),
    *("efficientnet_b0", "convnext_tiny", "vit_b_16"),
]


def slim(name: str, size: int) -> nn.Module:
    """A model of a family; the two largest are reduced, so that their files are written fast."""
    model = build(name, size, classes=10)
    if isinstance(model, VGG):
        first, last = model.classifier[0], model.classifier[6]
        model.classifier[0] = nn.Linear(first.in_features, 64)
        model.classifier[3] = nn.Linear(64, 64)
        model.classifier[6] = nn.Linear(64, last.out_features)
    if isinstance(model, VisionTransformer):
        model.encoder.layers = model.encoder.layers[:3]
    return model


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_pruned_trained_and_measured(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = slim(name, 32).to(memory_format=torch.channels_last)
    prunable = layers.weights(model, "all")
    weight_masks = masks_of(prunable, 0.5, min_density=0.05)
    masks = Masks(prunable, weight_masks)
    state = TrainingState(model, make_optimizer(model, to_dict(TrainSpec())), masks)
    masks.multiply()
    before = {key: value.detach().clone() for key, value in prunable.items()}
    step(state, torch.rand(4, 3, 32, 32), torch.arange(4), lr=0.02, clip_grad_norm=5.0)
    for key, weight in prunable.items():
        assert int((~weight_masks[key]).sum()) == round(0.5 * weight.numel())
        assert not weight[~weight_masks[key]].any()
        assert torch.equal(weight == 0, ~weight_masks[key])
    assert any(not torch.equal(before[key], prunable[key]) for key in prunable)
    assert not state.skipped
    sizes = save_and_measure(model, tmp_path / "model.sparse")
    assert sizes["sparse_bytes"] < 0.7 * sizes["dense_bytes"]


def test_names_are_the_classification_models() -> None:
    assert {"mobilenet_v2", "vgg16", "vit_b_16", "inception_v3"} <= set(models.names())
    assert not any("rcnn" in name or "quantized" in name for name in models.names())


def test_the_seed_decides_the_weights_and_the_check_uses_no_random_numbers() -> None:
    torch.manual_seed(3)
    first, after = build("mobilenet_v3_small"), torch.rand(1)
    torch.manual_seed(3)
    second = models.make("mobilenet_v3_small", 7)
    assert torch.equal(after, torch.rand(1))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", WIDTH_MODELS)
def test_width_changes_the_layers(name: str) -> None:
    def count(model: nn.Module) -> int:
        return sum(p.numel() for p in model.parameters())

    assert count(build(name, width=0.5)) < count(build(name))


def test_stem_stride_keeps_twice_the_resolution() -> None:
    sizes = []
    for stride in (1, 2):
        model = build("resnet18", 64, stem_stride=stride)
        assert isinstance(model, ResNet)
        model.conv1.register_forward_hook(lambda m, x, y: sizes.append(y.shape[-1]))
        model(torch.rand(2, 3, 64, 64))
    assert sizes == [64, 32]


REFUSED = [
    ("mobilnet_v2", 32, {}, "model.name", "mobilenet_v2"),
    ("fasterrcnn_resnet50_fpn", 32, {}, "model.name", "not a torchvision"),
    ("resnet18", 32, {"width": 0.5}, "model.width", "mobilenet_v3_small"),
    ("vit_b_16", 40, {}, "data.image_size", "the size must be a multiple of 16. 40 is not; choose"),
    ("vit_b_16", 32, {"stem_stride": 1}, "model.stem_stride", "patches of 16"),
    ("swin_t", 32, {"stem_stride": 1}, "model.stem_stride", "patches of 4"),
    ("alexnet", 64, {"stem_stride": 1}, "model.stem_stride", "has stride 4"),
]


@pytest.mark.parametrize(("name", "size", "options", "field", "words"), REFUSED)
def test_refusals_name_the_field(
    name: str, size: int, options: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(SpecError) as caught:
        build(name, size, **options)
    assert caught.value.field == field
    assert words in caught.value.message


SIZES = [
    ("alexnet", 32, {}, 63),
    ("convnext_tiny", 28, {}, 32),
    ("inception_v3", 64, {}, 75),
    ("maxvit_t", 96, {}, 221),
    ("maxvit_t", 224, {"stem_stride": 1}, 112),
]


@pytest.mark.parametrize(("name", "size", "options", "possible"), SIZES)
def test_an_image_size_that_cannot_run_is_refused_with_the_nearest_that_can(
    name: str, size: int, options: dict[str, Any], possible: int
) -> None:
    with pytest.raises(SpecError) as caught:
        build(name, size, **options)
    assert caught.value.field == "data.image_size"
    assert f"images of {size} pixels" in caught.value.message
    assert caught.value.message.endswith(f"Choose {possible} pixels, or another model.")
    assert ("with model.stem_stride 1" in caught.value.message) == bool(options)
    build(name, possible, **options)


def test_a_stem_that_has_stride_1_is_refused() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    with pytest.raises(SpecError, match="stride 1 already"):
        models._set_stem_stride(model, "vgg11")


@pytest.mark.parametrize("name", ["regnet_y_400mf", "maxvit_t", "mobilenet_v2"])
def test_shapes_are_those_of_the_real_model_and_use_no_random_numbers(name: str) -> None:
    before = torch.get_rng_state()
    actual = models.shapes(name, 12)
    assert torch.equal(before, torch.get_rng_state())
    real = models.make(name, 12).state_dict()
    assert actual == {key: value.shape for key, value in real.items()}


def test_shapes_hold_no_weights() -> None:
    with models._NoStorage():
        assert nn.Linear(3, 3).weight.is_meta


@pytest.mark.parametrize("name", models.INCEPTIONS)
def test_input_is_converted_as_pretrained_weights_expect(name: str) -> None:
    assert models.make(name, 10).transform_input

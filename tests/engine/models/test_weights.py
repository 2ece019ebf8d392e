"""Checkpoints: known differences are adapted and noted, others are refused."""

from __future__ import annotations

import argparse
import hashlib
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune
from torchvision import models as zoo
from torchvision.models import VisionTransformer

from pruning_core.common.errors import SpecError
from pruning_core.common.files import sha256
from pruning_core.engine.models import build as models
from pruning_core.engine.models.weights import head_keys, load_weights
from tests.helpers.models import weight_of
from tests.helpers.project import SHARED

CHECKPOINT = SHARED / "data" / "mobilenet_v2-cifar10.safetensors"
NAME = "mobilenet_v3_small"
State = dict[str, torch.Tensor]


def build(name: str = NAME, classes: int = 10, size: int = 32, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return models.build({"name": name, "width": 1.0, "stem_stride": 2}, classes, size)


def state(**options: Any) -> State:
    return {key: value.clone() for key, value in build(seed=1, **options).state_dict().items()}


def write(path: Path, value: Any) -> str:
    save_file(value, path) if path.suffix == ".safetensors" else torch.save(value, path)
    return str(path)


def same(model: nn.Module, expected: State, without: tuple[str, ...] = ()) -> bool:
    actual = model.state_dict()
    return all(torch.equal(actual[key], expected[key]) for key in actual if key not in without)


def refusal(source: str, model: nn.Module, tmp_path: Path, name: str = NAME) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(SpecError) as caught:
        load_weights(model, source, name, tmp_path)
    assert caught.value.field == "model.weights"
    assert same(model, before)
    return caught.value.message


def test_none_changes_nothing(tmp_path: Path) -> None:
    model = build()
    assert load_weights(model, "none", NAME, tmp_path) == []
    assert same(model, build().state_dict())


WRAPPERS = ["", "state_dict", "model_state_dict", "model", "net"]


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
def test_torch_files_load(tmp_path: Path, suffix: str, wrapper: str) -> None:
    expected, model = state(), build()
    source = write(
        tmp_path / f"w{suffix}", {wrapper: expected, "epoch": 3} if wrapper else expected
    )
    assert load_weights(model, source, NAME, tmp_path) == []
    assert same(model, expected)


def test_safetensors_without_batch_counters_load(tmp_path: Path) -> None:
    expected, model = state(), build()
    kept = {key: value for key, value in expected.items() if "num_batches" not in key}
    source = write(tmp_path / "w.safetensors", kept)
    assert load_weights(model, source, NAME, tmp_path) == []
    assert same(model, expected)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_a_prefix_is_removed_with_a_note(tmp_path: Path, prefix: str) -> None:
    expected, model = state(), build()
    source = write(tmp_path / "w.pt", {prefix + key: value for key, value in expected.items()})
    (note,) = load_weights(model, source, NAME, tmp_path)
    assert prefix in note
    assert same(model, expected)


def test_a_checkpoint_of_lightning_loads(tmp_path: Path) -> None:
    expected, model = state(), build()
    inside = {"model." + key: value for key, value in expected.items()}
    whole = {"epoch": 3, "state_dict": inside, "optimizer_states": [{"state": {}}]}
    (note,) = load_weights(model, write(tmp_path / "last.ckpt", whole), NAME, tmp_path)
    assert "'model.'" in note
    assert same(model, expected)


def test_masks_of_torch_prune_are_applied(tmp_path: Path) -> None:
    model, pruned = build(), build(seed=1)
    prune.l1_unstructured(pruned.get_submodule("features.0.0"), "weight", amount=0.5)
    source = write(tmp_path / "w.pt", pruned.state_dict())
    (note,) = load_weights(model, source, NAME, tmp_path)
    assert "torch.nn.utils.prune" in note
    conv = pruned.get_submodule("features.0.0")
    product = conv.get_parameter("weight_orig") * conv.get_buffer("weight_mask")
    assert torch.equal(weight_of(model, "features.0.0"), product)


def test_half_precision_is_converted_with_a_note(tmp_path: Path) -> None:
    expected = {key: value.half().float() for key, value in state().items()}
    model = build()
    source = write(tmp_path / "w.pt", {key: value.half() for key, value in expected.items()})
    notes = load_weights(model, source, NAME, tmp_path)
    assert "Weights stored as float16 were converted to float32." in notes
    assert same(model, expected)


HEADS = ["mobilenet_v3_small", "squeezenet1_1", "regnet_x_400mf"]


@pytest.mark.parametrize("name", HEADS)
def test_a_head_of_another_class_count_is_replaced(tmp_path: Path, name: str) -> None:
    expected, model = state(name=name, classes=1000), build(name)
    keys = tuple(head_keys(name))
    fresh = {key: model.state_dict()[key].clone() for key in keys}
    notes = load_weights(model, write(tmp_path / "w.pt", expected), name, tmp_path)
    assert notes == [
        "The file has 1000 classes, the data set 10: the classifier was replaced by a new one with "
        "random weights."
    ]
    assert same(model, expected, without=keys)
    assert all(torch.equal(model.state_dict()[key], fresh[key]) for key in keys)


@pytest.mark.parametrize("name", HEADS)
def test_the_head_is_the_last_layer(name: str) -> None:
    last = [key for key, _ in models.make(name, 3).named_parameters()][-2:]
    assert sorted(head_keys(name)) in (sorted(last), ["classifier.1.bias", "classifier.1.weight"])


def small_vit(size: int) -> nn.Module:
    return VisionTransformer(size, 16, 2, 2, 8, 16, num_classes=10)


def test_positions_of_a_vit_are_interpolated(tmp_path: Path) -> None:
    expected, model = small_vit(64).state_dict(), small_vit(32)
    (note,) = load_weights(model, write(tmp_path / "w.pt", expected), "vit_b_16", tmp_path)
    assert "4 x 4" in note
    assert "2 x 2" in note
    assert same(model, expected, without=("encoder.pos_embedding",))


def old_densenet(key: str) -> str:
    for word in ("filter_norm", "conv"):
        for digit in "12":
            new, old = f".{word}{digit}.", f".{word}.{digit}."
            key = key.replace(new, old) if "denselayer" in key else key
    return key


def test_old_densenet_names_load(tmp_path: Path) -> None:
    expected, model = state(name="densenet121"), build("densenet121")
    old = {old_densenet(key): value for key, value in expected.items()}
    assert set(old) != set(expected)
    assert load_weights(model, write(tmp_path / "w.pt", old), "densenet121", tmp_path) == []
    assert same(model, expected)


def test_old_vit_names_load(tmp_path: Path) -> None:
    expected, model = small_vit(32).state_dict(), small_vit(32)
    old = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
        for key, value in expected.items()
    }
    assert load_weights(model, write(tmp_path / "w.pt", old), "vit_b_16", tmp_path) == []
    assert same(model, expected)


def test_auxiliary_classifiers_are_not_loaded(tmp_path: Path) -> None:
    full = zoo.googlenet(weights=None, num_classes=10, aux_logits=True, init_weights=False)
    model = build("googlenet")
    source = write(tmp_path / "w.pt", full.state_dict())
    notes = load_weights(model, source, "googlenet", tmp_path)
    assert "auxiliary" in notes[0]
    assert same(model, full.state_dict())


def test_a_mismatch_lists_and_counts(tmp_path: Path) -> None:
    wrong = state()
    for key in list(wrong)[:7]:
        wrong[f"extra.{key}"] = wrong.pop(key)
    wrong["features.1.block.0.0.weight"] = torch.zeros(2, 3)
    message = refusal(write(tmp_path / "w.pt", wrong), build(), tmp_path)
    assert "5 missing (features.0.0.weight, features.0.1.weight" in message
    assert "7 unexpected (extra.features.0.0.weight" in message
    assert "and 2 more)" in message
    assert "features.1.block.0.0.weight is 2 x 3" in message


class Runs:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_a_pickle_that_needs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    for suffix, value in itertools.product(
        (".pt", ".ckpt"), (Runs(tmp_path / "ran"), build(), argparse.Namespace(a=1))
    ):
        message = refusal(write(tmp_path / f"w{suffix}", {"model": value}), build(), tmp_path)
        assert "could run any code" in message
        assert "state_dict" in message
    assert not (tmp_path / "ran").exists()


BROKEN = {
    "w.pt": b"",
    "noise.pth": bytes(range(256)),
    "noise.ckpt": bytes(range(256)),
    "w.safetensors": b"not a safetensors file",
    "w.onnx": b"",
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_weights_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BROKEN[name])
    assert name in refusal(str(tmp_path / name), build(), tmp_path)


@pytest.mark.parametrize("value", [{}, [1, 2], {"epoch": 3}, {"state_dict": {"a": "b"}}])
def test_torch_files_without_tensors_are_refused(tmp_path: Path, value: Any) -> None:
    assert "w.pt" in refusal(write(tmp_path / "w.pt", value), build(), tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "there is no file" in refusal(str(tmp_path / "w.pt"), build(), tmp_path)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    expected = state()
    expected["features.0.0.weight"][0] = float("nan")
    message = refusal(write(tmp_path / "w.pt", expected), build(), tmp_path)
    assert "features.0.0.weight" in message


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.skipif(not CHECKPOINT.exists(), reason="the shared checkpoint is not here")
def test_the_shared_checkpoint_loads(tmp_path: Path) -> None:
    model = models.build({"name": "mobilenet_v2", "width": 1.0, "stem_stride": 1}, 10, 32)
    assert load_weights(model, str(CHECKPOINT), "mobilenet_v2", tmp_path) == []

"""Checkpoints: known differences are adapted and noted, others are refused."""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import math
import os
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel
from torchvision import models as zoo
from torchvision.models import VisionTransformer

from pruning_core.common.errors import SpecError
from pruning_core.common.files import sha256
from pruning_core.engine.export import sparse_file
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


def refusal(
    source: str, model: nn.Module, tmp_path: Path, name: str = NAME, entry: str = ""
) -> str:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(SpecError) as caught:
        load_weights(model, source, name, tmp_path, entry)
    assert caught.value.field in ("model.weights", "model.weights_entry")
    assert same(model, before)
    return caught.value.message


def test_none_changes_nothing(tmp_path: Path) -> None:
    model = build()
    assert load_weights(model, "none", NAME, tmp_path) == []
    assert same(model, build().state_dict())


def nested(entry: str, value: State) -> dict[str, Any]:
    """A state dict in dicts, as `a/b`, or with a prefix, as `a.b.`, or both."""
    *dicts, prefix = entry.split("/")
    content: dict[str, Any] = {prefix + key: tensor for key, tensor in value.items()}
    for name in reversed(dicts):
        content = {name: content, "epoch": 3}
    return content


ENTRIES = [
    *("", "state_dict/", "model_state/", "any name/", "checkpoint/model/weights/"),
    *("module.", "_orig_mod.", "model.", "net.", "backbone.encoder.", "0."),
    *("module._orig_mod.", "_orig_mod.module.", "state_dict/model._orig_mod.module."),
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_network_is_taken_from_under_any_names(tmp_path: Path, entry: str) -> None:
    expected, model = state(), build()
    notes = load_weights(model, write(tmp_path / "w.pt", nested(entry, expected)), NAME, tmp_path)
    shown = entry.replace("/", ".").rstrip(".")
    assert notes == ([f"The weights were loaded from '{shown}' in w.pt."] if entry else [])
    assert same(model, expected)


FILES: dict[str, Callable[[State, Path], Any]] = {
    "model_best.pth.tar": torch.save,
    "pytorch_model.bin": torch.save,
    "weights": torch.save,
    "last.ckpt": partial(torch.save, _use_new_zipfile_serialization=False),
    "old.pkl": partial(torch.save, _use_new_zipfile_serialization=False),
    "model.pt": save_file,
    "model.safetensors": torch.save,
    "model.sparse": sparse_file.save,
}


@pytest.mark.parametrize("name", FILES)
def test_the_content_of_a_file_decides_not_its_name(tmp_path: Path, name: str) -> None:
    expected, model = state(), build()
    FILES[name](expected, tmp_path / name)
    assert load_weights(model, str(tmp_path / name), NAME, tmp_path) == []
    assert same(model, expected)


def test_safetensors_without_batch_counters_load(tmp_path: Path) -> None:
    expected, model = state(), build()
    kept = {key: value for key, value in expected.items() if "num_batches" not in key}
    source = write(tmp_path / "w.safetensors", kept)
    assert load_weights(model, source, NAME, tmp_path) == []
    assert same(model, expected)


def test_wrappers_within_names_are_ignored_with_a_note(tmp_path: Path) -> None:
    expected, model = state(), build()
    wrapped = {key.replace("features.", "features.module."): v for key, v in expected.items()}
    notes = load_weights(model, write(tmp_path / "w.pt", wrapped), NAME, tmp_path)
    assert notes == ["Parts of names that the model does not have were ignored: module."]
    assert same(model, expected)


def test_what_stands_beside_the_network_is_not_loaded_and_named(tmp_path: Path) -> None:
    expected, model = state(), build()
    whole = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, steps=np.float64(3)),
        "loops": collections.defaultdict(list, {"a": [Path("x")]}),
        "best": np.float64(91.5),
        "state_dict": nested("net.", expected) | {"criterion.weight": torch.ones(4)},
        "optimizer": {"state": {0: {"step": torch.tensor(1), "exp_avg": torch.ones(3)}}},
    }
    notes = load_weights(model, write(tmp_path / "last.ckpt", whole), NAME, tmp_path)
    assert notes[:2] == [
        "The weights were loaded from 'state_dict.net' in last.ckpt.",
        "Not loaded from last.ckpt: state_dict.criterion.weight, optimizer (2 tensors).",
    ]
    assert notes[2].startswith("Python objects in last.ckpt were not read: argparse.Namespace, ")
    assert same(model, expected)


def averaged(model: nn.Module) -> State:
    copy: State = AveragedModel(model, use_buffers=True).state_dict()
    return copy


def test_averaged_weights_are_loaded_with_a_note(tmp_path: Path) -> None:
    expected, model = state(), build()
    source = build()
    source.load_state_dict(expected)
    for content, entry in (
        (averaged(source), "module"),
        ({"model_ema": averaged(source), "epoch": 3}, "model_ema.module"),
        ({"state_dict_ema": expected}, "state_dict_ema"),
    ):
        first, *_ = load_weights(model, write(tmp_path / "w.pt", content), NAME, tmp_path)
        kind = "averaged weights (EMA or SWA)"
        assert first == f"The {kind} were loaded from '{entry}' in w.pt."
        assert same(model, expected)


@pytest.mark.parametrize("classes", [10, 7])
def test_an_averaged_copy_beside_the_weights_is_offered(tmp_path: Path, classes: int) -> None:
    """Also where the classifier of both has to be replaced."""
    weights, copy, model = state(classes=classes), state(classes=classes), build()
    copy["features.0.0.weight"] += 1
    content = {"state_dict": weights, "state_dict_ema": copy, "epoch": 3}
    source = write(tmp_path / "w.pth", content)
    notes = load_weights(model, source, NAME, tmp_path)
    assert same(model, weights) == (classes == 10)
    assert "w.pth also holds averaged weights (EMA or SWA) in 'state_dict_ema'." in notes[1]
    assert "--weights-entry" in notes[1]
    notes = load_weights(model, source, NAME, tmp_path, "state_dict_ema")
    assert torch.equal(model.state_dict()["features.0.0.weight"], copy["features.0.0.weight"])
    assert "'state_dict'" in notes[1]
    message = refusal(source, model, tmp_path, entry="ema")
    assert "'state_dict', 'state_dict_ema'" in message


def test_of_two_networks_that_fit_none_is_guessed(tmp_path: Path) -> None:
    student, teacher, model = state(), state(), build()
    teacher["features.0.0.weight"] += 1
    for content in (
        {"student": student, "teacher": teacher},
        nested("student.", student) | nested("teacher.", teacher),
        {"best": {"net": student}, "last": {"net": teacher}},
    ):
        source = write(tmp_path / "w.pt", content)
        message = refusal(source, model, tmp_path)
        assert "2 networks that fit" in message
        entry = message.split("'")[1]
        assert message.count("'") == 4
        load_weights(model, source, NAME, tmp_path, entry)
        assert same(model, student)
    equal = {"student": student, "copy": {key: value.clone() for key, value in student.items()}}
    load_weights(model, write(tmp_path / "w.pt", equal), NAME, tmp_path)
    assert same(model, student)


def test_a_network_with_more_layers_is_another_network(tmp_path: Path) -> None:
    larger = zoo.resnet34(num_classes=10).state_dict()
    for prefix in ("", "module."):
        source = write(tmp_path / "w.pt", nested(prefix, larger))
        message = refusal(source, build("resnet18"), tmp_path, "resnet18")
        assert f"unexpected ({prefix}layer1.2.conv1.weight" in message


def test_a_backbone_without_classifier_gets_a_new_one(tmp_path: Path) -> None:
    expected, model = state(name="resnet18"), build("resnet18")
    head = ("fc.weight", "fc.bias")
    body = {f"backbone.{key}": value for key, value in expected.items() if key not in head}
    source = write(tmp_path / "w.pt", {"state_dict": body | {"head.weight": torch.ones(3, 4)}})
    notes = load_weights(model, source, "resnet18", tmp_path)
    assert notes == [
        "The weights were loaded from 'state_dict.backbone' in w.pt.",
        "Not loaded from w.pt: state_dict.head.weight.",
        "The file has no classifier that fits: fc.weight, fc.bias kept their random weights.",
    ]
    assert same(model, expected, without=head)


def renamed(value: State, old: str, new: str) -> State:
    return {key.replace(old, new): tensor for key, tensor in value.items()}


MOVED_HEADS: dict[str, tuple[str, Callable[[State], State]]] = {
    "fc.1": ("resnet18", lambda s: renamed(s, "fc.", "fc.1.")),
    "classifier": ("mobilenet_v2", lambda s: renamed(s, "classifier.1.", "classifier.")),
    "head.fc": (
        "resnet18",
        lambda s: {(f"head.{k}" if k.startswith("fc.") else f"backbone.{k}"): s[k] for k in s},
    ),
}


@pytest.mark.parametrize("entry", MOVED_HEADS)
def test_a_classifier_at_another_place_is_loaded(tmp_path: Path, entry: str) -> None:
    name, move = MOVED_HEADS[entry]
    expected, model = state(name=name), build(name)
    notes = load_weights(model, write(tmp_path / "w.pt", move(expected)), name, tmp_path)
    assert f"The classifier was loaded from '{entry}'." in notes
    assert same(model, expected)


def test_of_other_classifiers_none_is_guessed(tmp_path: Path) -> None:
    expected, head = state(name="resnet18"), {"weight": torch.ones(10, 512), "bias": torch.ones(10)}
    body = {key: value for key, value in expected.items() if not key.startswith("fc.")}
    first = {f"fc.0.{end}": torch.ones(512, 512) for end in head}
    for other in (
        first | {f"fc.2.{end}": head[end] for end in head},
        {f"{name}.{end}": head[end] for name in "ab" for end in head},
    ):
        model = build("resnet18")
        notes = load_weights(model, write(tmp_path / "w.pt", body | other), "resnet18", tmp_path)
        assert "no classifier that fits: fc.weight, fc.bias kept" in notes[-1]
        assert same(model, expected, without=("fc.weight", "fc.bias"))


def test_a_network_without_all_layers_of_its_classifier_gets_new_ones(tmp_path: Path) -> None:
    expected, model = state(), build()
    body = {key: value for key, value in expected.items() if key.startswith("features.")}
    (note,) = load_weights(model, write(tmp_path / "w.pt", body), NAME, tmp_path)
    assert "classifier.0.weight, classifier.0.bias, classifier.3.weight" in note
    assert same(model, expected, without=tuple(expected.keys() - body.keys()))


def test_names_of_another_library_are_refused_with_both_names(tmp_path: Path) -> None:
    renamed = {f"blocks.{i}.w": value for i, value in enumerate(state().values())}
    message = refusal(write(tmp_path / "w.pt", renamed), build(), tmp_path)
    assert "blocks.0.w" in message
    assert "features.0.0.weight" in message


def test_masks_of_torch_prune_are_applied(tmp_path: Path) -> None:
    model, pruned = build(), build(seed=1)
    prune.l1_unstructured(pruned.get_submodule("features.0.0"), "weight", amount=0.5)
    source = write(tmp_path / "w.pt", pruned.state_dict())
    (note,) = load_weights(model, source, NAME, tmp_path)
    assert "torch.nn.utils.prune" in note
    conv = pruned.get_submodule("features.0.0")
    product = conv.get_parameter("weight_orig") * conv.get_buffer("weight_mask")
    assert torch.equal(weight_of(model, "features.0.0"), product)


STEM = "features.0.0.weight"
MASKED: dict[str, Callable[[State, torch.Tensor], Any]] = {
    "a buffer": lambda s, mask: s | {"features.0.0.mask": mask},
    "a buffer of the weight": lambda s, mask: s | {f"{STEM}_mask": mask.bool()},
    "a dict": lambda s, mask: {"net": s, "masks": {STEM: mask}},
    "a dict by layers": lambda s, mask: {"net": s, "pruner": {"mask": {"features.0.0": mask}}},
    "a parametrization": lambda s, mask: (
        renamed(s, STEM, "features.0.0.parametrizations.weight.original")
        | {"features.0.0.parametrizations.weight.0.mask": mask}
    ),
}


@pytest.mark.parametrize("kind", MASKED)
def test_masks_of_other_tools_are_applied(tmp_path: Path, kind: str) -> None:
    expected, model = state(), build()
    mask = (torch.arange(expected[STEM].numel()) % 3 > 0).reshape(expected[STEM].shape).float()
    content = MASKED[kind](dict(expected), mask)
    notes = load_weights(model, write(tmp_path / "w.pt", content), NAME, tmp_path)
    assert "The file has masks; they were applied to its weights." in notes
    assert not any("Not loaded" in note for note in notes)
    assert same(model, expected | {STEM: expected[STEM] * mask})


def test_a_mask_that_is_no_mask_is_refused(tmp_path: Path) -> None:
    content = state() | {"features.0.0.mask": torch.full((16, 3, 3, 3), 0.5)}
    message = refusal(write(tmp_path / "w.pt", content), build(), tmp_path)
    assert "features.0.0.mask in w.pt has values other than 0 and 1" in message


def test_numbers_that_tools_write_into_layers_are_left_out(tmp_path: Path) -> None:
    expected, model = state(), build()
    counts = {f"features.0.0.{name}": torch.zeros(1) for name in ("total_ops", "total_params")}
    notes = load_weights(model, write(tmp_path / "w.pt", expected | counts), NAME, tmp_path)
    assert notes == ["Not loaded from w.pt: features.0.0.total_ops, features.0.0.total_params."]
    assert same(model, expected)


FLOATS = [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("dtype", FLOATS)
def test_other_precisions_are_converted_with_a_note(tmp_path: Path, dtype: torch.dtype) -> None:
    stored = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state().items()}
    model, name = build(), str(dtype).removeprefix("torch.")
    notes = load_weights(model, write(tmp_path / "w.pt", stored), NAME, tmp_path)
    assert notes == [f"Weights stored as {name} were converted to float32."]
    assert same(model, {key: value.to(model.state_dict()[key]) for key, value in stored.items()})


CONV, LINEAR = "features.1.block.0.0.weight", "classifier.0.weight"  # (16, 1, 3, 3), (1024, 576)
SPARSE: dict[str, Callable[[State], None]] = {
    "COO": lambda s: s.update({CONV: s[CONV].to_sparse(), LINEAR: s[LINEAR].to_sparse()}),
    "COO of half precision": lambda s: s.update({LINEAR: s[LINEAR].half().to_sparse()}),
    "CSR": lambda s: s.update({LINEAR: s[LINEAR].to_sparse_csr()}),
    "CSC": lambda s: s.update({LINEAR: s[LINEAR].to_sparse_csc()}),
    "BSR": lambda s: s.update({LINEAR: s[LINEAR].to_sparse_bsr((4, 4))}),
}


@pytest.mark.parametrize("layout", SPARSE)
def test_sparse_tensors_become_dense_with_a_note(tmp_path: Path, layout: str) -> None:
    expected, model = state(), build()
    for key in (CONV, LINEAR):
        expected[key] = (expected[key] * (torch.rand(expected[key].shape) > 0.5)).half().float()
    stored = dict(expected)
    SPARSE[layout](stored)
    notes = load_weights(model, write(tmp_path / "w.pt", stored), NAME, tmp_path)
    assert f"sparse ({layout[:3]}) became dense" in notes[0]
    assert same(model, expected)


def test_odd_strides_scalars_and_quantized_tensors_load(tmp_path: Path) -> None:
    expected, model = state(), build()
    expected["classifier.3.bias"] = torch.full((10,), 2.0)
    expected[LINEAR] = torch.quantize_per_tensor(expected[LINEAR], 0.01, 0, torch.qint8)
    counter = "features.0.1.num_batches_tracked"
    stored = {
        **expected,
        "classifier.3.bias": torch.full((1,), 2.0).expand(10),
        CONV: expected[CONV].permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        counter: expected[counter].reshape(1).int(),
    }
    notes = load_weights(model, write(tmp_path / "w.pt", stored), NAME, tmp_path)
    assert notes == ["1 quantized tensor was converted to float32 by its scale."]
    assert same(model, expected | {LINEAR: expected[LINEAR].dequantize()})


BIAS, VARIANCE, MEAN = "classifier.3.bias", "features.0.1.running_var", "features.0.1.running_mean"
UNUSABLE: dict[str, tuple[str, Callable[[torch.Tensor], Any], str]] = {
    "meta": (LINEAR, lambda x: x.to("meta"), "no values"),
    "nested": (LINEAR, lambda x: torch.nested.nested_tensor([x, x[:2]]), "nested"),
    "complex": (LINEAR, lambda x: x.to(torch.complex64), "complex numbers"),
    "float4": (
        LINEAR,
        lambda x: torch.zeros(1024, 576, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        "cannot be converted",
    ),
    "int8": (LINEAR, lambda x: (100 * x).to(torch.int8), "integers (int8)"),
    "scalar": (BIAS, lambda x: torch.tensor(1.0), "one number, the model needs 10"),
    "Python number": (BIAS, lambda x: 0.0, "of type float"),
    "NaN": (MEAN, lambda x: x.clone().fill_(math.nan), "16 values that are infinite or not num"),
    "infinite": (LINEAR, lambda x: x / 0, "infinite"),
    "overflow": (BIAS, lambda x: x.double() + 1e300, "infinite"),
    "negative variance": (VARIANCE, lambda x: x - 2, "a negative variance (-1)"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_tensor_that_cannot_be_used_is_named(tmp_path: Path, kind: str) -> None:
    key, change, words = UNUSABLE[kind]
    stored: dict[str, Any] = state()
    stored[key] = change(stored[key])
    message = refusal(write(tmp_path / "w.pt", stored), build(), tmp_path)
    assert key in message
    assert words in message


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
    assert notes[0] == "Not loaded from w.pt: aux1 (10 tensors), aux2 (10 tensors)."
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


HUGE = (10**9, 10**9)
CRAFTED: dict[str, Callable[[State], Any]] = {
    "strides of 0": lambda s: s | {LINEAR: torch.zeros(1).expand(10**6, 10**6)},
    "a sparse tensor": lambda s: s | {LINEAR: empty_sparse(HUGE)},
    "a huge mask": lambda s: (
        s | {f"{LINEAR}_orig": s.pop(LINEAR), f"{LINEAR}_mask": torch.zeros(1).expand(HUGE)}
    ),
    "many names of one layer": lambda s: {f"{i}.{LINEAR}": s[LINEAR] for i in range(5_000)},
}


def empty_sparse(shape: tuple[int, int]) -> torch.Tensor:
    return torch.sparse_coo_tensor(torch.zeros(2, 0, dtype=torch.int64), [], shape)


@pytest.mark.parametrize("kind", CRAFTED)
def test_a_small_file_that_claims_much_is_refused(tmp_path: Path, kind: str) -> None:
    message = refusal(write(tmp_path / "w.pt", CRAFTED[kind](state())), build(), tmp_path)
    assert f"do not fit {NAME}" in message


def test_huge_tensors_and_shared_dicts_beside_the_network_cost_nothing(tmp_path: Path) -> None:
    expected, model, shared = state(), build(), dict[str, Any]()
    for _ in range(60):
        shared = {"a": shared, "b": shared}
    content = {"net": expected, "other": empty_sparse(HUGE), "config": shared}
    notes = load_weights(model, write(tmp_path / "w.pt", content), NAME, tmp_path)
    assert notes[1:] == ["Not loaded from w.pt: other."]
    assert same(model, expected)


def test_a_zip_that_would_expand_is_refused_before_it_is_read(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data/1", bytes(3 * 10**7))
    message = refusal(str(tmp_path / "w.pt"), build(), tmp_path)
    assert "would unpack from" in message
    assert "30.0 MB" in message


class Settings(dict[str, Any]):
    """A class of dicts, as many tools keep their settings in."""


WHOLE: dict[str, Callable[[nn.Module], Any]] = {
    "a model": lambda model: model,
    "a dict with a copy": lambda model: {"model": model, "ema": build().half(), "epoch": 1},
    "arrays": lambda model: {k: v.numpy() for k, v in model.state_dict().items()},
    "a class of dicts": lambda model: {"net": Settings(model.state_dict()), "args": Settings(a=1)},
    "names as bytes": lambda model: {k.encode(): v for k, v in model.state_dict().items()},
    "functions": lambda model: {"net": model.state_dict(), "best": [min, torch.lt, getattr, ...]},
}


@pytest.mark.parametrize("kind", WHOLE)
def test_tensors_among_python_objects_are_read(tmp_path: Path, kind: str) -> None:
    expected, model, source = state(), build(), build()
    source.load_state_dict(expected)
    notes = load_weights(model, write(tmp_path / "w.pt", WHOLE[kind](source)), NAME, tmp_path)
    assert same(model, expected)
    whole = "w.pt holds a whole model: its tensors were read, its code was not run."
    assert (whole in notes) == (kind in ("a model", "a dict with a copy"))


class Runs:
    """Unpickling it would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (str(self.path), "w"))


def test_a_pickle_that_needs_code_is_refused_and_not_run(tmp_path: Path) -> None:
    for suffix, value in itertools.product(
        (".pt", ".ckpt"), (Runs(tmp_path / "ran"), argparse.Namespace(a=1))
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
OTHERS = {
    "is empty": b"",
    "is a web page": b"<!DOCTYPE html><html>",
    "git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
    "is JSON": b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
    "compressed with gzip": b"\x1f\x8b\x08",
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_weights_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(BROKEN[name])
    assert name in refusal(str(tmp_path / name), build(), tmp_path)


@pytest.mark.parametrize("reason", OTHERS)
def test_files_of_other_kinds_are_named(tmp_path: Path, reason: str) -> None:
    (tmp_path / "w.pth").write_bytes(OTHERS[reason])
    assert reason in refusal(str(tmp_path / "w.pth"), build(), tmp_path)


@pytest.mark.parametrize("value", [{}, [1, 2], {"epoch": 3}, {"state_dict": {"a": "b"}}])
def test_torch_files_without_tensors_are_refused(tmp_path: Path, value: Any) -> None:
    assert "w.pt" in refusal(write(tmp_path / "w.pt", value), build(), tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "there is no file" in refusal(str(tmp_path / "w.pt"), build(), tmp_path)
    assert "is an address" in refusal("https://example.org/w.pt", build(), tmp_path)
    os.mkfifo(tmp_path / "pipe.pt")
    assert "no regular file" in refusal(str(tmp_path / "pipe.pt"), build(), tmp_path)


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256(tmp_path / "f") == hashlib.sha256(b"abc").hexdigest()


@pytest.mark.skipif(not CHECKPOINT.exists(), reason="the shared checkpoint is not here")
def test_the_shared_checkpoint_loads(tmp_path: Path) -> None:
    model = models.build({"name": "mobilenet_v2", "width": 1.0, "stem_stride": 1}, 10, 32)
    assert load_weights(model, str(CHECKPOINT), "mobilenet_v2", tmp_path) == []

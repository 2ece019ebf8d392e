"""Files of a finished model: the same scores from each, opened by other libraries."""

from __future__ import annotations

import ast
import base64
import io
import json
import lzma
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from pruning_core.common.statistics import bits
from pruning_core.engine.export import sparse_loader
from pruning_core.engine.export.bn_folding import fold_model, folded_state
from pruning_core.engine.export.file_writer import FileWriter
from pruning_core.engine.export.sparse_file import save
from pruning_core.engine.export.stage import comparison_images, finished_model, largest_difference
from pruning_core.engine.export.tensor_files import (
    byte_shuffle,
    byte_unshuffle,
    quantize,
    to_float16,
    to_int8,
)
from pruning_core.engine.models.build import make
from pruning_core.engine.stage_inputs import MODEL_FILE
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.plan import plan
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_context import StageError
from pruning_core.storage.store import Store
from tests.helpers.workers import ONE_CUT, finished_run, serve

Exported = tuple[Store, str]
NOTE = "Kept in float32, because float16 cannot hold the values:"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A pruned model and its file in each format that this machine can write."""
    cache = finished_run(tmp_path_factory.mktemp("exported"))
    queue, store = Queue(cache.queue), Store(cache)
    model = plan(ONE_CUT, store).models[-1].key
    queue.add([export_stage(model, name) for name in FILE_FORMATS])
    serve(cache, STAGE_KINDS)
    return store, model


def result(exported: Exported, name: str) -> tuple[Path, dict[str, Any]]:
    """The file in a format, and the result of its stage."""
    store, model = exported
    key = export_stage(model, name).key
    if (package := FILE_FORMATS[name].package) and not store.exists(key):
        pytest.importorskip(package)
    facts = store.read(key)
    return store.file(key, facts["file"]), facts


def images(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_each_format_has_a_writer(name: str) -> None:
    assert isinstance(FILE_FORMATS.load(name)(), FileWriter)


@pytest.mark.parametrize("name", FILE_FORMATS)
def test_each_file_is_measured(exported: Exported, name: str) -> None:
    path, facts = result(exported, name)
    assert facts["bytes"] == path.stat().st_size
    assert facts["test_images"] == 100
    assert facts["accuracy"] == facts["right"] / 100
    store, model = exported
    validation = base64.b64decode(facts["validation_correct"])
    right = bits(validation, facts["validation_images"])
    assert right.mean() == pytest.approx(facts["validation_accuracy"])
    if FILE_FORMATS[name].exact:
        assert facts["accuracy"] == pytest.approx(store.read(model)["accuracy"], abs=0.0101)
        assert facts["difference"] < 1e-2


def test_the_exact_sparse_file_is_that_of_the_model(exported: Exported) -> None:
    path, _ = result(exported, "bitmask_fp32")
    store, model = exported
    assert path.read_bytes() == store.file(model, MODEL_FILE).read_bytes()


def test_each_format_is_smaller_than_the_one_before(exported: Exported) -> None:
    names = ("state_dict", "zlib", "bitmask_fp32", "bitmask_fp16", "bitmask_int8")
    sizes = [result(exported, name)[1]["bytes"] for name in names]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["bitmask_fp32", "bitmask_fp16", "bitmask_int8"])
def test_a_sparse_file_is_near_its_order0_entropy(exported: Exported, name: str) -> None:
    _, facts = result(exported, name)
    assert facts["bytes"] < 1.1 * sum(facts["order0_entropy"].values())


def test_onnx_runtime_opens_the_onnx_files(exported: Exported) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    for name in ("onnx", "onnx_int8"):
        path, _ = result(exported, name)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for count in (1, 3):
            (scores,) = session.run(["scores"], {"images": images(count).numpy()})
            assert scores.shape == (count, 10)


def test_torch_opens_its_files(exported: Exported) -> None:
    program, _ = result(exported, "torch_export")
    state, _ = result(exported, "state_dict")
    model = make("mobilenet_v2", 10, 0.35)
    model.load_state_dict(torch.load(state, weights_only=True))
    model.eval()
    with torch.no_grad():
        expected = model(images())
        scores = torch.export.load(program).module()(images())
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_executorch_opens_its_file(exported: Exported) -> None:
    pytest.importorskip("executorch", reason="executorch, an extra, is not installed")
    from executorch.runtime import Runtime

    path, _ = result(exported, "executorch")
    method = Runtime.get().load_program(path).load_method("forward")
    assert method.execute([images(1)])[0].shape == (1, 10)


@pytest.mark.parametrize(("name", "unpack"), [("zlib", zlib.decompress), ("lzma", lzma.decompress)])
def test_safetensors_opens_the_compressed_files(
    exported: Exported, name: str, unpack: object
) -> None:
    path, _ = result(exported, name)
    tensors = safetensors.torch.load(unpack(path.read_bytes()))  # type: ignore[operator]
    assert tensors["features.0.0.weight"].shape[0] == 4


@pytest.mark.parametrize("name", ["bitmask_fp32", "bitmask_fp16", "bitmask_int8"])
def test_safetensors_opens_what_is_in_a_sparse_file(exported: Exported, name: str) -> None:
    path, _ = result(exported, name)
    body, blob = path.read_bytes()[52:], io.BytesIO()
    while body:
        size = int.from_bytes(body[:4], "little")
        blob.write(zlib.decompress(body[4 : 4 + size]))
        body = body[4 + size :]
    assert "mask" in safetensors.torch.load(blob.getvalue())


def test_a_model_loads_what_the_sparse_loader_returns(exported: Exported) -> None:
    model = make("mobilenet_v2", 10, 0.35)
    for name in ("bitmask_fp32", "bitmask_fp16", "bitmask_int8"):
        path, facts = result(exported, name)
        model.load_state_dict(sparse_loader.weights(path))
        source, splits, data = finished_model(*exported)
        images = comparison_images(splits, data)
        with torch.no_grad():
            difference = (model.eval()(images) - source.model(images)).abs().max()
        assert float(difference) == pytest.approx(facts["difference"], abs=1e-4)


def test_a_file_with_other_scores_is_not_offered() -> None:
    model = nn.Linear(3, 2)
    batch = torch.randn(4, 3)
    with pytest.raises(StageError, match="differ from PyTorch's"):
        largest_difference(model, lambda x: model(x) + 0.1, batch, exact=True)
    assert largest_difference(model, lambda x: model(x) + 0.1, batch, exact=False) > 0
    with pytest.raises(StageError, match="not finite"):
        largest_difference(model, lambda x: model(x) * float("nan"), batch, exact=False)


def test_int8_has_a_scale_for_each_output_channel(exported: Exported) -> None:
    onnx = pytest.importorskip("onnx")
    path, _ = result(exported, "onnx_int8")
    graph = onnx.load(path).graph
    lengths = [list(t.dims) for t in graph.initializer if t.name.endswith("_scale")]
    assert [1280] in lengths or max(dims[0] for dims in lengths if dims) > 100


def test_the_loader_needs_only_torch_and_safetensors() -> None:
    tree = ast.parse(Path(sparse_loader.__file__).read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    modules = {
        (n.module or "") if isinstance(n, ast.ImportFrom) else a.name
        for n in imports
        for a in n.names
    }
    others = {m.partition(".")[0] for m in modules} - sys.stdlib_module_names
    assert others == {"torch", "safetensors"}


def test_a_scale_that_fits_no_weight_is_refused(tmp_path: Path) -> None:
    for scales in ({"x.int8_scale": torch.ones(2)}, {"w.int8_scale": torch.ones(3)}):
        path = tmp_path / "odd.sparse"
        save({"w": torch.ones(2, 2, dtype=torch.int8), **scales}, path)
        with pytest.raises(sparse_loader.SparseFileError, match="fits no weight"):
            sparse_loader.weights(path)


def test_byte_shuffling_is_lossless() -> None:
    state = {
        "a": torch.randn(3, 5),
        "b": torch.arange(4),
        "empty": torch.zeros(0, 2),
        "c": torch.tensor(True),
        "d": torch.tensor(1.5, dtype=torch.float16),
    }
    state = sparse_loader.with_versions(state, {"module": 2})
    restored = byte_unshuffle(byte_shuffle(state))
    assert sparse_loader.versions_of(restored) == {"module": 2}
    assert all(torch.equal(restored[name], state[name]) for name in state)
    assert all(restored[name].dtype == state[name].dtype for name in state)


def trained_norms(model: nn.Module) -> nn.Module:
    """The model with batch norms whose statistics and weights differ from the initial ones."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_var is not None
            assert module.running_mean is not None
            for value in (module.weight, module.running_var):
                value.data = torch.rand(value.shape, generator=generator) + 0.5
            for value in (module.bias, module.running_mean):
                value.data = torch.randn(value.shape, generator=generator)
    return model.eval()


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18", "vgg11_bn", "vit_b_32"])
def test_folding_changes_no_score(name: str) -> None:
    torch.manual_seed(0)
    model = trained_norms(make(name, 10, image_size=32))
    folded = fold_model(model, images())
    remaining = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    with torch.no_grad():
        expected = model(images())
        torch.testing.assert_close(folded(images()), expected, rtol=1e-3, atol=1e-3)
        loaded = make(name, 10, image_size=32)
        loaded.load_state_dict(folded_state(model, images()))
        torch.testing.assert_close(loaded.eval()(images()), expected, rtol=1e-3, atol=1e-3)
    assert not remaining


def test_a_constant_channel_becomes_a_bias() -> None:
    norm = nn.BatchNorm2d(2)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    model = nn.Sequential(nn.Conv2d(3, 2, 1), norm).eval()
    norm.running_var[:] = torch.tensor([1e-12, 1.0])
    norm.running_mean[:] = 5.0
    norm.bias.data[:] = 3.0
    state = folded_state(model, images())
    assert torch.equal(state["0.weight"][0], torch.zeros(3, 1, 1))
    assert state["1.bias"][0] == 3.0
    assert state["0.weight"][1].abs().sum() > 0


def test_int8_values_and_scales_per_channel() -> None:
    weight = torch.tensor([[1.27, 0.0, -0.64], [0.0, 0.0, 0.0], [0.0, -254.0, 2.0]])
    values, scales = quantize(weight)
    assert values.tolist() == [[127, 0, -64], [0, 0, 0], [0, -127, 1]]
    assert scales.tolist() == pytest.approx([0.01, 0.0, 2.0], rel=1e-3)


def test_scales_too_small_for_float16_stay_in_float32() -> None:
    values, scales = quantize(torch.full((1, 2), 1e-9))
    assert scales.dtype == torch.float32
    assert values.tolist() == [[127, 127]]


def test_a_changed_sparse_file_is_refused(exported: Exported, tmp_path: Path) -> None:
    path, _ = result(exported, "bitmask_int8")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = tmp_path / "damaged"
    damaged.write_bytes(data)
    with pytest.raises(sparse_loader.SparseFileError, match="damaged"):
        sparse_loader.weights(damaged)


def test_a_missing_package_is_named(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    store, model = exported
    monkeypatch.setattr("pruning_core.engine.export.stage.find_spec", lambda name: None)
    stage = export_stage(model, "executorch", threads=2)
    queue = Queue(store.cache.queue)
    queue.add([stage])
    serve(store.cache)
    row = queue.stage(stage.key)
    assert row is not None
    assert "pip install executorch" in row.error


def test_tensors_out_of_the_range_of_float16_stay_in_float32(exported: Exported) -> None:
    """In int8 files the note leaves out layer weights, which are quantized."""
    source, _, _ = finished_model(*exported)
    state = source.model.state_dict()
    state["classifier.1.weight"][0, 0] = 1e6
    state["classifier.1.bias"][0] = 1e6
    source.model.load_state_dict(state)
    halves, notes = to_float16(source)
    assert halves["classifier.1.weight"].dtype == torch.float32
    assert halves["features.0.0.weight"].dtype == torch.float16
    assert notes == [f"{NOTE} classifier.1.bias, classifier.1.weight."]
    quantized, notes = to_int8(source)
    assert quantized["classifier.1.weight"].dtype == torch.int8
    assert notes == [f"{NOTE} classifier.1.bias."]


def test_the_settings_of_an_export_are_json() -> None:
    assert json.dumps(export_stage("0" * 64, "onnx_int8").settings)

"""Whole comparisons, run in this process: exact counts, nested masks, files as measured."""

from __future__ import annotations

import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.export import sparse_file
from pruning_core.engine.masks import masks
from pruning_core.engine.models.build import build
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE
from pruning_core.engine.stages import OPTIMIZER_FILE
from pruning_core.methods.layers import LAYER_CHOICES, Layer
from pruning_core.planning.inspections import inspect_model
from pruning_core.planning.model_types import BaselineResult
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import outline, read_result
from pruning_core.results.models import results_frame
from pruning_core.settings.data import ModelSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.stages import run_here
from tests.helpers.workers import TINY

SHARED_SCHEDULE = replace(
    TINY,
    lr_schedule_span="pruning",
    pruning=PruningSpec(allocation="global", layers="core"),
    baseline_epochs=1,
    one_shot=replace(TINY.one_shot, amounts=(0.0,)),
)

SPEC = replace(TINY, baseline_replicas=2, baseline_epochs=1)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("stages"))
    cache.prepare()
    for spec in (SPEC, SHARED_SCHEDULE):
        run_here(cache, spec)
    return cache


def sizes(cache: Cache, spec: Spec) -> list[int]:
    facts = Store(cache).read(inspect_model(spec, 10).key)
    layers = [Layer(**layer) for layer in facts["layers"]]
    return [layer.size for layer in layers if LAYER_CHOICES[spec.pruning.layers].includes(layer)]


@pytest.mark.parametrize("spec", [SPEC, SHARED_SCHEDULE], ids=["uniform", "global"])
def test_exactly_the_target_number_of_weights_is_zero(ran: Cache, spec: Spec) -> None:
    layers = sizes(ran, spec)
    store = Store(ran)
    for model in plan(spec, store).models[1:]:
        result = store.read(model.key)
        by_layer = [round(model.target * size) for size in layers]
        expected = (
            sum(by_layer)
            if spec.pruning.allocation == "uniform"
            else round(model.target * sum(layers))
        )
        assert result["prunable"] == sum(layers)
        assert result["prunable_zeros"] == expected


@pytest.mark.parametrize("spec", [SPEC, SHARED_SCHEDULE], ids=["uniform", "global"])
def test_iterative_pruning_only_removes_more_weights(ran: Cache, spec: Spec) -> None:
    store = Store(ran)
    steps = [p.key for p in plan(spec, store).models if p.strategy == "iterative"]
    first, second = (masks.load(store.file(key, MASK_FILE)) for key in steps)
    assert first.keys() == second.keys()
    for name, kept in second.items():
        assert not bool((kept & ~first[name]).any())


def test_the_published_file_is_the_model_that_was_measured(ran: Cache) -> None:
    store = Store(ran)
    for planned in plan(SPEC, store).models:
        result, path = store.read(planned.key), store.file(planned.key, MODEL_FILE)
        state = sparse_file.load(path)
        model = build({"name": "mobilenet_v2", "width": 0.35, "stem_stride": 2}, 10, 32)
        model.load_state_dict(state)
        nonzero = sum(int(torch.count_nonzero(p)) for p in model.parameters())
        assert result["sparse_bytes"] == path.stat().st_size
        assert result["nonzero"] == nonzero
        assert result["parameters"] == sum(p.numel() for p in model.parameters())


def test_only_a_shared_learning_rate_schedule_keeps_the_optimizer(ran: Cache) -> None:
    store = Store(ran)

    def kept(spec: Spec, strategy: str) -> list[bool]:
        keys = [p.key for p in plan(spec, store).models if p.strategy == strategy]
        return [(store.folder(key) / OPTIMIZER_FILE).is_file() for key in keys]

    assert kept(SPEC, "iterative") == [False, False]
    assert kept(SHARED_SCHEDULE, "iterative") == [True, False]


def test_epochs_of_iterative_pruning_add_up(ran: Cache) -> None:
    store = Store(ran)
    frame = results_frame(outline(plan(SHARED_SCHEDULE, store)), store)
    assert list(frame[frame.strategy == "iterative"].epochs) == [1, 2]
    assert list(frame[frame.strategy == "one_shot_equal_budget"].epochs) == [2]


def test_correct_images_add_up_to_the_accuracy(ran: Cache) -> None:
    store = Store(ran)
    digests = set()
    for planned in plan(SPEC, store).models:
        result = store.read(planned.key)
        bits = np.unpackbits(np.frombuffer(base64.b64decode(result["correct"]), np.uint8))
        assert int(bits[:100].sum()) == result["right"]
        assert result["accuracy"] == result["right"] / 100
        assert result["accuracy_low"] < result["accuracy"] < result["accuracy_high"]
        digests.add(result["test_digest"])
    assert len(digests) == 1


def test_a_result_names_its_environment(ran: Cache) -> None:
    store = Store(ran)
    for planned in plan(SPEC, store).models:
        result = store.read(planned.key)
        assert result["versions"]["torch"] == torch.__version__.split("+")[0]
        assert result["device"] == "cpu"
        assert result["replicas"] == (2 if planned.strategy == "baseline" else 1)
        assert len(result["history"]) == result["epochs"]


def test_no_temporary_file_is_left(ran: Cache) -> None:
    remaining = [*ran.building.iterdir(), *ran.checkpoint("x").parent.iterdir()]
    assert remaining == []
    assert not list(Path(ran.root).rglob("*.dense"))


@pytest.mark.parametrize("epochs", [0, 1])
def test_a_checkpoint_near_chance_says_the_likely_reasons(
    cache: Cache, tmp_path: Path, epochs: int
) -> None:
    """With and without training a note tells the order that its outputs must follow."""
    path = tmp_path / "w.pth"
    torch.manual_seed(0)
    torch.save(
        build({"name": "mobilenet_v2", "width": 0.1, "stem_stride": 2}, 10, 32).state_dict(), path
    )
    spec = replace(
        TINY,
        model=ModelSpec(width=0.1, weights=str(path)),
        baseline_epochs=epochs,
        one_shot=OneShotSpec((0.5,), 0),
        iterative=IterativeSpec(enabled=False),
    )
    run_here(cache, spec)
    store = Store(cache)
    baseline = read_result(store, plan(spec, store).models[0].key, BaselineResult)
    order, *reasons = baseline.notes
    assert order.startswith("Order of the classes: 0 = 0, 1 = 1, ")
    assert order.endswith("9 = 9. The outputs of the checkpoint must follow it.")
    assert [note.startswith("Without training, the checkpoint classifies") for note in reasons] == [
        True
    ][epochs:]
    assert all("its classes have another order" in note for note in reasons)
    assert baseline.chance == 3 / 24, "of the 24 validation images"


def test_a_checkpoint_with_outputs_that_are_not_finite_is_refused_with_the_reason(
    cache: Cache, tmp_path: Path
) -> None:
    """All of its values are finite, and nothing was trained, so no training diverged."""
    path = tmp_path / "large.pth"
    model = build({"name": "mobilenet_v2", "width": 0.1, "stem_stride": 2}, 10, 32)
    with torch.no_grad():
        weight = model.get_parameter("classifier.1.weight")
        weight.copy_(weight.sign() * 3e38)
        model.get_parameter("features.18.1.bias").fill_(6.0)
    torch.save(model.state_dict(), path)
    model_spec = ModelSpec(width=0.1, weights=str(path))
    spec = replace(TINY, model=model_spec, baseline_epochs=0, one_shot=OneShotSpec((0.5,), 0))
    run_here(cache, spec)
    row = Queue(cache.queue).stage(plan(spec, Store(cache)).models[0].key)
    assert row is not None
    assert row.status == "failed"
    assert "The loss is not finite, without any training: with these weights, the outputs of" in (
        row.error or ""
    )

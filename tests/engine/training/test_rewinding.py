"""Recovery methods in real stages: the bits that training starts from, also after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pruning_core.common.paths import Cache
from pruning_core.engine import stage_training, stages
from pruning_core.engine.export import sparse_file
from pruning_core.engine.export.file_sizes import same_bits
from pruning_core.engine.masks import masks
from pruning_core.engine.models.build import build
from pruning_core.engine.models.layers import weights
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training import train as training
from pruning_core.engine.training.loss import Objective
from pruning_core.engine.training.rewinding import KEPT_FILE
from pruning_core.engine.training.train import derived_seed
from pruning_core.planning.plan import plan
from pruning_core.planning.pruned import LOADED_WEIGHTS_NOTE
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.pruning import masks_of
from tests.helpers.stages import run_here
from tests.helpers.workers import TINY, bits

State = dict[str, Tensor]
MODEL = {"name": "mobilenet_v2", "width": 0.35, "stem_stride": 2}


def spec_of(method: str, epoch: int = 0, epochs: int = 0, **more: Any) -> Spec:
    """One-shot pruning and two iterative steps, with `epochs` of training after each."""
    return replace(
        TINY,
        recovery=RecoverySpec(method=method, rewind_epoch=epoch),
        one_shot=OneShotSpec(amounts=(0.5,), epochs=epochs),
        iterative=IterativeSpec(target=0.8, iterations=2, epochs=epochs, equal_budget=False),
        **more,
    )


NO_ITERATIVE = IterativeSpec(enabled=False)
TICKET = spec_of("weight_rewinding")
TRAINED = spec_of("weight_rewinding", epoch=1, epochs=1)
REINITIALIZED = spec_of("random_reinit")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("recover"))
    cache.prepare()
    for spec in (TICKET, TRAINED, REINITIALIZED):
        run_here(cache, spec)
    return cache


def pruned_keys(cache: Cache, spec: Spec) -> list[str]:
    """The keys of the one-shot model and of the two iterative ones."""
    return [p.key for p in plan(spec, Store(cache)).models if p.strategy != "baseline"]


def baseline(cache: Cache, spec: Spec) -> str:
    return plan(spec, Store(cache)).models[0].key


def read(cache: Cache, key: str, name: str = MODEL_FILE) -> State:
    return sparse_file.load(Store(cache).file(key, name))


def initial(seed: int) -> State:
    torch.manual_seed(seed)
    return build(MODEL, 10, 32).state_dict()


def assert_starts_from(actual: State, expected: State, masks_of_weights: State) -> None:
    """Every value that is not pruned has the expected bits, and every pruned one is zero."""
    assert actual.keys() == expected.keys()
    for name, value in actual.items():
        stays = masks_of_weights.get(name, torch.ones_like(value, dtype=torch.bool))
        assert same_bits(value[stays], expected[name][stays]), name
        assert not bool(torch.count_nonzero(value[~stays]))
        assert not bool(torch.signbit(value[~stays]).any())


def test_rewinding_to_epoch_0_restores_the_initial_bits(ran: Cache) -> None:
    """Of weights, biases and batch norm, in one-shot and in iterative pruning."""
    expected = initial(derived_seed(0, "weights"))
    trained = read(ran, baseline(ran, TICKET))
    assert not same_bits(trained["classifier.1.weight"], expected["classifier.1.weight"])
    for key in pruned_keys(ran, TICKET):
        kept = read(ran, key, MASK_FILE)
        assert sum(int((~mask).sum()) for mask in kept.values()) > 100_000
        assert_starts_from(read(ran, key), expected, kept)


def test_a_step_prunes_the_trained_weights_of_its_parent(ran: Cache) -> None:
    store = Store(ran)
    first, second = pruned_keys(ran, TRAINED)[1:]
    previous = None
    for key, parent in ((first, baseline(ran, TRAINED)), (second, first)):
        target = float(store.settings(key)["settings"]["target"])
        model = build(MODEL, 10, 32)
        model.load_state_dict(read(ran, parent))
        expected = masks_of(weights(model, "all"), target, previous=previous)
        actual = masks.load(store.file(key, MASK_FILE))
        assert all(torch.equal(actual[name], mask) for name, mask in expected.items())
        previous = actual


def test_random_reinitialization_draws_new_weights_for_each_step(ran: Cache) -> None:
    store, first_values = Store(ran), []
    for key in pruned_keys(ran, REINITIALIZED):
        target = store.settings(key)["settings"]["target"]
        expected = initial(derived_seed(0, "new weights", target))
        assert_starts_from(read(ran, key), expected, read(ran, key, MASK_FILE))
        first_values.append(expected["features.0.0.weight"].flatten()[0].item())
    start = initial(derived_seed(0, "weights"))["features.0.0.weight"].flatten()[0].item()
    assert len({*first_values, start}) == 4


def test_only_batch_norm_biases_and_the_classifier_are_trained(cache: Cache) -> None:
    spec = replace(
        spec_of("norms_biases_classifier", epochs=1),
        iterative=IterativeSpec(target=0.8, iterations=2, epochs=1, final_epochs=1),
    )
    run_here(cache, spec)
    dense = read(cache, baseline(cache, spec))
    prunable = set(weights(build(MODEL, 10, 32), "all")) - {"classifier.1.weight"}
    for key in pruned_keys(cache, spec):
        state, kept = read(cache, key), read(cache, key, MASK_FILE)
        assert Store(cache).read(key)["history"], "it was trained"
        for name, value in state.items():
            same = torch.equal(value, dense[name] * kept.get(name, torch.ones_like(value)))
            counter = name.endswith("num_batches_tracked")
            assert same == (name in prunable) or counter, name


def test_weights_are_kept_only_for_weight_rewinding(ran: Cache) -> None:
    store = Store(ran)
    assert (store.folder(baseline(ran, TICKET)) / KEPT_FILE).is_file()
    assert not (store.folder(baseline(ran, REINITIALIZED)) / KEPT_FILE).exists()
    assert not (store.folder(pruned_keys(ran, TICKET)[0]) / KEPT_FILE).exists()


def test_loaded_weights_are_epoch_0_with_a_note(cache: Cache, tmp_path: Path) -> None:
    loaded = initial(77)
    path = tmp_path / "mine.safetensors"
    save_file({name: value.contiguous() for name, value in loaded.items()}, path)
    model = replace(TINY.model, weights=str(path))
    spec = replace(
        spec_of("weight_rewinding", model=model, baseline_epochs=1), iterative=NO_ITERATIVE
    )
    run_here(cache, spec)
    for key in pruned_keys(cache, spec):
        assert_starts_from(read(cache, key), loaded, read(cache, key, MASK_FILE))
        assert LOADED_WEIGHTS_NOTE in Store(cache).read(key)["notes"]


def test_an_interrupted_baseline_keeps_the_same_bits(
    ran: Cache, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails in its last epoch and continues from its checkpoint, with the kept weights."""
    spec = replace(spec_of("weight_rewinding", epoch=1, baseline_epochs=3), iterative=NO_ITERATIVE)
    steps, original = [0], training.update

    def failing(*arguments: Any) -> None:
        steps[0] += 1
        if steps[0] == 18:  # seven steps per epoch
            raise RuntimeError("the power failed")
        original(*arguments)

    states: list[State] = []
    save = checkpoint.save

    def recording(path: Path, state: dict[str, Any]) -> None:
        states.append(state["model"])
        save(path, state)

    monkeypatch.setattr(checkpoint, "save", recording)
    monkeypatch.setattr(training, "update", failing)
    run_here(cache, spec)
    key = baseline(cache, spec)
    assert not Store(cache).exists(key)
    actual = checkpoint.load(cache.checkpoint(key))
    assert actual is not None
    assert len(actual["history"]) == 2
    queue = Queue(cache.queue)
    queue.retry(queue.jobs()[0].id)
    run_here(cache, spec)
    assert steps[0] == 18 + 7  # the stage continued; a stage without its file would start again
    kept = read(cache, key, KEPT_FILE)
    assert all(same_bits(kept[name], value.contiguous()) for name, value in states[0].items())
    assert not same_bits(kept["classifier.1.weight"], states[1]["classifier.1.weight"])
    monkeypatch.undo()
    run_here(ran, spec)
    assert bits(cache, spec) == bits(ran, spec)


def test_the_teacher_is_the_baseline_in_every_iterative_step(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers: list[tuple[Any, ...]] = []

    def recording(*arguments: Any) -> Objective:
        teachers.append(arguments)
        return Objective(*arguments)

    monkeypatch.setattr(stages, "Objective", recording)
    monkeypatch.setattr(stage_training, "Objective", recording)
    finetune = replace(TINY.finetune, label_smoothing=0.1)
    distilled = RecoverySpec(distillation_weight=0.5, distillation_temperature=3.0)
    spec = replace(spec_of("fine_tuning", epochs=1), recovery=distilled, finetune=finetune)
    spec = replace(spec, one_shot=OneShotSpec(amounts=()))
    run_here(cache, spec)
    expected = read(cache, baseline(cache, spec))
    assert teachers.pop(0) == (0.0,), "the baseline has no teacher"
    assert len(teachers) == 2
    for smoothing, teacher, weight, temperature in teachers:
        assert (smoothing, weight, temperature) == (0.1, 0.5, 3.0)
        assert not any(module.training for module in teacher.modules())
        state = teacher.state_dict()
        assert all(same_bits(state[name], value) for name, value in expected.items())

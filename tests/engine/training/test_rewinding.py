"""Ways to recover, through real stages: which bits a level begins with, and after a kill."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pruning_core.common.paths import Cache
from pruning_core.engine import stages
from pruning_core.engine.export import sparse_file
from pruning_core.engine.export.file_sizes import same_bits
from pruning_core.engine.masks import masks
from pruning_core.engine.models.build import build
from pruning_core.engine.models.layers import weights
from pruning_core.engine.stage_inputs import MASK_FILE, MODEL_FILE
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training import train as training
from pruning_core.engine.training.rewinding import KEPT_FILE, RECOVERIES
from pruning_core.engine.training.train import derived_seed
from pruning_core.methods.recovery import IN_WORDS
from pruning_core.methods.recovery import RECOVERY_METHODS as NAMES
from pruning_core.planning.plan import plan
from pruning_core.planning.pruned import LOADED
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
    """A one-shot cut and a chain of two that train for so many epochs after each cut."""
    return replace(
        TINY,
        recovery=RecoverySpec(method, epoch),
        one_shot=OneShotSpec(amounts=(0.5,), epochs=epochs),
        iterative=IterativeSpec(target=0.8, iterations=2, epochs=epochs, equal_budget=False),
        **more,
    )


NO_CHAIN = IterativeSpec(enabled=False)
TICKET = spec_of("weight_rewinding")
TRAINED = spec_of("weight_rewinding", epoch=1, epochs=1)
DRAWN = spec_of("random_reinit")


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("recover"))
    cache.prepare()
    for spec in (TICKET, TRAINED, DRAWN):
        run_here(cache, spec)
    return cache


def levels(cache: Cache, spec: Spec) -> list[str]:
    """The keys of the one-shot cut and of the two of the chain."""
    return [p.key for p in plan(spec, Store(cache)).models if p.strategy != "baseline"]


def baseline(cache: Cache, spec: Spec) -> str:
    return plan(spec, Store(cache)).models[0].key


def read(cache: Cache, key: str, name: str = MODEL_FILE) -> State:
    return sparse_file.load(Store(cache).file(key, name))


def initial(seed: int) -> State:
    torch.manual_seed(seed)
    return build(MODEL, 10, 32).state_dict()


def assert_begins_with(found: State, wanted: State, kept: State) -> None:
    """Every value that no mask has removed has the wanted bits, and every other is zero."""
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        stays = kept.get(name, torch.ones_like(value, dtype=torch.bool))
        assert same_bits(value[stays], wanted[name][stays]), name
        assert not bool(torch.count_nonzero(value[~stays]))
        assert not bool(torch.signbit(value[~stays]).any())


def test_the_registry_holds_what_a_spec_may_name() -> None:
    assert set(RECOVERIES) == set(NAMES) == set(IN_WORDS)


def test_rewinding_to_epoch_0_restores_the_initial_bits(ran: Cache) -> None:
    """Of weights, biases and batch norm, in a cut of the baseline and along a chain."""
    wanted = initial(derived_seed(0, "weights"))
    trained = read(ran, baseline(ran, TICKET))
    assert not same_bits(trained["classifier.1.weight"], wanted["classifier.1.weight"])
    for key in levels(ran, TICKET):
        kept = read(ran, key, MASK_FILE)
        assert sum(int((~mask).sum()) for mask in kept.values()) > 100_000
        assert_begins_with(read(ran, key), wanted, kept)


def test_a_level_cuts_its_parent_s_trained_weights_and_masks_add_up(ran: Cache) -> None:
    store = Store(ran)
    first, second = levels(ran, TRAINED)[1:]
    previous = None
    for key, parent in ((first, baseline(ran, TRAINED)), (second, first)):
        target = float(store.settings(key)["settings"]["target"])
        model = build(MODEL, 10, 32)
        model.load_state_dict(read(ran, parent))
        expected = masks_of(weights(model, "all"), target, previous=previous)
        found = masks.load(store.file(key, MASK_FILE))
        assert all(torch.equal(found[name], mask) for name, mask in expected.items())
        previous = found


def test_the_control_draws_new_weights_for_each_level(ran: Cache) -> None:
    store, seen = Store(ran), []
    for key in levels(ran, DRAWN):
        target = store.settings(key)["settings"]["target"]
        wanted = initial(derived_seed(0, "new weights", target))
        assert_begins_with(read(ran, key), wanted, read(ran, key, MASK_FILE))
        seen.append(wanted["features.0.0.weight"].flatten()[0].item())
    assert (
        len({*seen, float(initial(derived_seed(0, "weights"))["features.0.0.weight"][0, 0, 0, 0])})
        == 4
    )


def test_only_what_is_rewound_to_is_kept(ran: Cache) -> None:
    store = Store(ran)
    assert (store.folder(baseline(ran, TICKET)) / KEPT_FILE).is_file()
    assert not (store.folder(baseline(ran, DRAWN)) / KEPT_FILE).exists()
    assert not (store.folder(levels(ran, TICKET)[0]) / KEPT_FILE).exists()


def test_loaded_weights_are_epoch_0_and_it_is_said(cache: Cache, tmp_path: Path) -> None:
    loaded = initial(77)
    path = tmp_path / "mine.safetensors"
    save_file({name: value.contiguous() for name, value in loaded.items()}, path)
    model = replace(TINY.model, weights=str(path))
    spec = replace(spec_of("weight_rewinding", model=model, baseline_epochs=1), iterative=NO_CHAIN)
    run_here(cache, spec)
    for key in levels(cache, spec):
        assert_begins_with(read(cache, key), loaded, read(cache, key, MASK_FILE))
        assert LOADED in Store(cache).read(key)["notes"]


def test_a_disturbed_baseline_keeps_the_same_bits(
    ran: Cache, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in its last epoch, goes on from its checkpoint, and what it kept before is there."""
    spec = replace(spec_of("weight_rewinding", epoch=1, baseline_epochs=3), iterative=NO_CHAIN)
    steps, plain = [0], training.step

    def failing(*arguments: Any) -> Tensor:
        steps[0] += 1
        if steps[0] == 18:  # seven steps an epoch
            raise RuntimeError("the power failed")
        return plain(*arguments)

    states: list[State] = []
    save = checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda path, state: (states.append(state["model"]), save(path, state))
    )
    monkeypatch.setattr(training, "step", failing)
    run_here(cache, spec)
    key = baseline(cache, spec)
    assert not Store(cache).exists(key)
    found = checkpoint.load(cache.checkpoint(key))
    assert found is not None
    assert len(found["history"]) == 2
    queue = Queue(cache.queue)
    queue.retry(queue.jobs()[0].id)
    run_here(cache, spec)
    assert steps[0] == 18 + 7  # a stage whose file is missing would be done anew, unseen
    kept = read(cache, key, KEPT_FILE)
    assert all(same_bits(kept[name], value.contiguous()) for name, value in states[0].items())
    assert not same_bits(kept["classifier.1.weight"], states[1]["classifier.1.weight"])
    monkeypatch.undo()
    run_here(ran, spec)
    assert bits(cache, spec) == bits(ran, spec)


def test_the_teacher_is_the_baseline_at_the_head_of_the_chain(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[Any, ...]] = []
    plain = stages.Objective

    def noting(*arguments: Any) -> stages.Objective:
        made.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(stages, "Objective", noting)
    finetune = replace(TINY.finetune, label_smoothing=0.1)
    taught = RecoverySpec(distillation_weight=0.5, distillation_temperature=3.0)
    spec = replace(spec_of("fine_tuning", epochs=1), recovery=taught, finetune=finetune)
    spec = replace(spec, one_shot=OneShotSpec(amounts=()))
    run_here(cache, spec)
    wanted = read(cache, baseline(cache, spec))
    assert made.pop(0) == (0.0,)
    assert len(made) == 2
    for smoothing, teacher, weight, temperature in made:
        assert (smoothing, weight, temperature) == (0.1, 0.5, 3.0)
        assert not any(module.training for module in teacher.modules())
        state = teacher.state_dict()
        assert all(same_bits(state[name], value) for name, value in wanted.items())

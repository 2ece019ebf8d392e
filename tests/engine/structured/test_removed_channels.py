"""Removed channels, and rewound or new random weights for the remaining ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.engine.data.loading import Splits
from pruning_core.engine.export import sparse_file
from pruning_core.engine.models.build import build
from pruning_core.engine.stage_inputs import MODEL_FILE
from pruning_core.engine.structured import stage
from pruning_core.engine.structured.removed_channels import FILE, read, total_removed
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import TrainingPlan, derived_seed
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.planning.plan import plan
from pruning_core.planning.pruned import LOADED_WEIGHTS_NOTE, recovery_notes
from pruning_core.planning.stage import PlannedModel
from pruning_core.planning.stage_kinds import INSPECTIONS
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.store import Store
from tests.helpers.stages import SMALL, run_here

State = dict[str, Tensor]


def spec_of(method: str, epochs: float = 0.0, final_epochs: float = 0.0) -> Spec:
    """Two structured pruning steps to half of the parameters."""
    structured = StructuredSpec(
        enabled=True,
        ratios=(0.5,),
        ratio_of="parameters",
        round_to=1,
        steps=2,
        epochs=epochs,
        final_epochs=final_epochs,
    )
    return replace(
        SMALL,
        one_shot=OneShotSpec(amounts=()),
        iterative=IterativeSpec(enabled=False),
        structured=structured,
        recovery=RecoverySpec(method=method),
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("rewinding"))
    cache.prepare()
    for method in ("weight_rewinding", "random_reinit"):
        run_here(cache, spec_of(method))
    return cache


def planned_steps(cache: Cache, spec: Spec) -> list[PlannedModel]:
    return [p for p in plan(spec, Store(cache)).models if p.strategy == "structured"]


def state_of(cache: Cache, key: str) -> State:
    return sparse_file.load(Store(cache).file(key, MODEL_FILE))


def initial(seed: int) -> State:
    torch.manual_seed(seed)
    return build({"name": "mobilenet_v2", "width": 0.1, "stem_stride": 2}, 10, 32).state_dict()


def assert_part_of(actual: State, dense: State, removed: list[int]) -> None:
    """Every value is one of the dense state; the last features have the remaining channels."""
    for name, value in actual.items():
        assert torch.isin(value, dense[name]).all(), name
    last = "classifier.1.weight"
    remaining = [i for i in range(dense[last].shape[1]) if i not in removed]
    assert 0 < len(remaining) < dense[last].shape[1]
    assert torch.equal(actual[last], dense[last][:, remaining])
    assert torch.equal(actual["features.18.1.weight"], dense["features.18.1.weight"][remaining])


def test_rewinding_restores_the_bits_of_the_remaining_channels_in_every_step(ran: Cache) -> None:
    dense, counts = initial(derived_seed(0, "weights")), []
    for step in planned_steps(ran, spec_of("weight_rewinding")):
        removed = read(Store(ran).file(step.key, FILE))
        assert_part_of(state_of(ran, step.key), dense, removed["features.18.0"])
        counts.append(sum(map(len, removed.values())))
    assert 0 < counts[0] < counts[1]


def test_random_reinitialization_draws_new_weights_for_each_step(ran: Cache) -> None:
    for step in planned_steps(ran, spec_of("random_reinit")):
        target = Store(ran).settings(step.key)["settings"]["target"]
        dense = initial(derived_seed(0, "new weights", target))
        removed = read(Store(ran).file(step.key, FILE))
        assert_part_of(state_of(ran, step.key), dense, removed["features.18.0"])


def test_the_recovery_method_does_not_change_which_channels_are_removed(ran: Cache) -> None:
    """The first step prunes the same trained baseline."""
    first = {
        method: read(Store(ran).file(planned_steps(ran, spec_of(method))[0].key, FILE))
        for method in ("weight_rewinding", "random_reinit")
    }
    assert first["weight_rewinding"] == first["random_reinit"]


@pytest.mark.parametrize("method", RECOVERY_METHODS)
def test_every_method_trains_after_a_step_and_final_fine_tuning_rewinds_nothing(
    method: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[TrainingPlan] = []
    original = stage.train

    def recording(state: TrainingState, splits: Splits, plan: TrainingPlan, *more: Any) -> None:
        plans.append(plan)
        original(state, splits, plan, *more)

    monkeypatch.setattr(stage, "train", recording)
    spec = replace(spec_of(method, epochs=0.5, final_epochs=0.5), baseline_epochs=2)
    if RECOVERY_METHODS[method].rewinds:
        spec = replace(spec, recovery=RecoverySpec(method=method, rewind_epoch=1))
    run_here(cache, spec, shared=(*INSPECTIONS, "dataset", "baseline"))
    fine_tunes = not RECOVERY_METHODS[method].baseline_schedule
    lr = spec.finetune.lr if fine_tunes else spec.baseline.lr
    assert [one.settings["lr"] for one in plans] == [lr, lr, spec.finetune.lr]
    start = 0.5 if RECOVERY_METHODS[method].rewinds else 0.0
    assert [one.lr_start for one in plans] == [start, start, 0.0]
    store = Store(cache)
    results = [store.read(step.key) for step in planned_steps(cache, spec)]
    assert [result["epochs_total"] for result in results] == [0.5, 1, 1.5]
    final = store.settings(planned_steps(cache, spec)[-1].key)["settings"]
    assert final["recovery"]["method"] == (method if fine_tunes else "fine_tuning")


@given(st.permutations(range(12)), st.integers(0, 6), st.integers(0, 5))
def test_removed_channels_have_the_numbers_of_the_dense_model(
    order: list[int], first: int, second: int
) -> None:
    """Against removing them from a list, step after step."""
    before, removed_now = sorted(order[:first]), order[first : first + second]
    remaining = [channel for channel in range(12) if channel not in before]
    now = sorted(i for i, channel in enumerate(remaining) if channel in removed_now)
    after = [channel for i, channel in enumerate(remaining) if i not in now]
    total = total_removed({"a": before, "other": [3]}, {"a": now})
    assert total == {"a": sorted(set(range(12)) - set(after)), "other": [3]}


def test_notes_and_errors_of_rewinding_hold_for_structured_pruning() -> None:
    spec = spec_of("lr_rewinding", epochs=0.5, final_epochs=0.5)
    notes = " ".join(recovery_notes(spec))
    assert "Learning-rate rewinding uses the learning rate" in notes
    assert "Final fine-tuning does not rewind" in notes
    with pytest.raises(SpecError, match="one schedule cannot span"):
        replace(spec, lr_schedule_span="pruning")
    assert LOADED_WEIGHTS_NOTE not in notes

"""Channels removed, and the weights of those that are left rewound or drawn anew."""

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
from pruning_core.engine.structured import stage as running
from pruning_core.engine.structured.removed_channels import FILE, read, total_removed
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import TrainingPlan, derived_seed
from pruning_core.methods.recovery import RECOVERY_METHODS, REWINDS
from pruning_core.planning.plan import plan
from pruning_core.planning.pruned import LOADED, recovery_notes
from pruning_core.planning.stage import PlannedModel
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.store import Store
from tests.helpers.stages import SMALL, run_here

State = dict[str, Tensor]


def spec_of(method: str, epochs: float = 0.0, tail: float = 0.0) -> Spec:
    """Two cuts of channels on the way to half of the parameters."""
    own = StructuredSpec(
        True, (0.5,), "parameters", round_to=1, steps=2, epochs=epochs, final_epochs=tail
    )
    return replace(
        SMALL,
        one_shot=OneShotSpec(amounts=()),
        iterative=IterativeSpec(enabled=False),
        structured=own,
        recovery=RecoverySpec(method),
    )


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("restart"))
    cache.prepare()
    for method in ("weight_rewinding", "random_reinit"):
        run_here(cache, spec_of(method))
    return cache


def cuts(cache: Cache, spec: Spec) -> list[PlannedModel]:
    return [p for p in plan(spec, Store(cache)).models if p.strategy == "structured"]


def state_of(cache: Cache, key: str) -> State:
    return sparse_file.load(Store(cache).file(key, MODEL_FILE))


def initial(seed: int) -> State:
    torch.manual_seed(seed)
    return build({"name": "mobilenet_v2", "width": 0.1, "stem_stride": 2}, 10, 32).state_dict()


def assert_part_of(found: State, dense: State, gone: list[int]) -> None:
    """Every value is one of the dense state; of the last features the channels left, in order."""
    for name, value in found.items():
        assert torch.isin(value, dense[name]).all(), name
    last = "classifier.1.weight"
    left = [i for i in range(dense[last].shape[1]) if i not in gone]
    assert 0 < len(left) < dense[last].shape[1]
    assert torch.equal(found[last], dense[last][:, left])
    assert torch.equal(found["features.18.1.weight"], dense["features.18.1.weight"][left])


def test_rewinding_restores_the_bits_of_the_channels_left_along_a_chain(ran: Cache) -> None:
    dense, counts = initial(derived_seed(0, "weights")), []
    for point in cuts(ran, spec_of("weight_rewinding")):
        gone = read(Store(ran).file(point.key, FILE))
        assert_part_of(state_of(ran, point.key), dense, gone["features.18.0"])
        counts.append(sum(map(len, gone.values())))
    assert 0 < counts[0] < counts[1]


def test_the_control_draws_new_weights_for_each_cut(ran: Cache) -> None:
    for point in cuts(ran, spec_of("random_reinit")):
        target = Store(ran).settings(point.key)["settings"]["target"]
        dense = initial(derived_seed(0, "new weights", target))
        gone = read(Store(ran).file(point.key, FILE))
        assert_part_of(state_of(ran, point.key), dense, gone["features.18.0"])


def test_what_follows_a_cut_does_not_change_which_channels_go(ran: Cache) -> None:
    """The first cut is of the same trained baseline, whatever its weights become afterwards."""
    first = {
        method: read(Store(ran).file(cuts(ran, spec_of(method))[0].key, FILE))
        for method in ("weight_rewinding", "random_reinit")
    }
    assert first["weight_rewinding"] == first["random_reinit"]


@pytest.mark.parametrize("method", RECOVERY_METHODS)
def test_every_way_trains_after_a_cut_and_a_tail_rewinds_nothing(
    method: str, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[TrainingPlan] = []
    plain = running.train

    def noting(trainee: TrainingState, splits: Splits, plan: TrainingPlan, *more: Any) -> None:
        plans.append(plan)
        plain(trainee, splits, plan, *more)

    monkeypatch.setattr(running, "train", noting)
    spec = replace(spec_of(method, epochs=0.5, tail=0.5), baseline_epochs=2)
    if method in REWINDS:
        spec = replace(spec, recovery=RecoverySpec(method, 1))
    run_here(cache, spec)
    own = spec.finetune.lr if method == "fine_tuning" else spec.baseline.lr
    assert [one.settings["lr"] for one in plans] == [own, own, spec.finetune.lr]
    begun = 0.5 if method in REWINDS else 0.0
    assert [one.lr_start for one in plans] == [begun, begun, 0.0]
    store = Store(cache)
    ended = [store.read(point.key) for point in cuts(cache, spec)]
    assert [result["epochs_total"] for result in ended] == [0.5, 1, 1.5]
    tail = store.settings(cuts(cache, spec)[-1].key)["settings"]
    assert tail["recovery"]["method"] == "fine_tuning"


@given(st.permutations(range(12)), st.integers(0, 6), st.integers(0, 5))
def test_channels_are_counted_in_the_dense_model_s_numbers(
    order: list[int], first: int, second: int
) -> None:
    """Against taking them out of a list, one cut after the other."""
    left = list(range(12))
    before = sorted(order[:first])
    left = [channel for channel in left if channel not in before]
    now = sorted(i for i, channel in enumerate(left) if channel in order[first : first + second])
    after = [channel for i, channel in enumerate(left) if i not in now]
    gone = total_removed({"a": before, "other": [3]}, {"a": now})
    assert gone == {"a": sorted(set(range(12)) - set(after)), "other": [3]}


def test_what_rewinding_needs_is_told_and_refused_here_too() -> None:
    spec = spec_of("lr_rewinding", epochs=0.5, tail=0.5)
    said = " ".join(recovery_notes(spec))
    assert "Learning-rate rewinding takes the learning rate" in said
    assert "The tail rewinds nothing" in said
    with pytest.raises(SpecError, match="one curve cannot cover"):
        replace(spec, lr_schedule_span="pruning")
    assert LOADED not in said

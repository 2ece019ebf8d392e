"""The allocation by a budget in a run: the sensitivity analysis, then masks to the exact target."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.results.budget_allocation import least_loss_sparsities
from pruning_core.results.layers import layer_statistics
from pruning_core.results.sensitivity import overall, read_sensitivity
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.helpers.stages import SMALL, run_here

SPEC = replace(
    SMALL,
    pruning=PruningSpec(allocation="budget", layers="core"),
    sensitivity=SensitivitySpec(sparsities=(0.5, 0.9), images=20, correction_images=32),
    one_shot=OneShotSpec((0.0, 0.3), 0),
    iterative=replace(SMALL.iterative, target=0.4, iterations=2, epochs=0),
)


def test_masks_have_the_sparsities_of_least_loss_and_the_exact_target(cache: Cache) -> None:
    run_here(cache, SPEC)
    store, planned = Store(cache), plan(SPEC, Store(cache))
    analysis = read_sensitivity(SPEC, store)
    assert {"corrected_loss", "corrected_accuracy"} <= set(analysis.columns)
    for model in planned.models:
        result = store.read(model.key)
        assert result["prunable_zeros"] == round(model.target * result["prunable"])
    one_shot = next(m for m in planned.models if (m.strategy, m.target) == ("one_shot", 0.3))
    expected = least_loss_sparsities(analysis, 0.3)
    layers = [x for x in layer_statistics(store, one_shot.key) if x["name"] in expected]
    assert len(layers) == len(expected)
    # The choice may exceed the target where pruning loses nothing: it is scaled to the target.
    scale = 0.3 / overall(expected, analysis)
    assert scale <= 1
    for layer in layers:
        measured = layer["zeros"] / layer["size"]
        assert measured == pytest.approx(scale * expected[layer["name"]], abs=1 / layer["size"])
    assert len(set(expected.values())) > 1


def test_the_analysis_is_shared_with_that_of_the_page(cache: Cache) -> None:
    keys = {s.key for s in plan(SPEC, Facts(SPEC)).stages if s.kind == "sensitivity"}
    alone = plan(sensitivity_only(SPEC), Facts(SPEC)).stages
    assert keys == {stage.key for stage in alone if stage.kind == "sensitivity"}


@pytest.mark.parametrize(
    ("sensitivity", "message"),
    [
        (SensitivitySpec(unit="dependency_group"), "needs the sensitivity of layers"),
        (SensitivitySpec(sparsities=(0.2, 0.35)), "is above the highest sparsity"),
    ],
)
def test_an_analysis_that_cannot_be_used_is_refused(
    sensitivity: SensitivitySpec, message: str
) -> None:
    spec = replace(SPEC, sensitivity=sensitivity)
    with pytest.raises(SpecError, match=message):
        plan(spec, Facts(spec))

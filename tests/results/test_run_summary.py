"""A run in two texts: its best model, and its accuracy at the target sparsity."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Outline, PlannedModel, outline
from pruning_core.results.goal import Goal
from pruning_core.results.run_summary import RunSummary, run_summary
from pruning_core.settings.spec import Spec
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.helpers.pages import put
from tests.results.test_models import result

TWO_SEEDS = replace(QUICKSTART, seeds=(0, 1))
ONE_SHOT = replace(TWO_SEEDS, iterative=replace(QUICKSTART.iterative, enabled=False))


def accuracy(model: PlannedModel) -> float:
    """Iterative models are better, and seed 1 is better by 4 points."""
    return 0.9 - 0.3 * model.target + 0.05 * (model.strategy == "iterative") + 0.04 * model.seed


def published(store: Store, spec: Spec, without: tuple[Any, ...] = ()) -> Outline:
    planned = outline(plan(spec, Facts(spec)))
    for model in planned.models:
        if (model.strategy, model.target) not in without and not store.exists(model.key):
            put(store, model.key, "pruned", result(round(80 * model.target), accuracy(model), 2, 4))
    return planned


@pytest.mark.parametrize(
    ("spec", "without", "text"),
    [
        (TWO_SEEDS, (), "70 % at 90 %"),
        (ONE_SHOT, (), "65 % at 90 %"),
        (TWO_SEEDS, (("iterative", 0.9),), ""),
        (QUICKSTART, (), "68 % at 90 %"),
    ],
)
def test_the_accuracy_is_that_at_the_target_of_the_run(
    store: Store, spec: Spec, without: tuple[Any, ...], text: str
) -> None:
    """The mean over the seeds; the less sparse models of an unfinished run do not count."""
    assert run_summary(published(store, spec, without), store).accuracy == text


def test_the_best_model_follows_the_goal(store: Store) -> None:
    planned = published(store, QUICKSTART)
    assert run_summary(planned, store).best == "none"
    assert run_summary(planned, store, Goal(0.5)).best == "90 %, 250 bytes"
    assert run_summary(planned, store, Goal(0.5, 249.0)).best == "none"
    assert run_summary(planned, store, Goal(None)).best == "", "there is no goal"


def test_a_run_without_a_pruned_model_has_no_summary(cache: Cache, store: Store) -> None:
    planned = outline(plan(QUICKSTART, Facts(QUICKSTART)))
    assert run_summary(planned, store) == RunSummary("", "")
    baseline = planned.models[0]
    put(store, baseline.key, "baseline", result(0, 0.9, 2, 4))
    assert run_summary(planned, store) == RunSummary("", "")

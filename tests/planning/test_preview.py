"""What a run trains, before it runs: the series agree with the stages of the plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pruning_core.methods.lr_schedules import rate
from pruning_core.methods.strategies import ITERATIVE, STRATEGIES
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.planning.preview import TrainingSeries, measured_accuracies, training_series, work
from pruning_core.planning.stage import PlannedModel, Stage
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.inspections import Facts, FactsWithGroups
from tests.helpers.results import result

CHAIN = QUICKSTART.iterative
SPECS: dict[str, Spec] = {
    **{
        name: replace(preset.spec, data=QUICKSTART.data, model=QUICKSTART.model)
        for name, preset in PRESETS.items()
    },
    "final": replace(QUICKSTART, iterative=replace(CHAIN, final_epochs=2.5, equal_schedule=True)),
    "span": replace(
        QUICKSTART,
        lr_schedule_span="pruning",
        iterative=replace(CHAIN, epochs=0.5, equal_schedule=True),
    ),
    "rewound": replace(QUICKSTART, recovery=RecoverySpec("lr_rewinding", rewind_epoch=3)),
    "structured": replace(QUICKSTART, structured=StructuredSpec(True, (0.3, 0.5), steps=2)),
}


def chains(spec: Spec) -> list[list[tuple[PlannedModel, Stage]]]:
    """The models of a plan with their stages, each chain of pruning steps in one list."""
    planned = plan(spec, FactsWithGroups(spec))
    stages = {stage.key: stage for stage in planned.stages}
    result: list[list[tuple[PlannedModel, Stage]]] = []
    for model in planned.models:
        if model.strategy == "baseline" or model.seed != spec.seeds[0]:
            continue
        entry = (model, stages[model.key])
        follows = result and entry[1].parent == result[-1][-1][0].key
        if follows:
            result[-1].append(entry)
        else:
            result.append([entry])
    return result


def start_rate(settings: dict[str, Any], spec: Spec) -> float:
    """The learning rate at the start of a stage without segments, from its settings."""
    rewound = settings["recovery"].get("rewind_epoch", 0) / max(spec.baseline_epochs, 1)
    done = settings["lr_from_epoch"] / settings["lr_epochs"]
    return rate(settings["train"], rewound + (1 - rewound) * done)


def rate_after(series: TrainingSeries, epoch: float) -> float:
    """The learning rate with which training goes on at an epoch."""
    return [value for at, value in series.rates if at == pytest.approx(epoch)][-1]


@pytest.mark.parametrize("name", SPECS)
def test_the_series_are_those_of_the_plan(name: str) -> None:
    spec = SPECS[name]
    expected = chains(spec)
    drawn = training_series(spec, {})
    order = [STRATEGIES[series.strategy].name for series in drawn]
    assert sorted(order) == sorted(chain[0][0].strategy for chain in expected)
    for series in drawn:
        chain = next(
            c
            for c in expected
            if (c[0][0].strategy, c[-1][0].target)
            == (series.strategy, pytest.approx(series.steps[-1].sparsity))
        )
        assert [step.sparsity for step in series.steps] == [m.target for m, _ in chain]
        epochs = [stage.settings["epochs"] for _, stage in chain]
        assert [step.end - step.start for step in series.steps] == pytest.approx(epochs)
        for step, (_, stage) in zip(series.steps, chain, strict=True):
            if stage.settings["epochs"] and not stage.settings.get("lr_segments"):
                expected_rate = start_rate(stage.settings, spec)
                assert rate_after(series, step.start) == pytest.approx(expected_rate)


def test_one_shot_with_an_equal_schedule_has_the_learning_rates_of_the_iterative_run() -> None:
    for name in ("final", "span"):
        drawn = {series.strategy: series for series in training_series(SPECS[name], {})}
        assert drawn["one_shot_equal_schedule"].rates == drawn[ITERATIVE].rates


def test_finished_models_have_their_accuracy_and_count_as_done() -> None:
    store = Facts(QUICKSTART)
    planned = plan(QUICKSTART, store)
    step = next(m for m in planned.models if (m.strategy, m.iteration) == (ITERATIVE, 2))
    store.results[step.key] = result(0, 0.9, 1, 1)
    measured = measured_accuracies(planned, store)
    (series,) = (c for c in training_series(QUICKSTART, measured) if c.strategy == ITERATIVE)
    assert [step.accuracy for step in series.steps] == [None, 0.9, None, None, None]
    amount = work(QUICKSTART, planned, store)
    assert amount.epochs == 12 + 5 * 2 + 2 * 10
    assert amount.stages == len(planned.stages) > amount.done > 0

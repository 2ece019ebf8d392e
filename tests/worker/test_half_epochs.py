"""A comparison in half-epoch steps with a tail, by a real worker: budgets, targets, rates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.stage import outline
from pruning_core.reports import csv_export
from pruning_core.results.models import results_frame
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.store import Store
from tests.helpers.workers import TINY, planned, run

HALVES = replace(
    TINY,
    baseline_epochs=1,
    one_shot=OneShotSpec(amounts=(0.0,), epochs=0.5),
    iterative=IterativeSpec(
        target=0.8, iterations=3, epochs=0.5, schedule="one_shot", final_epochs=1.5
    ),
    lr_schedule_span="pruning",
)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("calm"))
    cache.prepare()
    assert run(cache, HALVES).state == "done"
    return cache


def test_every_epoch_of_a_budget_is_counted_once(calm: Cache) -> None:
    store, made = Store(calm), planned(calm, HALVES)
    frame = results_frame(outline(made), store)
    chain = frame[frame.strategy == "iterative"]
    assert list(chain.epochs) == [0.5, 1, 1.5, 3]
    assert list(frame[frame.strategy == "one_shot_equal_budget"].epochs) == [3]
    ends = [[(row["epoch"], row["share"]) for row in history] for history in chain.history]
    assert ends == [[(0.5, 0.5)]] * 3 + [[(1, 1), (1.5, 0.5)]]
    assert (
        "Step 4 is the tail: no cut, 1.5 epochs with the rate falling to 0." in chain.notes.iloc[3]
    )
    assert not any("final_epochs" in note for notes in chain.notes.iloc[:3] for note in notes)
    lines = csv_export.to_csv(frame).splitlines()
    place = lines[0].split(",").index("epochs")
    assert [line.split(",")[place] for line in lines[1:]] == [
        "1",
        "0.5",
        "3",
        "0.5",
        "1",
        "1.5",
        "3",
    ]


def test_the_drawn_sparsity_is_reached_in_every_step(calm: Cache) -> None:
    """Also where a step cuts nothing; each layer's count is rounded to whole weights."""
    store = Store(calm)
    chain = [point for point in planned(calm, HALVES).models if point.strategy == "iterative"]
    zeros = {store.read(point.key)["prunable_zeros"] for point in chain}
    assert [point.asked for point in chain] == [0.8] * 4
    assert len(zeros) == 1
    assert zeros.pop() / store.read(chain[0].key)["prunable"] == pytest.approx(0.8, abs=1e-4)


def test_the_rate_falls_over_the_steps_and_again_over_the_tail(calm: Cache) -> None:
    """One curve over the three steps; the tail starts from the peak, and ends near 0."""
    store = Store(calm)
    chain = [point for point in planned(calm, HALVES).models if point.strategy == "iterative"]
    *steps, tail = ([row["lr"] for row in store.read(point.key)["history"]] for point in chain)
    rates = [rate for step in steps for rate in step]
    assert rates == sorted(rates, reverse=True)
    assert tail[0] > rates[-1]
    assert tail[-1] < 0.1 * HALVES.finetune.lr

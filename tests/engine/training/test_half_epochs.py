"""Half-epoch pruning steps and final fine-tuning: budgets, targets, learning rates."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from pruning_core.common.paths import Cache
from pruning_core.common.statistics import bits
from pruning_core.engine.stage_inputs import MODEL_FILE
from pruning_core.planning.stage import outline
from pruning_core.reports import csv_export
from pruning_core.results import models
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.store import Store
from tests.helpers.workers import TINY, finished_run, planned

HALVES = replace(
    TINY,
    baseline_epochs=1,
    one_shot=OneShotSpec(amounts=(0.0,), epochs=0.5),
    iterative=IterativeSpec(
        target=0.8,
        iterations=3,
        epochs=0.5,
        schedule="one_shot",
        final_epochs=1.5,
        equal_schedule=True,
    ),
    lr_schedule_span="pruning",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return finished_run(tmp_path_factory.mktemp("finished"), HALVES)


def test_every_epoch_of_a_budget_is_counted_once(finished: Cache) -> None:
    store, plan = Store(finished), planned(finished, HALVES)
    frame = models.results_frame(outline(plan), store)
    chain = frame[frame.strategy == "iterative"]
    assert list(chain.epochs) == [0.5, 1, 1.5, 3]
    assert list(frame[frame.strategy == "one_shot_equal_budget"].epochs) == [3]
    ends = [[(row["epoch"], row["share"]) for row in history] for history in chain.history]
    assert ends == [[(0.5, 0.5)]] * 3 + [[(1, 1), (1.5, 0.5)]]
    final = [note for note in chain.notes.iloc[3] if note.startswith("Step 4 is ")]
    assert len(final) == 1
    assert "1.5 epochs" in final[0]
    assert not any("Step 4" in note for notes in chain.notes.iloc[:3] for note in notes)
    lines = csv_export.to_csv(frame).splitlines()
    place = lines[0].split(",").index("epochs")
    assert [line.split(",")[place] for line in lines[1:]] == [
        "1",
        "0.5",
        "3",
        "3",
        "0.5",
        "1",
        "1.5",
        "3",
    ]


def test_the_result_of_each_validation_image_is_stored(finished: Cache) -> None:
    store = Store(finished)
    for model in planned(finished, HALVES).models:
        result = store.read(model.key)
        images = result["validation_images"]
        right = bits(base64.b64decode(result["validation_correct"]), images)
        assert right.mean() == pytest.approx(result["validation_accuracy"])


def test_the_target_sparsity_is_reached_in_every_step(finished: Cache) -> None:
    """Also in final fine-tuning; the count of each layer is rounded to whole weights."""
    store = Store(finished)
    chain = [model for model in planned(finished, HALVES).models if model.strategy == "iterative"]
    zeros = {store.read(model.key)["prunable_zeros"] for model in chain}
    assert [model.target for model in chain] == [0.8] * 4
    assert len(zeros) == 1
    assert zeros.pop() / store.read(chain[0].key)["prunable"] == pytest.approx(0.8, abs=1e-4)


def test_the_learning_rate_falls_over_the_steps_and_again_in_final_fine_tuning(
    finished: Cache,
) -> None:
    """One schedule spans the three steps; final fine-tuning starts at the peak, ends near 0."""
    store = Store(finished)
    chain = [model for model in planned(finished, HALVES).models if model.strategy == "iterative"]
    *steps, final = ([row["lr"] for row in store.read(model.key)["history"]] for model in chain)
    rates = [rate for step in steps for rate in step]
    assert rates == sorted(rates, reverse=True)
    assert final[0] > rates[-1]
    assert final[-1] < 0.1 * HALVES.finetune.lr


def test_the_control_with_the_learning_rates_of_the_chain_is_the_chain_without_its_cuts(
    finished: Cache,
) -> None:
    """This chain prunes in its first step only, so the control must have its bits."""
    store, models_of = Store(finished), planned(finished, HALVES).models
    (control,) = (m for m in models_of if m.strategy == "one_shot_equal_schedule")
    (equal_budget,) = (m for m in models_of if m.strategy == "one_shot_equal_budget")
    chain = [model for model in models_of if model.strategy == "iterative"]
    contents = [store.content(m.key, MODEL_FILE) for m in (control, chain[-1], equal_budget)]
    assert contents[0] == contents[1] != contents[2]
    rates = [row["lr"] for model in chain for row in store.read(model.key)["history"]]
    assert [row["lr"] for row in store.read(control.key)["history"]] == rates

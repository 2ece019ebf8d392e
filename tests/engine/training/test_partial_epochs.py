"""Fractions of an epoch: a share of its batches, in their order, on one learning-rate schedule."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pruning_core.engine.training import train as training
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import (
    LRSegment,
    batch_count,
    shuffled_batches,
    started_epochs,
    steps_until,
    train,
)
from pruning_core.methods.lr_schedules import cosine
from pruning_core.storage.stage_context import Progress
from tests.helpers.training import SPLITS, model_bits, plan_of, state_of


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Tensor]]:
    """The learning rate and the labels of each training step from now on."""
    recorded: list[tuple[float, Tensor]] = []
    labels = list[Tensor]()
    compute, update = training.compute_gradients, training.update

    def recording(state: TrainingState, pixels: Tensor, answers: Tensor, batch: int) -> Tensor:
        labels.append(answers)
        return compute(state, pixels, answers, batch)

    def updating(state: TrainingState, lr: float, clip: float) -> None:
        recorded.append((lr, labels[-1]))
        update(state, lr, clip)

    monkeypatch.setattr(training, "compute_gradients", recording)
    monkeypatch.setattr(training, "update", updating)
    return recorded


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(0, []), (1, [1]), (2.5, [1, 1, 0.5]), (0.3, [0.3]), (0.1 + 0.2 + 0.7, [1.0]), (3.0, [1] * 3)],
)
def test_the_shares_of_started_epochs(epochs: float, expected: list[float]) -> None:
    assert [epoch.share for epoch in started_epochs(plan_of(epochs), 4)] == expected


@pytest.mark.parametrize(
    ("epochs", "batches", "expected"),
    [
        (0, 3, 0),
        (0.5, 3, 2),
        (5, 3, 15),
        (0.001, 3, 1),
        (2.5, 4, 10),
        (0.1 * 3, 10, 3),
        (1.9, 7, 13),
    ],
)
def test_the_steps_of_one_run(epochs: float, batches: int, expected: int) -> None:
    assert steps_until(epochs, batches) == expected


CHAINS = st.lists(st.sampled_from([0.001, 0.1, 0.25, 0.333333, 0.5, 0.75, 1, 1.5, 2.2]), min_size=1)


def chain_of(epochs: list[float], batches: int) -> list[int]:
    """The steps of each stage of a chain, one learning-rate schedule a stage."""
    starts = [round(sum(epochs[:i]), 6) for i in range(len(epochs))]
    plans = [plan_of(n, first_epoch=start) for n, start in zip(epochs, starts, strict=True)]
    return [sum(epoch.batches for epoch in started_epochs(plan, batches)) for plan in plans]


@given(CHAINS, st.integers(1, 500))
def test_equal_epochs_are_equal_steps(epochs: list[float], batches: int) -> None:
    """Each stage ends where one run of the epochs up to its end ends."""
    steps = chain_of(epochs, batches)
    assert all(step >= 0 for step in steps)
    for i in range(len(epochs)):
        whole = plan_of(round(sum(epochs[: i + 1]), 6))
        assert sum(steps[: i + 1]) == sum(e.batches for e in started_epochs(whole, batches))


def test_ten_half_epochs_of_three_batches_are_fifteen_steps() -> None:
    assert chain_of([0.5] * 10, 3) == [2, 1] * 5
    assert chain_of([0.1] * 10, 3) == [1, 0, 0, 0, 1, 0, 0, 0, 1, 0]


@given(st.integers(1, 300), st.integers(2, 64))
def test_batches_are_counted_as_they_are_drawn(images: int, batch: int) -> None:
    drawn = shuffled_batches(images, batch, torch.Generator().manual_seed(0))
    assert batch_count(images, batch) == len(drawn)


def test_half_an_epoch_is_the_first_half_of_its_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 images in batches of 16 are four batches."""
    recorded = steps_of(monkeypatch)
    train(state_of(), SPLITS, plan_of(0.5), tmp_path / "half", Progress())
    half, recorded[:] = list(recorded), []
    train(state_of(), SPLITS, plan_of(1), tmp_path / "whole", Progress())
    assert (len(half), len(recorded)) == (2, 4)
    for (_, part), (_, whole) in zip(half, recorded, strict=False):
        assert torch.equal(part, whole)


def test_the_history_has_the_share_of_each_started_epoch(tmp_path: Path) -> None:
    state, progress = state_of(), Progress()
    train(state, SPLITS, plan_of(2.5), tmp_path / "c", progress)
    assert [(row["epoch"], row["share"]) for row in state.history] == [(1, 1), (2, 1), (2.5, 0.5)]
    assert progress.fraction == pytest.approx(1.0)
    assert progress.message == "Epoch 2.5 of 2.5"


@pytest.mark.parametrize("epochs", [0.1, 0.375, 0.5, 0.75, 1.1])
def test_a_chain_has_the_learning_rates_of_one_run(
    epochs: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step by step, where one schedule spans the chain, and where each stage has its own."""
    recorded = steps_of(monkeypatch)
    total = round(4 * epochs, 6)
    train(state_of(), SPLITS, plan_of(total), tmp_path / "one", Progress())
    one, recorded[:] = [rate for rate, _ in recorded], []
    for i in range(4):
        before = round(epochs * i, 6)
        part = plan_of(epochs, lr_from_epoch=before, lr_epochs=total, first_epoch=before)
        train(state_of(), SPLITS, part, tmp_path / f"{i}", Progress())
    assert [rate for rate, _ in recorded] == one
    assert len(one) == steps_until(total, 4)


def test_a_stage_runs_through_its_schedule_in_the_steps_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four batches an epoch, stages of 0.375 epochs have 2, 1, 2 and 1 steps."""
    recorded = steps_of(monkeypatch)
    for i, steps in enumerate((2, 1, 2, 1)):
        recorded.clear()
        part = plan_of(0.375, first_epoch=0.375 * i)
        train(state_of(), SPLITS, part, tmp_path / f"{i}", Progress())
        expected = [0.01 * cosine(k / steps) for k in range(steps)]
        assert [rate for rate, _ in recorded] == pytest.approx(expected)


def test_a_stage_whose_share_of_a_batch_is_rounded_to_none_trains_nothing(tmp_path: Path) -> None:
    state = state_of()
    before = model_bits(state.model)
    train(state, SPLITS, plan_of(0.1, first_epoch=0.1), tmp_path / "c", Progress())
    assert (state.history, model_bits(state.model)) == ([], before)


def segments_of(epochs: float, number: int) -> tuple[LRSegment, ...]:
    return (LRSegment(epochs, 0, epochs),) * number


@pytest.mark.parametrize("epochs", [0.5, 0.375, 1, 1.5])
def test_segments_train_as_the_stages_of_a_chain_do(
    epochs: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learning rates, the order of the images, the restarts of the optimizer: equal bits."""
    recorded = steps_of(monkeypatch)
    chain = state_of()
    for i in range(3):
        chain.history = []
        chain.optimizer = training.make_optimizer(chain.model, plan_of().settings)
        part = plan_of(epochs, first_epoch=epochs * i)
        train(chain, SPLITS, part, tmp_path / f"{i}", Progress())
    steps, recorded[:] = list(recorded), []
    one = state_of()
    whole = plan_of(3 * epochs, segments=segments_of(epochs, 3))
    train(one, SPLITS, whole, tmp_path / "one", Progress())
    assert [rate for rate, _ in recorded] == [rate for rate, _ in steps]
    assert model_bits(one.model) == model_bits(chain.model)
    assert one.history[-1]["epoch"] == 3 * epochs


def test_segments_continue_from_a_checkpoint_with_the_same_bits(tmp_path: Path) -> None:
    plan = plan_of(3, segments=segments_of(1, 3))
    whole, again = state_of(), state_of()
    train(whole, SPLITS, plan, tmp_path / "whole", Progress())
    part = plan_of(2, segments=segments_of(1, 2))
    train(state_of(), SPLITS, part, tmp_path / "part", Progress())
    train(again, SPLITS, plan, tmp_path / "part", Progress())
    assert model_bits(again.model) == model_bits(whole.model)


def test_a_stage_that_begins_in_mid_epoch_has_another_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = steps_of(monkeypatch)
    for name, before in (("a", 0), ("b", 0.5), ("c", 0.5), ("d", 1)):
        train(state_of(), SPLITS, plan_of(0.5, first_epoch=before), tmp_path / name, Progress())
    orders = [torch.cat([recorded[i][1], recorded[i + 1][1]]).tolist() for i in (0, 2, 4, 6)]
    assert orders[1] == orders[2]
    assert len({tuple(order) for order in orders}) == 3


def test_whole_epochs_have_the_same_order_as_int_and_float(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = steps_of(monkeypatch)
    train(state_of(), SPLITS, plan_of(2.0, first_epoch=3.0), tmp_path / "c", Progress())
    actual = torch.cat([labels for _, labels in recorded])
    expected = []
    for epoch in (3, 4):
        seed = training.derived_seed(5, "level", epoch)
        expected += shuffled_batches(50, 16, torch.Generator().manual_seed(seed))
    assert torch.equal(actual, SPLITS.train.labels[torch.cat(expected)])


def test_continuing_from_a_checkpoint_gives_the_same_bits_in_a_partial_epoch(
    tmp_path: Path,
) -> None:
    whole, again = state_of(), state_of()
    train(whole, SPLITS, plan_of(2.5), tmp_path / "whole", Progress())
    train(state_of(), SPLITS, plan_of(2, lr_epochs=2.5), tmp_path / "part", Progress())
    # The plan of two epochs leaves the checkpoint of its first epoch; the third is half an epoch.
    train(again, SPLITS, plan_of(2.5), tmp_path / "part", Progress())
    assert model_bits(again.model) == model_bits(whole.model)
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in t.history]
        for t in (whole, again)
    ]
    assert rows[0] == rows[1]

"""Fractions of an epoch: a share of its batches, in their order, on one learning-rate schedule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pruning_core.engine.training import train as training
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.train import epoch_shares, first_batches, shuffled_batches, train
from pruning_core.methods.lr_schedules import cosine
from pruning_core.storage.stage_context import Progress
from tests.helpers.training import SPLITS, model_bits, plan_of, state_of


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Tensor]]:
    """The learning rate and the labels of each training step from now on."""
    recorded: list[tuple[float, Tensor]] = []
    original = training.step

    def recording(
        state: TrainingState, pixels: Tensor, labels: Tensor, lr: float, clip: float
    ) -> Any:
        recorded.append((lr, labels))
        return original(state, pixels, labels, lr, clip)

    monkeypatch.setattr(training, "step", recording)
    return recorded


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(0, []), (1, [1]), (2.5, [1, 1, 0.5]), (0.3, [0.3]), (0.1 + 0.2 + 0.7, [1.0]), (3.0, [1] * 3)],
)
def test_the_shares_of_started_epochs(epochs: float, expected: list[float]) -> None:
    assert epoch_shares(epochs) == expected


@given(st.floats(0.001, 1), st.integers(1, 500))
def test_a_share_is_rounded_to_batches_and_at_least_one(share: float, count: int) -> None:
    batches = list(torch.arange(count).split(1))
    actual = first_batches(share, batches)
    assert len(actual) >= 1
    assert abs(len(actual) - share * count) <= 0.5 or len(actual) == 1
    assert all(a is b for a, b in zip(actual, batches, strict=False))


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


@pytest.mark.parametrize("epochs", [0.5, 0.75])
def test_trainings_continue_on_one_learning_rate_schedule(
    epochs: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learning rates are those of equal steps along the schedule."""
    recorded = steps_of(monkeypatch)
    for i in range(4):
        before = epochs * i
        part = plan_of(epochs, lr_from_epoch=before, lr_epochs=4 * epochs, first_epoch=before)
        train(state_of(), SPLITS, part, tmp_path / f"{i}", Progress())
    batches = round(4 * epochs)
    done = [i / (4 * batches) for i in range(4 * batches)]
    assert [rate for rate, _ in recorded] == pytest.approx([0.01 * cosine(x) for x in done])


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

"""Fractions of an epoch: so many batches, in the order of that epoch, along one curve."""

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
from tests.engine.training.test_train import SPLITS, bits, plan, trainee


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Tensor]]:
    """Every training step from now on: its rate and the labels of its batch."""
    found: list[tuple[float, Tensor]] = []
    plain = training.step

    def noting(
        trainee: TrainingState, pixels: Tensor, labels: Tensor, rate: float, clip: float
    ) -> Any:
        found.append((rate, labels))
        return plain(trainee, pixels, labels, rate, clip)

    monkeypatch.setattr(training, "step", noting)
    return found


@pytest.mark.parametrize(
    ("epochs", "wanted"),
    [(0, []), (1, [1]), (2.5, [1, 1, 0.5]), (0.3, [0.3]), (0.1 + 0.2 + 0.7, [1.0]), (3.0, [1] * 3)],
)
def test_the_shares_of_started_epochs(epochs: float, wanted: list[float]) -> None:
    assert epoch_shares(epochs) == wanted


@given(st.floats(0.001, 1), st.integers(1, 500))
def test_a_share_is_so_many_batches_and_never_none(share: float, count: int) -> None:
    batches = list(torch.arange(count).split(1))
    found = first_batches(share, batches)
    assert len(found) >= 1
    assert abs(len(found) - share * count) <= 0.5 or len(found) == 1
    assert all(a is b for a, b in zip(found, batches, strict=False))


def test_half_an_epoch_is_the_first_half_of_its_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 images in batches of 16 are four, of which two are the half."""
    seen = steps_of(monkeypatch)
    train(trainee(), SPLITS, plan(0.5), tmp_path / "half", Progress())
    half, seen[:] = list(seen), []
    train(trainee(), SPLITS, plan(1), tmp_path / "whole", Progress())
    assert (len(half), len(seen)) == (2, 4)
    for (_, part), (_, whole) in zip(half, seen, strict=False):
        assert torch.equal(part, whole)


def test_the_history_tells_the_share_of_each_started_epoch(tmp_path: Path) -> None:
    made, progress = trainee(), Progress()
    train(made, SPLITS, plan(2.5), tmp_path / "c", progress)
    assert [(row["epoch"], row["share"]) for row in made.history] == [(1, 1), (2, 1), (2.5, 0.5)]
    assert progress.fraction == pytest.approx(1.0)
    assert progress.message == "Epoch 2.5 of 2.5"


@pytest.mark.parametrize("each", [0.5, 0.75])
def test_a_chain_of_parts_goes_on_where_the_one_before_stopped(
    each: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rates are those of an even walk down the curve; no step stands still or jumps."""
    seen = steps_of(monkeypatch)
    for i in range(4):
        part = plan(each, lr_from_epoch=each * i, lr_epochs=4 * each, first_epoch=each * i)
        train(trainee(), SPLITS, part, tmp_path / f"{i}", Progress())
    batches = round(4 * each)
    done = [i / (4 * batches) for i in range(4 * batches)]
    assert [rate for rate, _ in seen] == pytest.approx([0.01 * cosine(x) for x in done])


def test_a_level_that_begins_in_mid_epoch_has_an_order_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = steps_of(monkeypatch)
    for name, before in (("a", 0), ("b", 0.5), ("c", 0.5), ("d", 1)):
        train(trainee(), SPLITS, plan(0.5, first_epoch=before), tmp_path / name, Progress())
    orders = [torch.cat([seen[i][1], seen[i + 1][1]]).tolist() for i in (0, 2, 4, 6)]
    assert orders[1] == orders[2]
    assert len({tuple(order) for order in orders}) == 3


def test_whole_epochs_have_the_order_they_always_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are written: 1 and 1.0 are one epoch."""
    seen = steps_of(monkeypatch)
    train(trainee(), SPLITS, plan(2.0, first_epoch=3.0), tmp_path / "c", Progress())
    found = torch.cat([labels for _, labels in seen])
    wanted = []
    for epoch in (3, 4):
        seed = training.derived_seed(5, "level", epoch)
        wanted += shuffled_batches(50, 16, torch.Generator().manual_seed(seed))
    assert torch.equal(found, SPLITS.train.labels[torch.cat(wanted)])


def test_going_on_after_a_kill_gives_the_same_bits_in_the_last_part_too(tmp_path: Path) -> None:
    whole, again = trainee(), trainee()
    train(whole, SPLITS, plan(2.5), tmp_path / "whole", Progress())
    train(trainee(), SPLITS, plan(2, lr_epochs=2.5), tmp_path / "part", Progress())
    # The plan of two epochs leaves the checkpoint of its first; the third is a half.
    train(again, SPLITS, plan(2.5), tmp_path / "part", Progress())
    assert bits(again.model) == bits(whole.model)
    rows = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in t.history]
        for t in (whole, again)
    ]
    assert rows[0] == rows[1]

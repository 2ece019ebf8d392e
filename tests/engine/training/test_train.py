"""The training loop: masks hold, out of memory is handled, and every epoch is repeatable."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.models.devices import resolve
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training import train as training
from pruning_core.engine.training.checkpoint import CheckpointWriter
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import accumulate_gradients, clip_gradients, step
from pruning_core.engine.training.train import derived_seed, shuffled_batches, train
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.storage.stage_context import Progress
from tests.helpers.models import weight_of
from tests.helpers.pruning import masks_of
from tests.helpers.training import (
    DATA,
    SPLITS,
    InterruptedProgress,
    Net,
    masks_in,
    model_bits,
    plan_of,
    recorded_reads,
    state_of,
)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_pruned_weights_stay_zero_and_others_are_trained(optimizer: str, tmp_path: Path) -> None:
    state = state_of(optimizer)
    before = weight_of(state.model, "0").detach().clone()
    train(state, SPLITS, plan_of(optimizer=optimizer), tmp_path / "c", Progress())
    zeros = before == 0
    assert int(zeros.sum()) == 81
    assert torch.equal(weight_of(state.model, "0") == 0, zeros)
    assert not torch.equal(weight_of(state.model, "0"), before)


def test_a_pruned_weight_that_changes_ends_the_training(tmp_path: Path) -> None:
    state = state_of()
    weight = weight_of(state.model, "0")
    weight.register_hook(lambda gradient: weight.data.add_(1) * 0)
    with pytest.raises(RuntimeError, match="weight"):
        train(state, SPLITS, plan_of(), tmp_path / "c", Progress())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_continuing_from_a_checkpoint_gives_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    whole, stopped, again = (state_of(optimizer) for _ in range(3))
    train(whole, SPLITS, plan_of(3, optimizer), tmp_path / "whole", Progress())
    with pytest.raises(KeyboardInterrupt):
        train(stopped, SPLITS, plan_of(3, optimizer), tmp_path / "part", InterruptedProgress())
    actual = checkpoint.load(tmp_path / "part")
    assert actual is not None
    assert len(actual["history"]) == 2
    again.model.load_state_dict(Net().state_dict())
    train(again, SPLITS, plan_of(3, optimizer), tmp_path / "part", Progress())
    assert model_bits(again.model) == model_bits(whole.model)
    assert len(again.history) == 3


def test_training_from_a_checkpoint_keeps_its_masks(tmp_path: Path) -> None:
    """Also where masks that were computed again differ."""
    first = state_of()
    train(first, SPLITS, plan_of(2, lr_epochs=3), tmp_path / "c", Progress())
    again = state_of(amount=0.6)
    train(again, SPLITS, plan_of(3), tmp_path / "c", Progress())
    for name, mask in masks_in(first).weight_masks.items():
        assert torch.equal(masks_in(again).weight_masks[name], mask)
        assert torch.equal(masks_in(again).weights[name] != 0, mask)


def test_a_step_with_infinite_gradients_is_skipped(tmp_path: Path) -> None:
    """It changes no weight, and is counted."""
    state = state_of()
    weight = weight_of(state.model, "5")
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = weight_of(state.model, "0").detach().clone()
    train(state, SPLITS, plan_of(1), tmp_path / "c", Progress())
    assert state.skipped == 4
    assert torch.equal(weight_of(state.model, "0"), before)
    assert bool(torch.isfinite(weight).all())


@pytest.mark.parametrize(("size", "batch"), [(8, 256), (32, 256), (64, 64), (224, 16)])
def test_batch_norm_is_recalibrated_in_batches_of_limited_pixels(
    size: int, batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    monkeypatch.setattr(training, "recalibrate", lambda *values: batches.append(values[5]))
    plan = plan_of(1, data={**DATA, "image_size": size})
    train(state_of(), SPLITS, plan, tmp_path / "c", Progress())
    assert batches == [batch]


def test_gradients_are_clipped_per_tensor() -> None:
    state = state_of()
    for value in state.model.parameters():
        value.grad = torch.full_like(value, 1000.0)
    bias = state.model.get_parameter("5.bias")
    bias.grad = torch.full_like(bias, 0.1)
    assert clip_gradients(state, max_norm=5.0) == 0
    norms = [float(p.grad.norm()) for p in state.model.parameters() if p.grad is not None]
    assert len(norms) == 6
    assert norms[:-1] == pytest.approx([5.0] * 5, rel=1e-3)
    assert bool((bias.grad == 0.1).all())
    weight = weight_of(state.model, "0")
    assert weight.grad is not None
    assert bool((weight.grad[weight == 0] == 0).all())


def test_every_epoch_has_another_seed() -> None:
    seeds = {derived_seed(0, "level", epoch) for epoch in range(50)}
    assert len(seeds) == 50
    assert derived_seed(0, "level", 1) == derived_seed(0, "level", 1)


def test_shuffled_batches_contain_every_image_once_and_no_single_image() -> None:
    batches = shuffled_batches(33, 16, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == [16, 16]
    batches = shuffled_batches(40, 16, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(batches).tolist()) == list(range(40))


def test_out_of_memory_halves_the_batch_and_training_continues(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Small(Net):
        def forward(self, value: Tensor) -> Tensor:
            if self.training and len(value) > 8:
                raise torch.OutOfMemoryError("no room")
            return super().forward(value)

    state = state_of()
    state.model.__class__ = Small
    train(state, SPLITS, plan_of(1), tmp_path / "c", Progress())
    assert state.parts == 2
    assert "in 2 parts" in caplog.text
    assert len(state.history) == 1


def test_out_of_memory_with_single_images_is_an_error(tmp_path: Path) -> None:
    class Tiny(Net):
        def forward(self, value: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("no room")

    state = state_of()
    state.model.__class__ = Tiny
    with pytest.raises(torch.OutOfMemoryError):
        train(state, SPLITS, plan_of(1), tmp_path / "c", Progress())


def test_gradients_of_parts_add_up_to_that_of_the_batch() -> None:
    """In a model without batch norm, which computes with the images of a part."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    pixels, labels = torch.rand(16, 3, 8, 8), torch.arange(16) % 3
    actual = []
    for parts in (1, 4):
        model.zero_grad()
        state = TrainingState(model, torch.optim.SGD(model.parameters()), parts=parts)
        accumulate_gradients(state, pixels, labels, batch=16)
        gradient = weight_of(model, "1").grad
        assert gradient is not None
        actual.append(gradient.clone())
    torch.testing.assert_close(actual[0], actual[1])


def test_three_trainings_share_one_learning_rate_schedule(tmp_path: Path) -> None:
    rates = []
    for i in range(3):
        state = state_of()
        train(
            state, SPLITS, plan_of(1, lr_from_epoch=i, lr_epochs=3), tmp_path / f"{i}", Progress()
        )
        rates.append(state.history[-1]["lr"])
    assert rates[0] > rates[1] > rates[2]
    whole = state_of()
    train(whole, SPLITS, plan_of(3), tmp_path / "whole", Progress())
    assert [row["lr"] for row in whole.history] == pytest.approx(rates)


def test_the_optimizer_state_of_pruned_weights_is_cleared() -> None:
    state = state_of(amount=0.0)
    weights: dict[str, Tensor] = {"0.weight": weight_of(state.model, "0")}
    state.model(torch.rand(4, 3, 8, 8)).sum().backward()
    state.optimizer.step()
    masks = masks_of(weights, 0.5)
    Masks(weights, masks).clear_state(state.optimizer)
    momentum = state.optimizer.state[weight_of(state.model, "0")]["momentum_buffer"]
    assert int((momentum == 0).sum()) >= 81
    assert bool((momentum[~masks["0.weight"]] == 0).all())
    assert bool((momentum[masks["0.weight"]] != 0).any())


def test_a_damaged_checkpoint_is_renamed(tmp_path: Path) -> None:
    path = tmp_path / "c.ckpt"
    checkpoint.save(path, {"x": torch.arange(3)})
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(bytes(content))
    assert checkpoint.load(path) is None
    assert not path.exists()
    assert list(tmp_path.iterdir()) == [path.with_suffix(".damaged")]


@pytest.mark.parametrize("size", [0, 5, 32, 40])
def test_a_truncated_checkpoint_is_ignored(tmp_path: Path, size: int) -> None:
    path = tmp_path / "c.ckpt"
    checkpoint.save(path, {"x": torch.arange(3)})
    path.write_bytes(path.read_bytes()[:size])
    assert checkpoint.load(path) is None


def test_evaluation_says_which_images_are_correct() -> None:
    state = state_of()
    actual = evaluate(state.model, SPLITS.test, DATA, "cpu")
    assert actual.correct.shape == (20,)
    assert actual.accuracy == actual.correct.mean()
    again = evaluate(state.model, SPLITS.test, DATA, "cpu")
    assert actual.packed() == again.packed()


def test_a_missing_device_is_refused() -> None:
    assert resolve("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(SpecError, match="cuda"):
            resolve("cuda")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip_grad_norm", [0.0, 0.05, 5.0])
def test_a_step_equals_that_of_torch(name: str, clip_grad_norm: float) -> None:
    """Against torch's optimizers, each tensor clipped by `clip_grad_norm_`."""
    ours, plain = state_of(name), state_of(name)
    settings = plan_of(optimizer=name).settings
    options = {"lr": settings["lr"], "weight_decay": settings["weight_decay"]}
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    more = {"momentum": 0.9} if name == "sgd" else {}
    reference = kinds[name](plain.model.parameters(), **more, **options)
    pixels, labels = torch.rand(16, 3, 8, 8), torch.arange(16) % 3
    for seed in range(3):
        torch.manual_seed(seed)
        step(ours, pixels, labels, settings["lr"], clip_grad_norm)
        torch.manual_seed(seed)
        reference.zero_grad()
        torch.nn.functional.cross_entropy(plain.model(pixels), labels).backward()
        masks_in(plain).multiply_gradients()
        for value in plain.model.parameters() if clip_grad_norm else ():
            torch.nn.utils.clip_grad_norm_([value], clip_grad_norm)
        reference.step()
        masks_in(plain).multiply()
    expected = dict(plain.model.named_parameters())
    for key, value in ours.model.named_parameters():
        if key != "0.bias":  # batch norm subtracts it again: its gradient is only rounding
            torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_first_step_that_is_skipped_changes_nothing(name: str) -> None:
    once, twice = state_of(name), state_of(name)
    pixels, labels = torch.rand(16, 3, 8, 8), torch.arange(16) % 3
    torch.manual_seed(1)
    step(once, pixels * float("nan"), labels, 0.01, 5.0)
    for state in (once, twice):
        for module in state.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        torch.manual_seed(2)
        step(state, pixels, labels, 0.01, 5.0)
    assert once.skipped == 1
    assert twice.skipped == 0
    assert model_bits(once.model) == model_bits(twice.model)


def test_the_written_checkpoint_is_the_state_at_its_epoch(tmp_path: Path) -> None:
    """Training that continues while it is written does not change it."""
    state, progress = {"x": torch.zeros(1000)}, Progress()
    with CheckpointWriter(tmp_path / "c", progress) as writer:
        writer.save(state)
        state["x"] += 1
    actual = checkpoint.load(tmp_path / "c")
    assert actual is not None
    assert float(actual["x"].sum()) == 0
    assert progress.published == 1


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path: Path) -> None:
    state = state_of()
    with pytest.raises(OSError, match="No such file"):
        train(state, SPLITS, plan_of(2), tmp_path / "nowhere" / "c", Progress())


def test_a_step_reads_no_value_from_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of()
    pixels, labels = torch.rand(16, 3, 8, 8), torch.arange(16) % 3
    step(state, pixels, labels, 0.01, 5.0)
    reads = recorded_reads(monkeypatch)
    step(state, pixels, labels, 0.01, 5.0)
    assert reads == []
    assert float(state.skipped) == 0
    assert reads == ["__float__"]


def test_validation_uses_recalibrated_batch_norm_and_training_does_not(tmp_path: Path) -> None:
    recalibrated, without = state_of(), state_of()
    settings = plan_of().settings
    train(recalibrated, SPLITS, plan_of(1), tmp_path / "with", Progress())
    unchanged = {**settings, "bn_recalibration_images": 0}
    train(without, SPLITS, plan_of(1, settings=unchanged), tmp_path / "without", Progress())
    states = recalibrated.model.state_dict(), without.model.state_dict()
    differing = {key for key in states[0] if not torch.equal(states[0][key], states[1][key])}
    assert differing - {"1.num_batches_tracked"} == {"1.running_mean", "1.running_var"}
    assert recalibrated.history[0]["loss"] == without.history[0]["loss"]
    assert recalibrated.history[0]["validation_loss"] != without.history[0]["validation_loss"]

"""The training loop: masks hold, memory that runs out is met, and every epoch repeats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.loading import ImageSet, Splits
from pruning_core.engine.masks.masks import Masks
from pruning_core.engine.models.devices import resolve
from pruning_core.engine.training import checkpoint
from pruning_core.engine.training.checkpoint import CheckpointWriter
from pruning_core.engine.training.evaluate import evaluate
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import OPTIMIZERS, TrainingState
from pruning_core.engine.training.step import accumulate, clip_gradients, step
from pruning_core.engine.training.train import TrainingPlan, derived_seed, shuffled_batches, train
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.stage_context import Progress
from tests.helpers.pruning import masks_of

DATA = {"image_size": 8, "augmentation": "crop_flip", "mean": [0.5] * 3, "std": [0.25] * 3}


class Net(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Flatten(),
            nn.Linear(216, 3),
        )


def images(count: int, seed: int) -> ImageSet:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    labels = torch.from_numpy(random.integers(0, 3, count))
    return ImageSet(pixels, labels, np.arange(count))


SPLITS = Splits(images(50, 0), images(12, 1), images(20, 2))


def plan(epochs: int = 3, optimizer: str = "sgd", **more: object) -> TrainingPlan:
    settings = to_dict(TrainSpec(optimizer=optimizer, lr=0.01, batch_size=16))
    made = TrainingPlan(settings, DATA, epochs, 0, epochs, 5, "level", 0, "cpu")
    return replace(made, **more)  # type: ignore[arg-type]


def trainee(optimizer: str = "sgd", amount: float = 0.5) -> TrainingState:
    torch.manual_seed(0)
    model = Net().to(memory_format=torch.channels_last)
    weights = {"0.weight": model[0].weight, "5.weight": model[5].weight}
    kept = masks_of(weights, amount)
    masks = Masks(weights, kept)
    masks.multiply()
    return TrainingState(model, make_optimizer(model, plan(optimizer=optimizer).settings), masks)


def bits(model: nn.Module) -> list[bytes]:
    return [value.contiguous().numpy().tobytes() for value in model.state_dict().values()]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_removed_weights_stay_zero_and_others_learn(optimizer: str, tmp_path: Path) -> None:
    made = trainee(optimizer)
    before = made.model[0].weight.detach().clone()
    train(made, SPLITS, plan(optimizer=optimizer), tmp_path / "c", Progress())
    zeros = before == 0
    assert int(zeros.sum()) == 81
    assert torch.equal(made.model[0].weight == 0, zeros)
    assert not torch.equal(made.model[0].weight, before)


def test_a_weight_that_comes_back_ends_the_training(tmp_path: Path) -> None:
    made = trainee()
    assert made.masks is not None
    weight = made.model[0].weight
    weight.register_hook(lambda gradient: weight.data.add_(1) * 0)
    with pytest.raises(RuntimeError, match="weight"):
        train(made, SPLITS, plan(), tmp_path / "c", Progress())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_going_on_from_a_checkpoint_gives_the_same_bits(optimizer: str, tmp_path: Path) -> None:
    class Stopped(Progress):
        def say(self, fraction: float, message: str) -> None:
            if fraction > 0.9:
                raise KeyboardInterrupt

    whole, stopped, again = (trainee(optimizer) for _ in range(3))
    train(whole, SPLITS, plan(3, optimizer), tmp_path / "whole", Progress())
    with pytest.raises(KeyboardInterrupt):
        train(stopped, SPLITS, plan(3, optimizer), tmp_path / "part", Stopped())
    found = checkpoint.load(tmp_path / "part")
    assert found is not None
    assert len(found["history"]) == 2
    again.model.load_state_dict(Net().state_dict())
    train(again, SPLITS, plan(3, optimizer), tmp_path / "part", Progress())
    assert bits(again.model) == bits(whole.model)
    assert len(again.history) == 3


def test_a_training_that_goes_on_keeps_its_masks(tmp_path: Path) -> None:
    """Also where those that were chosen anew are others."""
    first = trainee()
    train(first, SPLITS, plan(2, lr_epochs=3), tmp_path / "c", Progress())
    again = trainee(amount=0.6)
    train(again, SPLITS, plan(3), tmp_path / "c", Progress())
    assert first.masks is not None
    assert again.masks is not None
    for name, mask in first.masks.kept.items():
        assert torch.equal(again.masks.kept[name], mask)
        assert torch.equal(again.masks.weights[name] != 0, mask)


def test_a_step_whose_gradients_overflow_is_left_out(tmp_path: Path) -> None:
    """Nothing of it reaches the weights, and the run tells how many there were."""
    made = trainee()
    weight = made.model[5].weight
    weight.register_hook(lambda gradient: gradient * float("inf"))
    before = made.model[0].weight.detach().clone()
    train(made, SPLITS, plan(1), tmp_path / "c", Progress())
    assert made.skipped == 4
    assert torch.equal(made.model[0].weight, before)
    assert bool(torch.isfinite(weight).all())


def test_a_long_gradient_is_cut_to_the_limit() -> None:
    made = trainee()
    for value in made.model.parameters():
        value.grad = torch.full_like(value, 1000.0)
    bias = made.model[5].bias
    bias.grad = torch.full_like(bias, 0.1)
    assert clip_gradients(made, clip_grad_norm=5.0) == 0
    lengths = [float(value.grad.norm()) for value in made.model.parameters()]  # type: ignore
    assert lengths[:-1] == pytest.approx([5.0] * (len(lengths) - 1), rel=1e-3)
    assert bool((bias.grad == 0.1).all())
    weight = made.model[0].weight
    assert weight.grad is not None
    assert bool((weight.grad[weight == 0] == 0).all())


def test_every_epoch_has_an_order_of_its_own() -> None:
    seeds = {derived_seed(0, "level", epoch) for epoch in range(50)}
    assert len(seeds) == 50
    assert derived_seed(0, "level", 1) == derived_seed(0, "level", 1)


def test_every_image_once_and_no_batch_of_one() -> None:
    batches = shuffled_batches(33, 16, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == [16, 16]
    batches = shuffled_batches(40, 16, torch.Generator().manual_seed(0))
    assert sorted(torch.cat(batches).tolist()) == list(range(40))


def test_out_of_memory_halves_the_batch_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Small(Net):
        def forward(self, value: Tensor) -> Tensor:
            if self.training and len(value) > 8:
                raise torch.OutOfMemoryError("no room")
            return super().forward(value)

    made = trainee()
    made.model.__class__ = Small
    train(made, SPLITS, plan(1), tmp_path / "c", Progress())
    assert made.parts == 2
    assert "in 2 parts" in caplog.text
    assert len(made.history) == 1


def test_out_of_memory_with_single_images_is_an_error(tmp_path: Path) -> None:
    class Tiny(Net):
        def forward(self, value: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("no room")

    made = trainee()
    made.model.__class__ = Tiny
    with pytest.raises(torch.OutOfMemoryError):
        train(made, SPLITS, plan(1), tmp_path / "c", Progress())


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    """Accumulated gradients are those of the whole batch where no batch norm looks across."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    pixels, labels = torch.rand(16, 3, 8, 8), torch.arange(16) % 3
    found = []
    for parts in (1, 4):
        model.zero_grad()
        accumulate(
            TrainingState(model, torch.optim.SGD(model.parameters()), parts=parts), pixels, labels
        )
        found.append(model[1].weight.grad.clone())
    torch.testing.assert_close(found[0], found[1])


def test_a_chain_goes_down_one_curve(tmp_path: Path) -> None:
    rates = []
    for i in range(3):
        made = trainee()
        train(made, SPLITS, plan(1, lr_from_epoch=i, lr_epochs=3), tmp_path / f"{i}", Progress())
        rates.append(made.history[-1]["lr"])
    assert rates[0] > rates[1] > rates[2]
    whole = trainee()
    train(whole, SPLITS, plan(3), tmp_path / "whole", Progress())
    assert [row["lr"] for row in whole.history] == pytest.approx(rates)


def test_the_state_of_removed_weights_is_cleared() -> None:
    made = trainee(amount=0.0)
    weights = {"0.weight": made.model[0].weight}
    made.model(torch.rand(4, 3, 8, 8)).sum().backward()
    made.optimizer.step()
    kept = masks_of(weights, 0.5)
    Masks(weights, kept).clear_state(made.optimizer)
    momentum = made.optimizer.state[made.model[0].weight]["momentum_buffer"]
    assert int((momentum == 0).sum()) >= 81
    assert bool((momentum[~kept["0.weight"]] == 0).all())
    assert bool((momentum[kept["0.weight"]] != 0).any())


def test_a_damaged_checkpoint_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "c.ckpt"
    checkpoint.save(path, {"x": torch.arange(3)})
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(bytes(content))
    assert checkpoint.load(path) is None
    assert not path.exists()
    assert list(tmp_path.iterdir()) == [path.with_suffix(".damaged")]


@pytest.mark.parametrize("size", [0, 5, 32, 40])
def test_a_cut_short_checkpoint_is_put_aside(tmp_path: Path, size: int) -> None:
    path = tmp_path / "c.ckpt"
    checkpoint.save(path, {"x": torch.arange(3)})
    path.write_bytes(path.read_bytes()[:size])
    assert checkpoint.load(path) is None


def test_evaluation_tells_which_images_were_right() -> None:
    made = trainee()
    found = evaluate(made.model, SPLITS.test, DATA, "cpu")
    assert found.right.shape == (20,)
    assert found.accuracy == found.right.mean()
    again = evaluate(made.model, SPLITS.test, DATA, "cpu")
    assert found.packed() == again.packed()


def test_a_device_that_is_not_there_is_refused() -> None:
    assert resolve("cpu") == "cpu"
    if not torch.cuda.is_available():
        with pytest.raises(SpecError, match="cuda"):
            resolve("cuda")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip_grad_norm", [0.0, 0.05, 5.0])
def test_a_step_is_that_of_the_plain_optimizer(name: str, clip_grad_norm: float) -> None:
    """Against torch's own optimizers, each tensor clipped by `clip_grad_norm_`."""
    ours, plain = trainee(name), trainee(name)
    settings = plan(optimizer=name).settings
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
        assert plain.masks is not None
        plain.masks.multiply_gradients()
        for value in plain.model.parameters() if clip_grad_norm else ():
            torch.nn.utils.clip_grad_norm_([value], clip_grad_norm)
        reference.step()
        plain.masks.multiply()
    wanted = dict(plain.model.named_parameters())
    for key, value in ours.model.named_parameters():
        if key != "0.bias":  # batch norm takes it out again: its gradient is rounding alone
            torch.testing.assert_close(value, wanted[key], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_overflow_in_the_first_step_leaves_no_trace(name: str) -> None:
    once, twice = trainee(name), trainee(name)
    pixels, labels = torch.rand(16, 3, 8, 8), torch.arange(16) % 3
    torch.manual_seed(1)
    step(once, pixels * float("nan"), labels, 0.01, 5.0)
    for made in (once, twice):
        for module in made.model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
        torch.manual_seed(2)
        step(made, pixels, labels, 0.01, 5.0)
    assert once.skipped == 1
    assert twice.skipped == 0
    assert bits(once.model) == bits(twice.model)


def test_the_written_checkpoint_is_the_state_at_its_epoch(tmp_path: Path) -> None:
    """What is trained on while it is written does not get into it."""
    state, progress = {"x": torch.zeros(1000)}, Progress()
    with CheckpointWriter(tmp_path / "c", progress) as writer:
        writer.save(state)
        state["x"] += 1
    found = checkpoint.load(tmp_path / "c")
    assert found is not None
    assert float(found["x"].sum()) == 0
    assert progress.published == 1


def test_a_checkpoint_that_cannot_be_written_ends_the_training(tmp_path: Path) -> None:
    made = trainee()
    with pytest.raises(OSError, match="No such file"):
        train(made, SPLITS, plan(2), tmp_path / "nowhere" / "c", Progress())


def test_a_step_asks_for_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each such question would wait until all that was ordered is done."""

    asked: list[str] = []

    def noting(name: str) -> Callable[..., object]:
        plain = getattr(Tensor, name)
        return lambda *values: asked.append(name) or plain(*values)

    made = trainee()
    pixels, labels = torch.rand(16, 3, 8, 8), torch.arange(16) % 3
    step(made, pixels, labels, 0.01, 5.0)
    for name in ("item", "__bool__", "__float__", "__int__", "tolist", "numpy"):
        monkeypatch.setattr(Tensor, name, noting(name))
    step(made, pixels, labels, 0.01, 5.0)
    assert asked == []
    assert float(made.skipped) == 0
    assert asked == ["__float__"]


def test_what_is_measured_after_an_epoch_is_measured_with_its_own_statistics(
    tmp_path: Path,
) -> None:
    """And what is learned does not depend on them."""
    with_them, without = trainee(), trainee()
    settings = plan().settings
    train(with_them, SPLITS, plan(1), tmp_path / "with", Progress())
    bare = {**settings, "bn_recalibration_images": 0}
    train(without, SPLITS, plan(1, settings=bare), tmp_path / "without", Progress())
    states = with_them.model.state_dict(), without.model.state_dict()
    differing = {key for key in states[0] if not torch.equal(states[0][key], states[1][key])}
    assert differing - {"1.num_batches_tracked"} == {"1.running_mean", "1.running_var"}
    assert with_them.history[0]["loss"] == without.history[0]["loss"]
    assert with_them.history[0]["validation_loss"] != without.history[0]["validation_loss"]

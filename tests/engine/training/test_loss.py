"""The loss: distillation and label smoothing by hand, and a teacher that is not trained."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.training.loss import Objective, distillation_loss, frozen
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import accumulate_gradients, step
from tests.helpers.models import weight_of
from tests.helpers.training import Net, recorded_reads, state_of

IMAGES = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(3))
LABELS = torch.arange(16) % 3


class Fixed(nn.Module):
    """Returns the same logits for all images."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.scores = nn.Parameter(torch.tensor([scores]))

    def forward(self, images: Tensor) -> Tensor:
        return self.scores.expand(len(images), -1)


def test_distillation_by_hand() -> None:
    """Student (0, ln 3), teacher (0, 2 ln 3), T = 2, w = 0.25, label 0.

    At T = 2 the student has (1, 3 ** 0.5) / (1 + 3 ** 0.5), the teacher (1/4, 3/4).
    """
    root = math.sqrt(3)
    student = [1 / (1 + root), root / (1 + root)]
    kl = 0.25 * math.log(0.25 / student[0]) + 0.75 * math.log(0.75 / student[1])
    expected = 0.75 * math.log(4) + 0.25 * 4 * kl
    teacher = frozen(Fixed([0.0, 2 * math.log(3)]))
    objective = Objective(0.0, teacher, weight=0.25, temperature=2.0)
    model = Fixed([0.0, math.log(3)])
    actual = objective(model, torch.zeros(5, 3, 2, 2), torch.zeros(5, dtype=torch.long))
    assert actual.item() == pytest.approx(expected, rel=1e-6)


def test_the_distillation_loss_is_0_where_teacher_and_student_agree() -> None:
    scores = torch.randn(4, 7)
    assert float(distillation_loss(scores, scores + 3.0, 4.0)) == pytest.approx(0.0, abs=1e-6)


def test_label_smoothing_by_hand() -> None:
    """Of three classes with smoothing 0.3 the label has 0.8 and the others 0.1 each."""
    scores = [0.0, 1.0, 2.0]
    logs = [value - math.log(sum(map(math.exp, scores))) for value in scores]
    expected = -(0.8 * logs[2] + 0.1 * logs[0] + 0.1 * logs[1])
    actual = Objective(0.3)(Fixed(scores), torch.zeros(2, 3, 1, 1), torch.tensor([2, 2]))
    assert actual.item() == pytest.approx(expected, rel=1e-6)


def test_without_a_teacher_it_is_the_plain_cross_entropy() -> None:
    model = Net().eval()
    assert torch.equal(
        Objective()(model, IMAGES, LABELS), functional.cross_entropy(model(IMAGES), LABELS)
    )


def distilled_state() -> TrainingState:
    state = state_of()
    torch.manual_seed(9)
    state.objective = Objective(0.0, frozen(Net()), weight=0.5, temperature=4.0)
    return state


def test_a_teacher_gets_the_same_images_and_is_not_trained() -> None:
    state = distilled_state()
    teacher = state.objective.teacher
    assert teacher is not None
    received: list[Tensor] = []
    teacher.register_forward_pre_hook(lambda module, inputs: received.append(inputs[0]))
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    state.model.train()
    step(state, IMAGES, LABELS, 0.1, 1.0)
    assert len(received) == 1
    assert torch.equal(received[0], IMAGES)
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any(value.grad is not None for value in teacher.parameters())


def test_gradients_of_parts_with_a_teacher_add_up_to_that_of_the_batch() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    objective = Objective(0.1, frozen(Net()), weight=0.7, temperature=3.0)
    actual = []
    for parts in (1, 4):
        model.zero_grad()
        optimizer = torch.optim.SGD(model.parameters())
        state = TrainingState(model, optimizer, parts=parts, objective=objective)
        accumulate_gradients(state, IMAGES, LABELS, len(IMAGES))
        gradient = weight_of(model, "1").grad
        assert gradient is not None
        actual.append(gradient.clone())
    torch.testing.assert_close(actual[0], actual[1])


def test_in_bf16_the_teacher_computes_in_bf16() -> None:
    state = distilled_state()
    state.precision = "bf16"
    teacher = state.objective.teacher
    assert teacher is not None
    kinds: list[torch.dtype] = []
    teacher.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    loss = step(state, IMAGES, LABELS, 0.01, 1.0)
    assert kinds == [torch.bfloat16]
    assert loss.dtype == torch.float32


def test_a_step_with_a_teacher_reads_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    state = distilled_state()
    step(state, IMAGES, LABELS, 0.01, 5.0)
    reads = recorded_reads(monkeypatch)
    step(state, IMAGES, LABELS, 0.01, 5.0)
    assert reads == []

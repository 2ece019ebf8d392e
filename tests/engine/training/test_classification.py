"""Every form of output and label gives the right loss and accuracy, or a sentence."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.common.errors import SpecError
from pruning_core.engine.training.classification import (
    count_correct,
    mean_loss,
    one_score_is_probability,
    read_labels,
    read_scores,
    run_model,
)

N, C = 6, 3
GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randn(N, 2, 4, 4, generator=GENERATOR)
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])
LOGITS = torch.randn(N, C, generator=GENERATOR)
CORRECT = int((LOGITS.argmax(1) == LABELS).sum())
LOSS = float(functional.cross_entropy(LOGITS, LABELS))


class TwoOutputs(NamedTuple):
    auxiliary: Tensor
    logits: Tensor


@dataclass
class Output:
    loss: Tensor | None
    logits: Tensor


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        LOGITS[:, :, None, None],
        (LOGITS, LOGITS * 2),
        [LOGITS, torch.zeros(N, 5, 4, 4)],
        (torch.tensor(0.5), LOGITS),
        {"logits": LOGITS, "features": torch.zeros(N, 99)},
        OrderedDict(loss=None, logits=LOGITS),
        {"anything": LOGITS},
        {"pred": LOGITS, "embedding": torch.zeros(N, 99)},
        {"predictions": LABELS, "class_scores": LOGITS},
        SimpleNamespace(loss=None, logits=LOGITS),
        TwoOutputs(LOGITS * 2, LOGITS),
        Output(torch.tensor(0.0), LOGITS),
    ],
)
def test_scores_are_read(output: Any) -> None:
    assert torch.equal(read_scores(output, N), LOGITS)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (None, "no tensor but NoneType"),
        ("scores", "no tensor but str"),
        ((), "no tensor but tuple"),
        ((torch.zeros(N, 99), LOGITS), r"several tensors, \(6, 99\) and \(6, 3\)"),
        (LOGITS[:-1], r"\(5, 3\) for 6 images"),
        (LOGITS.T, r"\(3, 6\) for 6 images"),
        (LOGITS[None], r"\(1, 6, 3\)"),
        (torch.zeros(N, C, 2, 2), r"\(6, 3, 2, 2\)"),
        (LOGITS.mean(), r"\(\) for 6 images"),
        (LOGITS.argmax(1), "scores of int64"),
    ],
)
def test_other_outputs_are_refused(output: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_scores(output, N)


def test_a_model_may_squeeze_the_output_of_one_image() -> None:
    assert read_scores(torch.zeros(C), 1).shape == (1, C)
    assert read_scores(torch.tensor(0.5), 1).shape == (1, 1)
    assert read_scores(torch.zeros(N), N).shape == (N, 1)


ONE_HOT = functional.one_hot(LABELS, C)


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        LABELS[:, None],
        LABELS[:, None, None],
        LABELS.float(),
        LABELS.to(torch.uint8),
        ONE_HOT,
        ONE_HOT.float(),
        ONE_HOT.bool(),
    ],
)
def test_labels_of_any_form_give_the_same_accuracy_and_loss(labels: Tensor) -> None:
    classes = read_labels(labels, LOGITS)
    assert count_correct(LOGITS, classes) == CORRECT
    assert float(mean_loss(LOGITS, classes)) == pytest.approx(LOSS)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (LABELS + 1, LOGITS, "A label is 3, and the model has 3 outputs: labels 0 to 2"),
        (LABELS - 1, LOGITS, "A label is -1"),
        (LABELS + 0.5, LOGITS, "A label is 0.5"),
        (LABELS * float("nan"), LOGITS, "not finite"),
        (LABELS[:-1], LOGITS, r"shape \(5,\) do not fit scores of shape \(6, 3\)"),
        (LABELS[None], LOGITS, r"\(1, 6\)"),
        (functional.one_hot(LABELS, 5), LOGITS, r"\(6, 5\)"),
        (torch.ones(N, C), LOGITS, "each row adds up to 1"),
        (ONE_HOT * 2 - torch.eye(C)[0], LOGITS, "at least 0"),
        (LABELS, LOGITS[:, :1], "one output, so its labels are 0 to 1"),
        (LABELS % 2 * 2 - 1, LOGITS[:, :1], "A label is -1"),
        (ONE_HOT[:, :2], LOGITS[:, :1], r"\(6, 2\) do not fit"),
    ],
)
def test_other_labels_are_refused(labels: Tensor, scores: Tensor, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_labels(labels, scores)


def test_shares_of_classes_have_a_loss_and_an_accuracy_without_ties() -> None:
    shares = torch.tensor([[0.7, 0.2, 0.1]] * N)
    labels = read_labels(shares, LOGITS)
    assert count_correct(LOGITS, labels) == int((LOGITS.argmax(1) == 0).sum())
    assert float(mean_loss(LOGITS, labels)) == pytest.approx(
        float(functional.cross_entropy(LOGITS, shares))
    )
    tied = read_labels(torch.tensor([[0.4, 0.4, 0.2]] * N), LOGITS)
    with pytest.raises(SpecError, match="equal shares"):
        count_correct(LOGITS, tied)


def test_one_score_is_a_logit_or_the_output_of_a_sigmoid() -> None:
    logits = LOGITS[:, :1].clone().requires_grad_()
    binary = LABELS % 2
    expected = functional.binary_cross_entropy_with_logits(logits[:, 0], binary.float())
    for scores in (logits * 1, (logits * 1).squeeze(1)[:, None]):
        assert not one_score_is_probability(scores)
        assert mean_loss(scores, binary).item() == pytest.approx(expected.item())
    for scores in (logits.sigmoid(), logits.sigmoid().squeeze(1).unsqueeze(1).clamp(0, 1)):
        assert one_score_is_probability(scores)
        assert mean_loss(scores, binary, True).item() == pytest.approx(expected.item())
    right = int(((logits[:, 0] > 0) == binary).sum())
    assert count_correct(logits, binary) == count_correct(logits.sigmoid(), binary, True) == right
    two = torch.cat([torch.zeros_like(logits), logits], 1).softmax(1)
    assert one_score_is_probability(two[:, 1:])
    assert mean_loss(two[:, 1:], binary, True).item() == pytest.approx(expected.item())
    for hidden in (logits.sigmoid().detach(), 1 / (1 + (-logits).exp()), logits.sigmoid().round()):
        with pytest.raises(SpecError, match="probability or a logit"):
            one_score_is_probability(hidden)
    with pytest.raises(SpecError, match="logarithm of a probability"):
        one_score_is_probability(functional.logsigmoid(logits))


def test_probabilities_of_a_softmax_have_the_loss_of_their_logits() -> None:
    logits = LOGITS.clone().requires_grad_()
    for scores in (logits.softmax(1), logits.log_softmax(1)):
        assert mean_loss(scores, LABELS).item() == pytest.approx(LOSS)


def test_scores_that_are_no_numbers_are_never_correct() -> None:
    scores = LOGITS.clone()
    scores[:, 1] = float("nan")
    assert count_correct(scores, torch.ones(N, dtype=torch.int64)) == 0


def test_images_get_the_type_of_the_model_and_errors_of_a_model_are_sentences() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, C))
    expected = model(IMAGES)
    assert torch.equal(run_model(model, IMAGES.double(), "cpu"), expected)
    assert run_model(model.bfloat16(), IMAGES, "cpu").dtype == torch.bfloat16
    for images in (IMAGES[:, :1], torch.zeros(N, 2, 4, 4, dtype=torch.uint8)):
        with pytest.raises(SpecError, match=r"does not take the images .* \(6, \d, 4, 4\)"):
            run_model(model, images, "cpu")


def raises(error: Exception) -> nn.Module:
    class Raises(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise error

    return Raises()


@pytest.mark.parametrize(
    ("model", "images", "message"),
    [
        (nn.Conv2d(2, 3, 3), (IMAGES * 9).to(torch.uint8), "divide by 255"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(32)), IMAGES[:1], "larger batch size"),
        (raises(AssertionError("Wrong image height!")), IMAGES, "Wrong image height!"),
        (raises(KeyError("input_ids")), IMAGES, "KeyError 'input_ids'"),
    ],
)
def test_what_a_model_refuses_is_a_sentence(model: nn.Module, images: Tensor, message: str) -> None:
    with pytest.raises(SpecError, match=f"does not take the images.*{message}"):
        run_model(model, images, "cpu")

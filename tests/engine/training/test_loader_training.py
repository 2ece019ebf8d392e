"""Training on the batches of a loader: what the first batch decides for all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pruning_core.engine.training.loader_training import LoaderTraining, measure_accuracy


class Scaled(nn.Module):
    """One score for two classes whose last operation does not show that it is a logit."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return images[:, 0, 0, :1] * self.scale


def test_the_first_batch_decides_whether_a_score_is_a_probability() -> None:
    """In the second batch all scores are between 0 and 1, as those of a small last batch may be."""
    pixels = torch.tensor([-3.0, 3.0, 0.2, 0.4]).reshape(4, 1, 1, 1)
    labels = torch.tensor([0, 1, 1, 0])
    loader = [(pixels[:2], labels[:2]), (pixels[2:], labels[2:])]
    model = Scaled()
    LoaderTraining(model, None, "cpu").run(loader, 2, 0.1)
    assert float(model.scale.detach()) > 1
    counts = measure_accuracy(model, loader, "cpu")
    assert (counts.images, counts.correct, counts.undefined) == (4, 3, 0)

"""What the stages that train share: the order of the classes of a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from pruning_core.engine.stage_training import other_order

NUMBERS = [str(number) for number in range(12)]


def outputs(order: list[str], classes: list[str], images: int, right: float) -> np.ndarray:
    """The predictions of a network whose outputs have an `order`, for images of all classes."""
    labels = np.arange(images) % len(classes)
    numbers = np.array([order.index(name) for name in classes])[labels]
    wrong = np.random.default_rng(0).integers(0, len(classes), images)
    return np.where(np.arange(images) / images < right, numbers, wrong)


@pytest.mark.parametrize("right", [1.0, 0.8])
def test_an_order_with_which_a_checkpoint_is_right_is_told(right: float) -> None:
    """As ImageFolder of torchvision sorts folders whose names are numbers."""
    labels = np.arange(360) % 12
    text = other_order(outputs(sorted(NUMBERS), NUMBERS, 360, right), labels, NUMBERS)
    assert "outputs in another order (alphabetical) it would be" in text
    assert "0 = 0, 1 = 1, 2 = 10, 3 = 11, 4 = 2," in text
    assert "such as 00_0, 01_1," in text
    reversed_text = other_order(np.array([1, 0] * 15), np.array([0, 1] * 15), ["cat", "dog"])
    assert "classifies 0 % of" in reversed_text
    assert "100 %: 0 = dog, 1 = cat." in reversed_text


@pytest.mark.parametrize("seed", range(20))
def test_random_and_right_outputs_have_no_other_order(seed: int) -> None:
    random = np.random.default_rng(seed)
    for classes, images in ((2, 20), (2, 200), (10, 30), (10, 500), (100, 300)):
        names = [str(number) for number in range(classes)]
        labels = np.arange(images) % classes
        for predictions in (
            np.zeros(images, np.int64),
            random.integers(0, classes, images),
            np.where(random.random(images) < 0.6, labels, random.integers(0, classes, images)),
        ):
            assert other_order(predictions, labels, names) == ""
    assert other_order(np.arange(10), np.arange(10)[::-1], names[:10]) == "", "one image per class"

"""Paired tests against scipy and by hand, and what keeps two models from being tested."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pruning_core.results.paired_tests import (
    NO_IMAGES,
    OTHER_IMAGES,
    SAME_MODEL,
    adjusted,
    paired,
)
from tests.helpers.frames import TEST_IMAGES, point

ACCURACIES = {0: (0.93, 0.91), 1: (0.9225, 0.915), 2: (0.9375, 0.9075), 3: (0.92, 0.9175)}


def right_at(places: np.ndarray) -> dict[str, Any]:
    """What a row stores of a model that is right at these places of the test images."""
    return {
        "correct": np.packbits(places).tobytes(),
        "accuracy": float(places.mean()),
    }


def test_the_test_over_images_is_the_exact_binomial_test_of_the_discordant_ones() -> None:
    random = np.random.default_rng(5)
    first, second = random.random((2, TEST_IMAGES)) < [[0.9], [0.85]]
    only = int((first & ~second).sum()), int((second & ~first).sum())
    one = paired([point("iterative", **right_at(first))], [point("one_shot", **right_at(second))])
    (test,) = one.over_images()
    assert test.only == only
    assert test.p == pytest.approx(stats.binomtest(only[0], sum(only)).pvalue, rel=1e-9)
    assert test.difference == pytest.approx(first.mean() - second.mean())
    assert test.low < test.difference < test.high
    assert one.strongest() == test


def test_the_test_over_seeds_is_students_paired_test() -> None:
    first, second = (
        [point(name, 0.9, seed=seed, accuracy=pair[i]) for seed, pair in ACCURACIES.items()]
        for i, name in enumerate(("iterative", "one_shot"))
    )
    test = paired(first, second).strongest()
    expected = stats.ttest_rel(*zip(*ACCURACIES.values(), strict=True))
    assert test
    assert (test.pairing, test.method) == ("4 seeds", "paired t")
    assert test.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (test.low, test.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    # By hand: differences 0.02, 0.0075, 0.03, 0.0025; mean 0.015; deviation 0.0124164.
    assert test.difference == pytest.approx(0.015)
    assert test.high - test.difference == pytest.approx(3.18245 * 0.0124164 / 2, rel=1e-4)


def test_holm_counts_a_test_that_occurs_twice_once() -> None:
    first, second, third = (point(name, 0.9, right) for name, right in MODELS.items())
    test, other = (paired([first], [one]).over_images()[0] for one in (second, third))
    assert (test.p, other.p) == (0.03125, 0.0078125)  # 2 / 2^6 and 2 / 2^8
    reverse = paired([second], [first]).over_images()[0]
    corrected = [one.adjusted for one in adjusted([test, other, reverse, test])]
    assert corrected == [0.03125, 0.015625, 0.03125, 0.03125]
    assert replace(test, adjusted=0.03125) in adjusted([test, other])


MODELS = {"iterative": 306, "one_shot": 300, "one_shot_equal_budget": 298}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"test_digest": "images-2"}, OTHER_IMAGES),
        ({"correct": None}, NO_IMAGES),
        ({"key": "same"}, SAME_MODEL),  # one stage may be the model of two strategies
        ({"key": "same", "quantized_from": "one_shot", "correct": None}, NO_IMAGES),
    ],
)
def test_why_two_models_are_not_tested(change: dict[str, Any], problem: str) -> None:
    one = paired([point("one_shot", 0.9, key="same")], [point("iterative", 0.9, 300, **change)])
    assert one.problem == problem
    assert one.over_images() == []
    assert one.strongest() is None

"""Two models against each other: the paired difference, its interval and its tests.

Two pairings answer two questions. Over images: are these two trained models different, on images
like these? Over seeds: are the two ways of pruning different, when training is repeated? Each
test says which it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from pruning_core.common.formatting import signed
from pruning_core.common.statistics import PairedT, difference_interval, holm, mcnemar, paired_t
from pruning_core.results.rows import Row

SIGNIFICANCE = 0.05
SAME_MODEL, OTHER_IMAGES = "same model", "other test images"
NO_SEED, NO_IMAGES, NO_MODEL = "no equal seed", "results of each image unknown", "no such model"

StagePairs = frozenset[frozenset[str]]  # pairs of stage keys, without an order


@dataclass(frozen=True)
class PairedTest:
    """A difference of accuracy, as a fraction, with its 95 % interval and its p-value.

    `pairing` says over what it is paired: "images, seed 0" or "3 seeds". `adjusted` is the p-value
    after Holm's correction, NaN before it. `stages` are the pairs of stages that are tested, by
    which a test that several runs share is recognized. `only` are the numbers of images that one
    model alone classifies correctly, of one seed.
    """

    pairing: str
    method: str
    difference: float
    low: float
    high: float
    p: float
    stages: StagePairs
    adjusted: float = math.nan
    only: tuple[int, int] = (0, 0)

    @property
    def interval(self) -> str:
        """The interval in percentage points: "-1.2 to 0.4"."""
        return f"{signed(self.low)} to {signed(self.high)}"


@dataclass(frozen=True)
class Comparison:
    """A model against another: their rows of equal seeds, in the order of the seeds.

    `problem` says why they are not tested; it is empty where they are.
    """

    first: tuple[Row, ...]
    second: tuple[Row, ...]
    problem: str = ""

    @property
    def difference(self) -> float:
        """The mean difference of the accuracies over the seeds; NaN without a common seed."""
        return _mean_difference(self.first, self.second, "accuracy")

    @property
    def bytes(self) -> float:
        """The mean difference of the sizes of the sparse files, in bytes."""
        return _mean_difference(self.first, self.second, "sparse_bytes")

    def over_images(self) -> list[PairedTest]:
        """The exact McNemar test of each seed, with the interval of the paired difference."""
        return [_image_test(a, b) for a, b in self._pairs]

    def over_seeds(self) -> PairedTest | None:
        """The paired t test over the seeds; None for a single seed."""
        tested = self.t_test()
        if tested is None:
            return None
        name = f"{len(self.first)} seeds"
        mean, low, high = tested.mean, tested.low, tested.high
        return PairedTest(name, "paired t", mean, low, high, tested.p, self.stages)

    def t_test(self) -> PairedT | None:
        """Student's test of the differences of the seeds."""
        if self.problem:
            return None
        differences = [a["accuracy"] - b["accuracy"] for a, b in self._pairs]
        return paired_t(differences, 1 / max(1, int(self.first[0]["test_images"])))

    def strongest(self) -> PairedTest | None:
        """The test that says most: over seeds if there are several, else over images."""
        return self.over_seeds() or next(iter(self.over_images()), None)

    @property
    def stages(self) -> StagePairs:
        """The pairs of stages that are tested, one a seed."""
        return frozenset(frozenset((a["key"], b["key"])) for a, b in self._pairs)

    @property
    def _pairs(self) -> list[tuple[Row, Row]]:
        return [] if self.problem else list(zip(self.first, self.second, strict=True))


def paired(first: Sequence[Row], second: Sequence[Row]) -> Comparison:
    """Two models whose rows are in the order of the same seeds."""
    problem = ""
    if any(a["test_digest"] != b["test_digest"] for a, b in zip(first, second, strict=True)):
        problem = OTHER_IMAGES
    elif all(_same(a, b) for a, b in zip(first, second, strict=True)):
        problem = SAME_MODEL
    elif not all(isinstance(row["correct"], bytes) for row in (*first, *second)):
        problem = NO_IMAGES
    return Comparison(tuple(first), tuple(second), problem)


def adjusted(tests: Sequence[PairedTest]) -> list[PairedTest]:
    """The tests, corrected together with Holm's method. A test that occurs twice counts once."""
    p_values = {test.stages: test.p for test in tests}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    return [replace(test, adjusted=corrected[test.stages]) for test in tests]


def _image_test(a: Row, b: Row) -> PairedTest:
    n = int(a["test_images"])
    test = mcnemar(a["correct"], b["correct"], n)
    low, high = difference_interval(test.only_a, test.only_b, n)
    return PairedTest(
        f"images, seed {a['seed']}",
        "McNemar",
        (test.only_a - test.only_b) / n,
        low,
        high,
        test.p,
        frozenset({frozenset((a["key"], b["key"]))}),
        only=(test.only_a, test.only_b),
    )


def _mean_difference(first: Sequence[Row], second: Sequence[Row], column: str) -> float:
    differences = [a[column] - b[column] for a, b in zip(first, second, strict=True)]
    return fmean(differences) if differences else math.nan


def _same(a: Row, b: Row) -> bool:
    """Whether two rows are one stage. An int8 file has the stage of its model, and is another."""
    file = a["quantized_from"] or b["quantized_from"]
    return bool(a["key"] == b["key"] and (not file or a["strategy"] == b["strategy"]))

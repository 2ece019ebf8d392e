"""Models of several runs that share stages are one model, with the seeds of all."""

from __future__ import annotations

from typing import Any

import pytest

from pruning_core.results.rows import MODEL_COLUMNS, grouped
from pruning_core.results.shared_models import largest, pooled, run_text
from tests.helpers.frames import in_run, point

SEEDS = [point("one_shot", 0.9, 300 + seed, seed=seed) for seed in range(4)]


def models(*runs: tuple[int, ...]) -> list[list[dict[str, Any]]]:
    """The model of each run, which has these seeds."""
    rows = [row for i, seeds in enumerate(runs) for row in in_run(SEEDS, "ABC"[i], *seeds)]
    return grouped(rows, *MODEL_COLUMNS)


@pytest.mark.parametrize(
    ("runs", "text", "of_each"),
    [
        (((0,), (0, 1, 2)), 'run "B"', ["B"]),
        (((0, 1), (0, 1)), 'run "A"', ["A"]),
        (((0, 1), (1, 2)), 'runs "A" and "B"', ["A", "B"]),
        (((0, 1), (2, 3), (1, 2)), 'runs "A" and "B"', ["A", "B", "C"]),
    ],
)
def test_models_that_share_a_stage_are_one(
    runs: tuple[tuple[int, ...], ...], text: str, of_each: list[str]
) -> None:
    (model,) = pooled(models(*runs))
    assert [row["seed"] for row in model] == sorted({seed for seeds in runs for seed in seeds})
    assert run_text(model) == text
    assert [one[0]["run"] for one in largest(models(*runs))] == of_each


def test_of_equal_models_that_of_the_larger_run_stays() -> None:
    larger = [*models((0,), (0,)), [{**SEEDS[1], "strategy": "iterative", "run_id": "run-B"}]]
    assert [one[0]["run_id"] for one in pooled(larger)] == ["run-B", "run-B"]
    assert [one[0]["run_id"] for one in largest(larger)] == ["run-B", "run-B"]


def test_other_models_stay_apart() -> None:
    same_stage = [{**SEEDS[0], "strategy": "one_shot_equal_budget", "run_id": "run-B"}]
    conflict = [{**SEEDS[0], "run_id": "run-B"}, {**SEEDS[1], "key": "other", "run_id": "run-B"}]
    for other in (same_stage, conflict, [SEEDS[2]]):
        assert pooled([SEEDS[:2], other]) == [SEEDS[:2], other]
        assert largest([SEEDS[:2], other]) == [SEEDS[:2], other]

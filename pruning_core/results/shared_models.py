"""Models that several runs share: runs with equal settings have common stages.

A run with seed 0 and one with seeds 0, 1 and 2 of the same settings hold one way of pruning, not
two. Against each other they would be the same model, and against a third one they would count
twice. Here a model is a list of rows, one a seed.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from pruning_core.common.formatting import join_words
from pruning_core.results.rows import Row

Model = list[Row]


def pooled(models: Iterable[Model]) -> list[Model]:
    """The models, with those of one strategy that share a stage as one: it has the seeds of all.

    Its rows are those of one run where a run has all of them, of the run with the most rows.
    Models that share a stage and differ at an equal seed stay apart.
    """
    models = list(models)
    sizes = _run_sizes(models)
    result = []
    for pool in _pools(models):
        rows: dict[int, Row] = {}
        for row in itertools.chain.from_iterable(pool):
            rows.setdefault(row["seed"], row)
        whole = [model for model in pool if len(model) == len(rows)]
        best = max(whole, key=lambda model: sizes[model[0]["run_id"]], default=None)
        result.append(best or [rows[seed] for seed in sorted(rows)])
    return result


def largest(models: Iterable[Model]) -> list[Model]:
    """The models without those whose stages are all part of another one of the same strategy.

    Of equal models the one of the run with the most rows stays.
    """
    models = list(models)
    sizes = _run_sizes(models)
    chosen: list[int] = []
    for pool in _pools(models):
        kept: list[Model] = []
        for model in sorted(pool, key=lambda one: (-len(one), -sizes[one[0]["run_id"]])):
            if not any(_keys(model) <= _keys(other) for other in kept):
                kept.append(model)
        chosen += map(id, kept)
    return [model for model in models if id(model) in chosen]


def runs_by_stage(rows: Iterable[Row]) -> dict[str, dict[str, str]]:
    """The runs that hold each stage, by its key: their labels by their ids."""
    runs: dict[str, dict[str, str]] = {}
    for row in rows:
        runs.setdefault(row["key"], {})[row["run_id"]] = str(row["run"])
    return runs


def run_text(model: Model) -> str:
    """The run of a pooled model, or the runs: 'run "A"', 'runs "A" and "B"'."""
    names = list(dict.fromkeys(f'"{row["run"]}"' for row in model))
    return f"{'run' if len(names) == 1 else 'runs'} {join_words(names)}"


def _pools(models: list[Model]) -> list[list[Model]]:
    """The models in groups that share stages; groups and members in order of appearance."""
    places = {id(model): place for place, model in enumerate(models)}
    pools: list[list[Model]] = []
    by_stage: dict[tuple[str, str, str], list[Model]] = {}
    for model in models:
        sharing = {id(pool): pool for row in model if (pool := by_stage.get(_stage(row)))}
        joined = [pool for pool in sharing.values() if _agree(pool, model)]
        pool, others = (joined[0], joined[1:]) if joined else ([], [])
        if not joined:
            pools.append(pool)
        pool.append(model)
        for other in others:
            pool += other
            pools = [one for one in pools if one is not other]
        for member in pool:
            for row in member:
                by_stage[_stage(row)] = pool
    return [sorted(pool, key=lambda model: places[id(model)]) for pool in pools]


def _agree(pool: list[Model], model: Model) -> bool:
    """Whether the stages at equal seeds are equal."""
    keys = {row["seed"]: row["key"] for member in pool for row in member}
    return all(keys.get(row["seed"], row["key"]) == row["key"] for row in model)


def _run_sizes(models: list[Model]) -> Counter[str]:
    return Counter(str(row["run_id"]) for model in models for row in model)


def _stage(row: Row) -> tuple[str, str, str]:
    """A stage and what it is: the file of a model has the key of the model."""
    return row["key"], row["strategy"], row["quantized_from"]


def _keys(model: Model) -> set[str]:
    return {str(row["key"]) for row in model}

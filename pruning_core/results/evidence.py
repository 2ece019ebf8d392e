"""What was measured of a finished point, gathered for its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from pruning_core.methods.file_formats import FORMATS
from pruning_core.planning.stage import Point, Reader, Stage
from pruning_core.results import exported_files, latency
from pruning_core.results.deployment import (
    INT8,
    Evidence,
    File,
    Structured,
    smallest_file,
    timing_of,
)
from pruning_core.results.points import STRATEGY_NAMES, STRUCTURED

MOST_LOST = 0.01


def evidence(
    point: Point,
    dense: Point,
    others: Sequence[Point],
    stages: Iterable[Stage],
    store: Reader,
    most_lost: float = MOST_LOST,
) -> Evidence:
    """The figures of a point beside its dense baseline's; what is not measured is left out.

    `stages` are the latency stages of these points, `others` those timed beside them; of several
    numbers of images and threads the first ones count (`spoken_for`). A file may lose `most_lost`
    (a fraction) of the baseline's accuracy.
    """
    stages = list(stages)
    own, base, how = store.read(point.key), store.read(dense.key), spoken_for(stages)
    files = exported_files.ladder(point, dense, store).to_dict("records")
    found = [File(FORMATS[r["format"]].title, r["bytes"], r["accuracy"]) for r in files]
    times = latency.latency_frame(stages, store)
    return Evidence(
        most_lost=most_lost,
        dense_bytes=base["dense_bytes"],
        files_measured=bool(found),
        smallest=smallest_file(found, base["accuracy"], most_lost),
        timing=timing_of(times, point.key, *how),
        int8=timing_of(times, point.key, *how, runtimes=(INT8,)),
        structured=tuple(_structured(others, times, store, how)),
        accuracy_low=own["accuracy_low"],
        accuracy_high=own["accuracy_high"],
        zeros=point.strategy != STRUCTURED and own["weights_zeros"] > 0,
    )


def spoken_for(stages: Iterable[Stage]) -> tuple[int, int]:
    """Images at a time and threads of the timing that a verdict is made from."""
    for stage in stages:
        return stage.settings["batches"][0], stage.settings["threads"][0]
    return 1, 1


def _structured(
    points: Iterable[Point], times: pd.DataFrame, store: Reader, how: tuple[int, int]
) -> Iterable[Structured]:
    for point in points:
        timing = timing_of(times, point.key, *how)
        if point.strategy == STRUCTURED and timing:
            name = f"the model with {STRATEGY_NAMES[STRUCTURED]}"
            yield Structured(name, timing, store.read(point.key)["accuracy"])

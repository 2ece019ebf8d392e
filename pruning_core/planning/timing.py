"""The stages that measure time: the latency of models, and sparse against dense kernels."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import SpecError, at_least, check
from pruning_core.common.formatting import format_count, join_words
from pruning_core.common.machine import usable_cores
from pruning_core.common.paired_timing import LEAST_ROUNDS
from pruning_core.methods.runtimes import (
    AS_TRAINED,
    MAX_PIXELS,
    RUNTIMES,
    SPARSE_KERNELS,
    Backend,
    backends,
    missing_packages,
)
from pruning_core.planning.stage import Stage

LATENCY = "latency"


# Images that only set the ranges of 8 bits, where nothing but the time is asked for.
RANGE_IMAGES, SEED = 32, 0
SPARSE_SPEEDUP = "sparse_speedup"
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Conditions:
    """How to time: images at a time, threads, and pixels a side (0: as trained).

    For each batch and number of threads there are at most `rounds` rounds, and none begins
    after `seconds`. Raises `SpecError`.
    """

    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    image_size: int = AS_TRAINED
    rounds: int = 100
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for name, values in (("batches", self.batches), ("threads", self.threads)):
            check(len(values) > 0, name, "give at least one number.")
            check(len(set(values)) == len(values), name, "a number stands there twice.")
            at_least(name, min(values), 1)
        check(0 <= self.image_size <= MAX_PIXELS, "image_size", f"give 0 to {MAX_PIXELS}.")
        at_least("rounds", self.rounds, LEAST_ROUNDS)
        check(self.seconds > 0, "seconds", "give more than 0.")


def skipped_notes(names: Iterable[str], conditions: Conditions) -> list[str]:
    """What of this is not timed here, and why, in sentences."""
    found = []
    missing = missing_packages(names := list(names))
    for family in backends(names).values():
        if family.package in missing:
            found.append(f"{family.title} is not timed: pip install {family.package}.")
        elif dropped := sorted(set(conditions.batches) - set(_batches(family, conditions))):
            most, batches = family.max_batch, join_words(map(str, dropped))
            images = format_count(most, "image")
            found.append(f"{family.title} takes {images} at a time, so not {batches}.")
    return found


def latency_stages(
    points: Sequence[str],
    names: Iterable[str] = tuple(RUNTIMES),
    conditions: Conditions = Conditions(),
    machine: str = "",
) -> list[Stage]:
    """The stages that time finished points beside each other: one for each family.

    `points` are keys, the dense baseline's first. One that cannot be timed here is in
    `left_out`. A stage keeps all cores for itself, and no other machine takes its times for
    its own. Raises `SpecError`.
    """
    check(len(points) > 0, "points", "give at least the dense model.")
    check(len(set(points)) == len(points), "points", "a model stands there twice.")
    names = list(dict.fromkeys(names))
    missing = missing_packages(names)
    stages = []
    for key, family in backends(names).items():
        batches = _batches(family, conditions)
        if family.package in missing or not batches:
            continue
        own = [name for name in names if RUNTIMES[name].backend == key]
        settings: dict[str, Any] = {
            "runs": [{"point": point, "runtime": name} for name in own for point in points],
            "batches": list(batches),
            "threads": list(conditions.threads),
            "image_size": conditions.image_size,
            "rounds": conditions.rounds,
            "seconds": float(conditions.seconds),
            "images": RANGE_IMAGES,
            "seed": SEED,
            "machine": machine or platform.node(),
        }
        cores = max(usable_cores(), *conditions.threads)
        stages.append(Stage(LATENCY, points[min(1, len(points) - 1)], settings, threads=cores))
    return stages


def _batches(family: Backend, conditions: Conditions) -> tuple[int, ...]:
    return tuple(b for b in conditions.batches if b <= (family.max_batch or b))


def check_machine(settings: Mapping[str, Any]) -> None:
    """Refuse to time here what was asked of another machine. Raises `SpecError`."""
    asked, here = settings["machine"], platform.node()
    if asked != here:
        raise SpecError("machine", f"the times of {asked} were asked for, and this is {here}.")


def sparse_speedup_stage(
    point: str,
    image_size: int = AS_TRAINED,
    sparsities: Iterable[float] = SPARSITIES,
    kernels: Iterable[str] = tuple(SPARSE_KERNELS),
    rounds: int = 40,
    seconds: float = 3.0,
    machine: str = "",
) -> Stage:
    """The stage that times dense against sparse products of a point's 1x1 and linear layers.

    One image, one thread, random masks. `image_size` 0 is the trained one; `rounds` and
    `seconds` are spent at most on each shape of layer. Raises `SpecError`.
    """
    sparsities, kernels = sorted(map(float, sparsities)), list(kernels)
    check(bool(sparsities), "sparsities", "give at least one.")
    check(all(0 < s < 1 for s in sparsities), "sparsities", "each lies between 0 and 1.")
    known = f"choose of {', '.join(SPARSE_KERNELS)}."
    check(bool(kernels) and set(kernels) <= set(SPARSE_KERNELS), "kernels", known)
    check(0 <= image_size <= MAX_PIXELS, "image_size", f"give 0 to {MAX_PIXELS}.")
    at_least("rounds", rounds, 6)
    settings: dict[str, Any] = {
        "image_size": image_size,
        "sparsities": sparsities,
        "kernels": kernels,
        "rounds": rounds,
        "seconds": float(seconds),
        "seed": 0,
        "machine": machine or platform.node(),
    }
    return Stage(SPARSE_SPEEDUP, point, settings, threads=usable_cores())

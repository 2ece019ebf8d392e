"""The stages that measure time: the latency of models, and sparse and dense kernels."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pruning_core.common.errors import SpecError, at_least, check, once, one_of
from pruning_core.common.formatting import join_words
from pruning_core.common.machine import usable_cores
from pruning_core.common.paired_timing import LEAST_ROUNDS
from pruning_core.methods.runtimes import (
    AS_TRAINED,
    MAX_PIXELS,
    RUNTIMES,
    SPARSE_KERNELS,
    Backend,
    backends,
    dense_runtimes,
    installed_kernels,
    missing_packages,
)
from pruning_core.planning.measurement_types import LatencySettings, SparseSpeedupSettings
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_types import stored

LATENCY = "latency"
SPARSE_SPEEDUP = "sparse_speedup"
# Calibration images of an int8 file whose latency alone is measured.
RANGE_IMAGES, SEED = 32, 0
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


@dataclass(frozen=True)
class Conditions:
    """The conditions of a latency measurement.

    `batches` are batch sizes and `image_size` the input resolution in pixels (0: as trained). For
    each batch size and number of threads there are at most `rounds` rounds, and no round begins
    after `seconds`. Raises `SpecError` for values that cannot be measured.
    """

    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    image_size: int = AS_TRAINED
    rounds: int = 100
    seconds: float = 10.0

    def __post_init__(self) -> None:
        for name, values in (("batches", self.batches), ("threads", self.threads)):
            check(len(values) > 0, name, "give at least one number.")
            once(name, values)
            at_least(name, min(values), 1)
        _check_image_size(self.image_size)
        at_least("rounds", self.rounds, LEAST_ROUNDS)
        check(self.seconds > 0, "seconds", "give more than 0.")


def _check_image_size(pixels: int) -> None:
    """Refuse an input resolution that is too large. Raises `SpecError`."""
    check(0 <= pixels <= MAX_PIXELS, "image_size", f"give 0 to {MAX_PIXELS}.")


def skipped_notes(names: Iterable[str], conditions: Conditions) -> list[str]:
    """Sentences on the runtimes and batch sizes that are not measured here."""
    notes = []
    missing = missing_packages(names := list(names))
    for backend in backends(names).values():
        if backend.package in missing:
            notes.append(
                f"{backend.title} is not measured, because it is not installed: "
                f"pip install {backend.package}."
            )
        elif skipped := sorted(set(conditions.batches) - set(_batches(backend, conditions))):
            sizes = join_words(map(str, skipped))
            notes.append(
                f"{backend.title} has a maximum batch size of {backend.max_batch}, so batch size "
                f"{sizes} is not measured."
            )
    return notes


def latency_stages(
    models: Sequence[str],
    names: Iterable[str] = tuple(RUNTIMES),
    conditions: Conditions = Conditions(),
    machine: str = "",
    with_references: bool = False,
) -> list[Stage]:
    """The stages that measure the latency of finished models, interleaved: one for each backend.

    `models` are keys, the dense baseline's first. `skipped_notes` tells which runtimes are not
    measured. A stage with a sparse runtime, and `with_references` each stage, also times the dense
    model in all dense runtimes that are installed, so that models are compared with the fastest of
    them. A stage takes all cores. The
    machine's name is part of the key, because latencies of machines differ. Raises `SpecError`.
    """
    check(len(models) > 0, "points", "give at least the dense model.")
    once("points", models)
    names = list(dict.fromkeys(names))
    missing = missing_packages(names)
    stages = []
    for key, backend in backends(names).items():
        batches = _batches(backend, conditions)
        if backend.package in missing or not batches:
            continue
        runtimes = [name for name in names if RUNTIMES[name].backend == key]
        compared = with_references or any(RUNTIMES[name].sparse for name in runtimes)
        settings = LatencySettings(
            runs=[{"point": model, "runtime": name} for name in runtimes for model in models],
            batches=list(batches),
            threads=list(conditions.threads),
            image_size=conditions.image_size,
            rounds=conditions.rounds,
            seconds=float(conditions.seconds),
            images=RANGE_IMAGES,
            seed=SEED,
            machine=machine or platform.node(),
            references=_references(runtimes) if compared else None,
        )
        parent, cores = models[min(1, len(models) - 1)], max(usable_cores(), *conditions.threads)
        stages.append(Stage(LATENCY, parent, stored(settings), threads=cores))
    return stages


def _references(runtimes: Sequence[str]) -> list[str]:
    """The dense runtimes besides these that are installed here."""
    others = [name for name in dense_runtimes() if name not in runtimes]
    return [name for name in others if not missing_packages([name])]


def _batches(backend: Backend, conditions: Conditions) -> tuple[int, ...]:
    """The batch sizes that a backend can run."""
    return tuple(b for b in conditions.batches if b <= (backend.max_batch or b))


def check_machine(planned: str) -> None:
    """Refuse to run a measurement that was planned for another machine. Raises `SpecError`."""
    this = platform.node()
    if planned != this:
        raise SpecError(
            "machine",
            "this measurement is planned for the machine {planned}, but this is {this}.",
            planned=planned,
            this=this,
        )


def sparse_speedup_stage(
    model: str,
    image_size: int = AS_TRAINED,
    sparsities: Iterable[float] = SPARSITIES,
    kernels: Iterable[str] | None = None,
    rounds: int = 40,
    seconds: float = 3.0,
    machine: str = "",
) -> Stage:
    """The stage that measures sparse and dense kernels on a model's 1x1 and linear layers.

    One image, one thread, random masks. `kernels` are all that are installed here, or these.
    `image_size` 0 is the trained resolution; `rounds` and
    `seconds` are the limits for each shape of layer. Raises `SpecError`.
    """
    sparsities = sorted(map(float, sparsities))
    names = list(installed_kernels() if kernels is None else kernels)
    check(bool(sparsities), "sparsities", "give at least one sparsity.")
    check(all(0 < s < 1 for s in sparsities), "sparsities", "give sparsities above 0 and below 1.")
    check(bool(names), "kernels", "give at least one kernel.")
    for kernel in names:
        one_of("kernels", kernel, tuple(SPARSE_KERNELS))
    _check_image_size(image_size)
    at_least("rounds", rounds, LEAST_ROUNDS)
    settings = SparseSpeedupSettings(
        image_size=image_size,
        sparsities=sparsities,
        kernels=names,
        rounds=rounds,
        seconds=float(seconds),
        seed=0,
        machine=machine or platform.node(),
    )
    return Stage(SPARSE_SPEEDUP, model, stored(settings), threads=usable_cores())

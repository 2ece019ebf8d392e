"""How fast finished models run on this machine: the stages that time them, and their tables.

A new runtime is one entry in `RUNTIMES`, and one in `engine.speed.runtimes.OPENERS`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pandas as pd

from pruning_core.common.errors import SpecError, at_least, check, one_of
from pruning_core.common.formatting import format_count, join_words
from pruning_core.common.machine import usable_cores
from pruning_core.common.paired_timing import JUDGEMENTS, LEAST_ROUNDS
from pruning_core.planning.stage import Reader, Stage
from pruning_core.storage.store import known

KIND = "latency"
AS_TRAINED = 0
MOST_PIXELS = 1024
# Images that only set the ranges of 8 bits, where nothing but the time is asked for.
RANGE_IMAGES, SEED = 32, 0


@dataclass(frozen=True)
class Family:
    """A program that runs models. Its models are timed in turn with each other.

    `package` is what has to be installed; `most_images` the most that it takes at a time, 0
    where any number will do.
    """

    title: str
    package: str
    most_images: int = 0


@dataclass(frozen=True)
class Runtime:
    """A family running one kind of file; no `format` where it runs what is in memory."""

    title: str
    family: str
    format: str = ""


FAMILIES: dict[str, Family] = {
    "torch": Family("PyTorch", "torch"),
    "onnxruntime": Family("ONNX Runtime", "onnxruntime"),
    "executorch": Family("ExecuTorch", "executorch", most_images=1),
}
RUNTIMES: dict[str, Runtime] = {
    "eager": Runtime("PyTorch, batch norm folded", "torch"),
    "onnx": Runtime("ONNX Runtime", "onnxruntime", "onnx"),
    "onnx_int8": Runtime("ONNX Runtime, int8", "onnxruntime", "onnx_int8"),
    "executorch": Runtime("ExecuTorch", "executorch", "executorch"),
}


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
        check(0 <= self.image_size <= MOST_PIXELS, "image_size", f"give 0 to {MOST_PIXELS}.")
        at_least("rounds", self.rounds, LEAST_ROUNDS)
        check(self.seconds > 0, "seconds", "give more than 0.")


def missing_packages(names: Iterable[str] = tuple(RUNTIMES)) -> list[str]:
    """Packages that these runtimes need and that are not installed here."""
    needed = (family.package for family in _families(names).values())
    return [package for package in needed if find_spec(package) is None]


def left_out(names: Iterable[str], conditions: Conditions) -> list[str]:
    """What of this is not timed here, and why, in sentences."""
    found = []
    missing = missing_packages(names := list(names))
    for family in _families(names).values():
        if family.package in missing:
            found.append(f"{family.title} is not timed: pip install {family.package}.")
        elif dropped := sorted(set(conditions.batches) - set(_batches(family, conditions))):
            most, batches = family.most_images, join_words(map(str, dropped))
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
    for key, family in _families(names).items():
        batches = _batches(family, conditions)
        if family.package in missing or not batches:
            continue
        own = [name for name in names if RUNTIMES[name].family == key]
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
        stages.append(Stage(KIND, points[min(1, len(points) - 1)], settings, threads=cores))
    return stages


def _families(names: Iterable[str]) -> dict[str, Family]:
    """The families of some runtimes. Raises `SpecError` for a runtime that there is not."""
    names = list(names)
    for name in names:
        one_of("runtimes", name, tuple(RUNTIMES))
    return {key: FAMILIES[key] for key in dict.fromkeys(RUNTIMES[name].family for name in names)}


def _batches(family: Family, conditions: Conditions) -> tuple[int, ...]:
    return tuple(b for b in conditions.batches if b <= (family.most_images or b))


COLUMNS = {
    "runtime": "runtime",
    "batch": "images_at_a_time",
    "threads": "threads",
    "image_size": "image_size_pixels",
    "bytes": "file_bytes",
    "p10_ms": "p10_ms",
    "p50_ms": "p50_ms",
    "p90_ms": "p90_ms",
    "images_per_second": "images_per_second",
    "rounds": "rounds",
    "ratio": "times_as_fast",
    "ratio_low": "times_as_fast_low",
    "ratio_high": "times_as_fast_high",
    "judgement": "judgement",
    "first_ratio": "times_as_fast_as_first",
    "first_ratio_low": "times_as_fast_as_first_low",
    "first_ratio_high": "times_as_fast_as_first_high",
    "first_judgement": "judgement_to_first",
    "first_runtime": "first_runtime",
    "role": "role",
    "point": "point",
}


def latency_frame(
    stages: Iterable[Stage], store: Reader, names: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """What finished stages found: a row a model, runtime, batch and number of threads.

    Columns: `model` (its name in `names`, by key), `runtime_title`, `judgement_text`, and the
    values of `COLUMNS`. Times are milliseconds of a call with so many images. `times_as_fast`
    is against the dense model in the same runtime, with its 95 % interval: what pruning
    changed. `times_as_fast_as_first` is against the dense model in `first_runtime`:
    what pruning and kind of file changed together. Both are missing where there is nothing to
    compare with. `role` is dense, candidate or control, which is the dense model timed against
    itself: what this machine makes of no difference.
    """
    rows = [row for stage in stages for row in _result(store, stage.key).get("rows", [])]
    if not rows:
        return pd.DataFrame(columns=["model", "runtime_title", *COLUMNS.values()])
    frame = pd.DataFrame(rows)[list(COLUMNS)].rename(columns=COLUMNS)
    models = frame["point"].map(lambda key: (names or {}).get(key, key[:12]))
    frame.insert(0, "model", models)
    frame.insert(1, "runtime_title", frame["runtime"].map(lambda name: RUNTIMES[name].title))
    frame["judgement_text"] = frame["judgement"].map(JUDGEMENTS).fillna("")
    return frame


def notes(stages: Iterable[Stage], store: Reader) -> list[str]:
    """What is to be known of the times, in sentences."""
    found = [note for stage in stages for note in _result(store, stage.key).get("notes", [])]
    return list(dict.fromkeys(found))


def circumstances(stages: Iterable[Stage], store: Reader) -> dict[str, Any]:
    """On what the first finished stage ran: machine, processor, cores, versions; or nothing."""
    found = (_result(store, stage.key).get("circumstances") for stage in stages)
    return next((value for value in found if value), {})


def _result(store: Reader, key: str) -> dict[str, Any]:
    return known(store, key) or {}


def check_machine(settings: Mapping[str, Any]) -> None:
    """Refuse to time here what was asked of another machine. Raises `SpecError`."""
    asked, here = settings["machine"], platform.node()
    if asked != here:
        raise SpecError("machine", f"the times of {asked} were asked for, and this is {here}.")

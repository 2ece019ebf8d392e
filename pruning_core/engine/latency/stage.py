"""The stage that measures the latency of models beside the dense one, in one backend."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pruning_core.common.formatting import format_count, format_percent
from pruning_core.common.machine import LOWEST_CORE_SHARE
from pruning_core.common.paired_timing import (
    Ratio,
    Times,
    control_width,
    judge,
    paired_ratio,
    summary,
)
from pruning_core.engine.export.file_writer import Run
from pruning_core.engine.export.stage import largest_difference
from pruning_core.engine.latency.interleaved import Budget, interleaved_times
from pruning_core.engine.latency.runtimes import opener_of, with_threads
from pruning_core.engine.latency.timed_models import (
    ModelFile,
    TimedModel,
    load_timed_model,
    model_file,
)
from pruning_core.engine.models import devices
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.runtimes import BACKENDS, RUNTIMES, Backend, dense_runtimes
from pruning_core.planning.measurement_types import LatencyResult, LatencySettings
from pruning_core.planning.timing import check_machine
from pruning_core.storage.stage_context import Context, StageError

SAMPLES_FILE = "samples.json"
COMPARISON_IMAGES = 2


@dataclass(frozen=True)
class Candidate:
    """A model in a runtime. The control is the dense model, timed a second time.

    `point` is the key of the model's stage.
    """

    point: str
    runtime: str
    control: bool = False


@dataclass(frozen=True)
class Group:
    """The times (rounds, 2) of models in interleaved rounds, with one batch size and threads.

    `core_share` is the share of the time in which this process had a core.
    """

    batch: int
    threads: int
    times: dict[Candidate, Times]
    core_share: float


Models = dict[str, TimedModel]
Files = dict[Candidate, ModelFile]


def latency(context: Context[LatencySettings]) -> LatencyResult:
    """Open all models, time them in interleaved rounds, and compare each with the dense one."""
    settings, started = context.settings, time.perf_counter()
    check_machine(settings.machine)
    candidates = [Candidate(run["point"], run["runtime"]) for run in settings.runs]
    backend = _backend(candidates)
    candidates += [Candidate(candidates[0].point, name) for name in settings.references or ()]
    if find_spec(backend.package) is None:
        raise StageError(f"{backend.title} needs its package: pip install {backend.package}.")
    keys = dict.fromkeys(candidate.point for candidate in candidates)
    models = {
        key: load_timed_model(
            context.store, key, settings.image_size, settings.images, settings.seed
        )
        for key in keys
    }
    with tempfile.TemporaryDirectory(dir=context.folder) as folder:
        files = _files(context, candidates, models, Path(folder))
        groups = list(_groups(context, candidates, models, files))
    (context.folder / SAMPLES_FILE).write_text(json.dumps([_samples(group) for group in groups]))
    sizes = {candidate: file.bytes for candidate, file in files.items()}
    image_size = models[candidates[0].point].size
    return LatencyResult(
        rows=[
            {**row, "image_size": image_size} for group in groups for row in rows_of(group, sizes)
        ],
        notes=_notes(models, files, groups),
        circumstances=machine_facts(backend.package),
        seconds=time.perf_counter() - started,
    )


def _backend(candidates: list[Candidate]) -> Backend:
    """The backend of the runtimes; references may have others."""
    return BACKENDS[RUNTIMES[candidates[0].runtime].backend]


def _files(
    context: Context[LatencySettings], candidates: list[Candidate], models: Models, folder: Path
) -> Files:
    files = {}
    for i, candidate in enumerate(candidates):
        title = RUNTIMES[candidate.runtime].title
        context.progress.say(0.2 * i / len(candidates), f"Preparing the models for {title}")
        model = models[candidate.point]
        files[candidate] = model_file(context.store, model, candidate.runtime, folder)
    return files


def _groups(
    context: Context[LatencySettings], candidates: list[Candidate], models: Models, files: Files
) -> Iterator[Group]:
    """The times of all models for each number of threads and each batch size."""
    settings, title = context.settings, _backend(candidates).title
    budget = Budget(settings.rounds, settings.seconds)
    done, total = 0, len(settings.threads) * len(settings.batches)

    def say(message: str, finished_groups: int, fraction: float) -> None:
        context.progress.say(0.2 + 0.8 * (finished_groups + fraction) / total, message)

    for threads in settings.threads:
        runs = _opened(candidates, models, files, threads)
        for batch in settings.batches:
            fitting = {candidate: run for candidate, run in runs.items() if _fits(candidate, batch)}
            message = f"{title}, batch size {batch}, {format_count(threads, 'thread')}"
            yield _timed(fitting, models, batch, threads, budget, partial(say, message, done))
            done += 1


def _fits(candidate: Candidate, batch: int) -> bool:
    """Whether the runtime can run batches of this size."""
    largest = BACKENDS[RUNTIMES[candidate.runtime].backend].max_batch
    return not largest or batch <= largest


def _opened(
    candidates: list[Candidate], models: Models, files: Files, threads: int
) -> dict[Candidate, Run]:
    """All models and the control, opened with this number of threads.

    Raises `StageError` where a model gives other scores than in PyTorch.
    """
    devices.prepare(threads)
    dense = candidates[0]
    for runtime in dict.fromkeys(candidate.runtime for candidate in candidates):
        opener_of(runtime).use_threads(threads)
    control = Candidate(dense.point, dense.runtime, control=True)
    runs = {}
    for candidate in [*candidates, control]:
        source = with_threads(models[candidate.point].source, threads)
        opener = opener_of(candidate.runtime)
        file = files[dense if candidate.control else candidate]
        runs[candidate] = opener.open(source, file.path)
        images = opener.layout(source.example[:COMPARISON_IMAGES])
        file_format = RUNTIMES[candidate.runtime].format
        exact = not file_format or FILE_FORMATS[file_format].exact
        largest_difference(source.model, runs[candidate], images, exact)
    return runs


def _timed(
    runs: dict[Candidate, Run],
    models: Models,
    batch: int,
    threads: int,
    budget: Budget,
    say: Callable[[float], None],
) -> Group:
    calls = {}
    for candidate, run in runs.items():
        layout = opener_of(candidate.runtime).layout
        calls[candidate] = partial(run, layout(repeated(models[candidate.point], batch)))
    with torch.inference_mode():
        wall, cpu = time.perf_counter(), time.process_time()
        times = interleaved_times(calls, budget, say)
        core_share = (time.process_time() - cpu) / (time.perf_counter() - wall)
    return Group(batch, threads, times, core_share)


def repeated(model: TimedModel, batch: int) -> Tensor:
    """A batch (batch, 3, S, S) of the model's example images, repeated as needed."""
    example = model.source.example
    return example[torch.arange(batch) % len(example)]


def rows_of(group: Group, sizes: dict[Candidate, int | None]) -> list[dict[str, Any]]:
    """A row for each model of a group: its latency, and its speed-up over the dense model.

    `ratio` is the speed-up over the dense model in the same runtime, `first_ratio` over the first
    model of the group, the dense model in the first runtime. `fastest_ratio` is that over the dense
    model in `fastest_runtime`, the dense runtime with the lowest median. Only sparse runtimes and
    groups with references have it.
    """
    first = next(iter(group.times))
    control = next((candidate for candidate in group.times if candidate.control), None)
    width = control_width(_ratio(group, first, control) if control else None)
    fastest, roles = _fastest_dense(group), {c: _role(c, first) for c in group.times}
    has_references = "reference" in roles.values()
    rows = []
    for candidate, times in group.times.items():
        in_fastest = has_references or RUNTIMES[candidate.runtime].sparse
        reference = fastest if in_fastest and not candidate.control else None
        dense = first if candidate.control else Candidate(first.point, candidate.runtime)
        rows.append(
            {
                "point": candidate.point,
                "runtime": candidate.runtime,
                "role": roles[candidate],
                "batch": group.batch,
                "threads": group.threads,
                "bytes": sizes.get(Candidate(candidate.point, candidate.runtime)),
                **summary(times, group.batch),
                **_comparison("", _ratio(group, dense, candidate), width),
                **_comparison("first_", _ratio(group, first, candidate), width),
                "first_runtime": first.runtime,
                **_comparison("fastest_", _ratio(group, reference, candidate), width),
                "fastest_runtime": reference.runtime if reference else None,
                "core_share": group.core_share,
            }
        )
    return rows


def _role(candidate: Candidate, first: Candidate) -> str:
    if candidate.control:
        return "control"
    if RUNTIMES[candidate.runtime].backend != RUNTIMES[first.runtime].backend:
        return "reference"
    return "dense" if candidate.point == first.point else "candidate"


def _fastest_dense(group: Group) -> Candidate | None:
    """The dense model in the dense runtime with the lowest median; None where none was timed."""
    first = next(iter(group.times))
    names = dense_runtimes()
    runs = (c for c in group.times if c.point == first.point and not c.control)
    dense = [c for c in runs if c.runtime in names]
    return min(dense, key=lambda c: float(np.median(group.times[c])), default=None)


def _ratio(group: Group, reference: Candidate | None, candidate: Candidate) -> Ratio | None:
    if reference is None or reference == candidate or reference not in group.times:
        return None
    return paired_ratio(group.times[reference], group.times[candidate])


def _comparison(prefix: str, ratio: Ratio | None, width: float) -> dict[str, Any]:
    values = (ratio.median, ratio.low, ratio.high, judge(ratio, width)) if ratio else (None,) * 4
    columns = ("ratio", "ratio_low", "ratio_high", "judgement")
    return {f"{prefix}{name}": value for name, value in zip(columns, values, strict=True)}


def _samples(group: Group) -> dict[str, Any]:
    """The samples of a group for JSON: nanoseconds of a call, (rounds, 2)."""
    runs = [{**vars(candidate), "ns": times.tolist()} for candidate, times in group.times.items()]
    return {"batch": group.batch, "threads": group.threads, "runs": runs}


def _notes(models: Models, files: Files, groups: list[Group]) -> list[str]:
    notes = [note for file in files.values() for note in file.notes]
    model = next(iter(models.values()))
    if model.size != model.trained_size:
        notes.append(
            f"Timed at {model.size} pixels; trained and evaluated at {model.trained_size} pixels."
        )
    core_share = min((group.core_share for group in groups if group.threads == 1), default=1.0)
    if core_share < LOWEST_CORE_SHARE:
        notes.append(
            f"Noisy measurement: only {format_percent(core_share, 0)} of a core was available."
        )
    return list(dict.fromkeys(notes))


def machine_facts(*packages: str) -> dict[str, Any]:
    """The machine on which times are measured, and the versions of torch and these packages."""
    names = dict.fromkeys(("torch", *packages))
    return {
        "machine": platform.node(),
        "processor": devices.processor("cpu"),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in names},
        "seconds_since_1970": int(time.time()),
    }

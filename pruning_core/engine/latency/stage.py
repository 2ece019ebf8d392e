"""The stage that times models in turn with the dense one, in one family of runtimes."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pruning_core.common.formatting import format_count, format_percent
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
from pruning_core.engine.latency.interleaved import Budget, Call, interleaved_times
from pruning_core.engine.latency.runtimes import Opener, with_threads
from pruning_core.engine.latency.timed_models import File, TimedModel, load_timed_model, model_file
from pruning_core.engine.models import devices
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.methods.runtimes import BACKENDS, RUNTIMES
from pruning_core.planning.timing import check_machine
from pruning_core.storage.stage_context import Context, StageError

SAMPLES_FILE = "samples.json"
COMPARED = 2
# Below this share of the time on a core, something else was using it.
ALONE = 0.9


@dataclass(frozen=True)
class Candidate:
    """What is timed: a point in a runtime, the dense one `again` beside itself as control."""

    point: str
    runtime: str
    again: bool = False


@dataclass(frozen=True)
class Group:
    """Times of all that ran in turn, and the share of the time that this process had a core."""

    batch: int
    threads: int
    times: dict[Candidate, Times]
    share: float


Subjects = dict[str, TimedModel]
Files = dict[Candidate, File]


def latency(context: Context) -> dict[str, Any]:
    """Open every model, time them in turn, and set each beside the dense one."""
    settings, begun = context.settings, time.perf_counter()
    check_machine(settings)
    names = [Candidate(run["point"], run["runtime"]) for run in settings["runs"]]
    family = BACKENDS[RUNTIMES[names[0].runtime].backend]
    if find_spec(family.package) is None:
        message = f"{family.title} needs its package: pip install {family.package}."
        raise StageError(message)
    points = dict.fromkeys(name.point for name in names)
    subjects = {key: load_timed_model(context.store, key, settings) for key in points}
    with tempfile.TemporaryDirectory(dir=context.folder) as folder:
        files = _files(context, names, subjects, Path(folder))
        groups = list(_groups(context, names, subjects, files))
    samples = [_told(group) for group in groups]
    (context.folder / SAMPLES_FILE).write_text(json.dumps(samples))
    sizes = {name: file.bytes for name, file in files.items()}
    rows = [row for group in groups for row in rows_of(group, sizes)]
    size = subjects[names[0].point].size
    return {
        "rows": [{**row, "image_size": size} for row in rows],
        "notes": _notes(subjects, files, groups),
        "circumstances": machine_facts(family.package),
        "seconds": time.perf_counter() - begun,
    }


def opener_of(runtime: str) -> Opener:
    """What opens a model in a runtime."""
    opener: Opener = RUNTIMES.load(runtime)()
    return opener


def _files(context: Context, names: list[Candidate], subjects: Subjects, folder: Path) -> Files:
    found = {}
    for i, name in enumerate(names):
        context.progress.say(0.2 * i / len(names), f"Preparing {RUNTIMES[name.runtime].title}")
        found[name] = model_file(context.store, subjects[name.point], name.runtime, folder)
    return found


def _groups(
    context: Context, names: list[Candidate], subjects: Subjects, files: Files
) -> Iterator[Group]:
    """One group after another: all models, with one number of threads and one batch."""
    settings = context.settings
    budget = Budget(settings["rounds"], settings["seconds"])
    done, total = 0, len(settings["threads"]) * len(settings["batches"])
    for threads in settings["threads"]:
        runs = _opened(names, subjects, files, threads)
        for batch in settings["batches"]:
            title = BACKENDS[RUNTIMES[names[0].runtime].backend].title
            images, of = format_count(batch, "image"), format_count(threads, "thread")
            first, message = done, f"{title}, {images} at a time, {of}"

            def say(part: float, first: int = first, message: str = message) -> None:
                context.progress.say(0.2 + 0.8 * (first + part) / total, message)

            yield _timed(runs, subjects, batch, threads, budget, say)
            done += 1


def _opened(
    names: list[Candidate], subjects: Subjects, files: Files, threads: int
) -> dict[Candidate, Run]:
    """Every model, and the first a second time, with so many threads."""
    devices.prepare(threads)
    opener_of(names[0].runtime).use_threads(threads)
    again = Candidate(names[0].point, names[0].runtime, again=True)
    runs = {}
    for name in [*names, again]:
        source = with_threads(subjects[name.point].source, threads)
        opener, path = opener_of(name.runtime), files[names[0] if name.again else name].path
        runs[name] = opener.open(source, path)
        shown = opener.layout(source.example[:COMPARED])
        form = RUNTIMES[name.runtime].format
        largest_difference(source.model, runs[name], shown, not form or FILE_FORMATS[form].exact)
    return runs


def _timed(
    runs: dict[Candidate, Run],
    subjects: Subjects,
    batch: int,
    threads: int,
    budget: Budget,
    say: Any,
) -> Group:
    jobs = {
        name: _job(run, opener_of(name.runtime).layout(repeated(subjects[name.point], batch)))
        for name, run in runs.items()
    }
    with torch.inference_mode():
        wall, spent = time.perf_counter(), time.process_time()
        times = interleaved_times(jobs, budget, say)
        share = (time.process_time() - spent) / (time.perf_counter() - wall)
    return Group(batch, threads, times, share)


def _job(run: Run, images: Tensor) -> Call:
    return lambda: run(images)


def repeated(found: TimedModel, batch: int) -> Tensor:
    """So many images (N, 3, H, W), the point's examples over and over."""
    example = found.source.example
    return example[torch.arange(batch) % len(example)]


def rows_of(group: Group, sizes: dict[Candidate, int | None]) -> list[dict[str, Any]]:
    """A row for each model of a group: its times, and what they are to the dense one's.

    `ratio` is to the dense model in the same runtime, `first_ratio` to the first model.
    """
    first = next(iter(group.times))
    control = next((name for name in group.times if name.again), None)
    width = control_width(_ratio(group, first, control) if control else None)
    rows = []
    for name, times in group.times.items():
        dense = first if name.again else Candidate(first.point, name.runtime)
        rows.append(
            {
                "point": name.point,
                "runtime": name.runtime,
                "role": _role(name, first),
                "batch": group.batch,
                "threads": group.threads,
                "bytes": sizes.get(Candidate(name.point, name.runtime)),
                **summary(times, group.batch),
                **_compared("", _ratio(group, dense, name), width),
                **_compared("first_", _ratio(group, first, name), width),
                "first_runtime": first.runtime,
                "core_share": group.share,
            }
        )
    return rows


def _role(name: Candidate, first: Candidate) -> str:
    if name.again:
        return "control"
    return "dense" if name.point == first.point else "candidate"


def _ratio(group: Group, reference: Candidate, name: Candidate) -> Ratio | None:
    if reference == name or reference not in group.times:
        return None
    return paired_ratio(group.times[reference], group.times[name])


def _compared(prefix: str, ratio: Ratio | None, width: float) -> dict[str, Any]:
    values = (ratio.median, ratio.low, ratio.high, judge(ratio, width)) if ratio else (None,) * 4
    words = ("ratio", "ratio_low", "ratio_high", "judgement")
    return {f"{prefix}{word}": value for word, value in zip(words, values, strict=True)}


def _told(group: Group) -> dict[str, Any]:
    """A group's samples as JSON takes them: nanoseconds of a call."""
    runs = [{**vars(name), "ns": times.tolist()} for name, times in group.times.items()]
    return {"batch": group.batch, "threads": group.threads, "runs": runs}


def _notes(subjects: Subjects, files: Files, groups: list[Group]) -> list[str]:
    found = [note for file in files.values() for note in file.notes]
    any_subject = next(iter(subjects.values()))
    if any_subject.size != any_subject.trained:
        found.append(
            f"Timed at {any_subject.size} pixels, trained at {any_subject.trained}: the weights "
            "are the same, the work for an image is not."
        )
    share = min((group.share for group in groups if group.threads == 1), default=1.0)
    if share < ALONE:
        found.append(
            f"Other programs were using the processor: a thread had a core "
            f"{format_percent(share, 0)} of the time."
        )
    return list(dict.fromkeys(found))


def machine_facts(*packages: str) -> dict[str, Any]:
    """On what this is timed."""
    names = dict.fromkeys(("torch", *packages))
    return {
        "machine": platform.node(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in names},
        "seconds_since_1970": int(time.time()),
    }


def processor_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name, or its architecture where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(found, "") or platform.processor() or platform.machine()

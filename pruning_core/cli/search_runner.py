"""Runs the trials of a search as jobs, so that an interrupted search continues."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

from pruning_core.cli.output import OK, report_failure, say
from pruning_core.cli.progress import Terminal, follow_job
from pruning_core.common.formatting import format_seconds
from pruning_core.common.paths import Cache
from pruning_core.methods.layers import Layer
from pruning_core.planning.inspection_types import InspectDatasetResult, InspectModelResult
from pruning_core.planning.inspections import inspect_data, inspect_model
from pruning_core.planning.search import (
    SEARCH_STRATEGIES,
    Round,
    check_hours,
    final_key,
    remaining_seconds,
    spec_of,
)
from pruning_core.planning.stage import read_result
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import FixedFiles, Store

CSV = "search.csv"
Name = TypeVar("Name", bound=Hashable)


class SearchRunner:
    """Runs jobs and waits for them. `layers` are those of the model, once it was inspected."""

    def __init__(self, cache: Cache, queue: Queue) -> None:
        self.cache, self.queue, self.store = cache, queue, Store(cache)
        self.console = Terminal(stderr=True)
        self.layers: list[Layer] = []

    def train_baseline(self, base: Spec) -> int:
        """Train the baseline, and read the layers of the model. Returns the exit code."""
        spec = spec_of(SEARCH_STRATEGIES["dense"], base, 0.0, 0.0, base.seeds[0])
        job = self.queue.submit(spec, "Baseline")
        progress = follow_job(self.cache, self.queue, job, self.console)
        if progress.state != "done":
            return report_failure(progress, self.cache)
        data = read_result(self.store, inspect_data(base, self.store).key, InspectDatasetResult)
        inspection = inspect_model(base, len(data.classes), self.store.machine)
        model = read_result(self.store, inspection.key, InspectModelResult)
        self.layers = [Layer(**layer) for layer in model.layers]
        return OK

    def check_time(self, rounds: list[Round], base: Spec, hours: float) -> None:
        """Print how long the search will take. Raises `SpecError` where that is too long."""
        store = FixedFiles(self.cache)
        remaining = remaining_seconds(rounds, base, self.layers, store, store.cores)
        check_hours(remaining, hours)
        say(OK, f"About {format_seconds(remaining)} of computing remain on {store.place}.")

    def run(self, specs: Mapping[Name, tuple[Spec, str]]) -> dict[Name, str]:
        """Run specs, each with the name of its job. Returns the keys of the models they end with.

        All jobs are submitted before the first is followed, so that no core is idle. Where a job
        fails, its reason is printed, and it is left out.
        """
        jobs = {name: self.queue.submit(spec, label) for name, (spec, label) in specs.items()}
        keys = {}
        for name, job in jobs.items():
            progress = follow_job(self.cache, self.queue, job, self.console)
            if progress.state == "done":
                keys[name] = final_key(progress.outline)
            else:
                report_failure(progress, self.cache)
        return keys

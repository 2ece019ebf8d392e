"""The simulated runs of a cluster as a table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("nodes", "stages", "seconds", "bound_seconds", "scheduler_seconds", "stages_per_second")


@dataclass(frozen=True)
class Makespan:
    """The simulated time of a run on `nodes` nodes that each run one stage at a time, in seconds.

    No schedule can be faster than `bound`: the longest chain of stages, or all work divided by the
    nodes. `scheduler_seconds` is the real time of the scheduler, which is part of `seconds`.
    """

    nodes: int
    stages: int
    seconds: float
    bound_seconds: float
    scheduler_seconds: float

    @property
    def stages_per_second(self) -> float:
        """How many stages the scheduler hands out in a second, if it does nothing else."""
        return self.stages / self.scheduler_seconds


def simulation_frame(makespans: Iterable[Makespan]) -> pd.DataFrame:
    """A row for each number of nodes, with the `COLUMNS`."""
    import pandas as pd

    rows = [{**asdict(m), "stages_per_second": m.stages_per_second} for m in makespans]
    return pd.DataFrame(rows, columns=[*COLUMNS]).round(3)


def scheduler_sentence(makespans: Iterable[Makespan], seconds: Iterable[float]) -> str:
    """From how many nodes on the scheduler is the limit; `seconds` are the times of the stages."""
    fastest = max(makespan.stages_per_second for makespan in makespans)
    mean = statistics.mean(seconds)
    return (
        f"The scheduler hands out up to {fastest:.0f} stages a second. With stages of {mean:.1f} s "
        f"on average it is the limit from {fastest * mean:,.0f} nodes on."
    )


def read_simulation(path: Path) -> pd.DataFrame:
    """The table that the command `cluster --simulate` has written."""
    import pandas as pd

    return pd.read_csv(path)

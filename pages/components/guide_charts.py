"""The charts of the Guide, drawn from tables that commands have written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import plotly.graph_objects as go

from pruning_core.reports.charts.simulation import simulation_chart
from pruning_core.results.simulation import read_simulation

FOLDER = Path(__file__).resolve().parents[1] / "guide"
CHARTS: dict[str, Callable[[], go.Figure]] = {
    "simulation": lambda: simulation_chart(read_simulation(FOLDER / "simulation.csv")),
}


def guide_chart(name: str) -> go.Figure:
    """A chart by its name in a text. Raises `KeyError`."""
    return CHARTS[name]()

"""How long a finished comparison takes to open: from its spec to figures that can be drawn."""

from __future__ import annotations

from pruning_core.common.paths import Cache
from pruning_core.engine.benchmark.timing import figure as spread
from pruning_core.engine.benchmark.timing import in_turn
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import outline
from pruning_core.reports.charts.comparison import CHARTS, comparison_chart
from pruning_core.results.benchmark import Figure
from pruning_core.results.models import results_frame
from pruning_core.settings.spec import Spec
from pruning_core.storage.store import Store


def cached_open_seconds(spec: Spec, cache: Cache, rounds: int) -> Figure:
    """Seconds from a spec whose stages are all in the cache to its four charts as JSON."""
    found = in_turn({"open": lambda: draw(spec, cache)}, rounds, warmup=1)
    return spread(found["open"])


def draw(spec: Spec, cache: Cache) -> list[str]:
    """The four charts of a finished comparison."""
    store = Store(cache)
    made = plan(spec, store)
    if not made.complete or not all(store.exists(stage.key) for stage in made.stages):
        raise RuntimeError("The comparison is not in the cache, so it cannot be opened from it.")
    frame = results_frame(outline(made), store)
    return [comparison_chart(frame, name, "sparsity_prunable").to_json() for name in CHARTS]

"""How long a search of recipes will take here, told before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pruning_core.common.errors import check
from pruning_core.common.formatting import format_seconds
from pruning_core.methods.layers import Layer
from pruning_core.planning.estimate import estimate
from pruning_core.planning.plan import plan
from pruning_core.planning.search import Recipe, amount_for, spec_of
from pruning_core.planning.stage import Plan, Reader, Stage
from pruning_core.settings.spec import Spec

Cells = Sequence[tuple[float, float]]  # epochs, sparsity


@dataclass(frozen=True)
class Round:
    """Recipes that are tried in the same cells and seeds.

    Where it is not known yet which of them come so far, only a `share` of them will.
    """

    recipes: tuple[Recipe, ...]
    cells: Cells
    seeds: tuple[int, ...]
    share: float = 1.0


def seconds_left(
    rounds: Iterable[Round], base: Spec, layers: Iterable[Layer], store: Reader, cores: int
) -> float:
    """Of a whole search, what is not in the cache yet."""
    there = list(layers)
    return sum(each.share * _seconds(each, base, there, store, cores) for each in rounds)


def _seconds(tried: Round, base: Spec, layers: list[Layer], store: Reader, cores: int) -> float:
    """Of a round, all in one queue; what a recipe cannot reach is left out."""
    stages, spec = dict[str, Stage](), base
    for recipe in tried.recipes:
        for epochs, sparsity in tried.cells:
            amount = amount_for(recipe, sparsity, layers)
            for seed in tried.seeds if amount is not None else ():
                spec = spec_of(recipe, base, amount or 0.0, epochs, seed)
                stages.update({stage.key: stage for stage in plan(spec, store).stages})
    whole = Plan(tuple(stages.values()), (), complete=True)
    found = estimate(spec, whole, store, cores) if stages else None
    return found.left if found else 0.0


def check_hours(seconds: float, hours: float) -> None:
    """Refuse what would take longer than that. Raises `SpecError`."""
    told = (
        f"the search would take about {format_seconds(seconds)} here, and at most {hours:g} hours "
        "are allowed. Give fewer --budgets, --sparsities, --finalists or --fresh, or more hours "
        "(0: no limit)."
    )
    check(not hours or seconds <= 3600 * hours, "--hours", told)

"""What is pruned: the criterion, the allocation, the granularity and the layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pruning_core.common.errors import Choice, Ref, Share, check
from pruning_core.methods.allocation import ALLOCATIONS, table_entry
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.granularity import (
    FILTER_DIMENSIONS,
    GRANULARITIES,
    UNSTRUCTURED,
    pattern_of,
    pattern_sparsity,
)
from pruning_core.methods.layers import LAYER_CHOICES
from pruning_core.settings.conditions import (
    CALIBRATION,
    CUSTOM_ALLOCATION,
    FILTER_NORM,
    FILTERS,
    MASKS,
    MIN_DENSITY,
    SCORES,
)
from pruning_core.settings.fields import SHARE, check_fields, setting

HIGHEST_NORM = 16.0


@dataclass(frozen=True)
class PruningSpec:
    """What is pruned: criterion, sparsity allocation, granularity and prunable layers."""

    criterion: str = setting(
        "magnitude",
        "Pruning criterion",
        help="The importance score; the weights with the lowest scores are pruned first.",
        choices=CRITERIA,
    )
    allocation: str = setting(
        "uniform",
        "Sparsity allocation",
        help="How the target sparsity is distributed over the layers.",
        choices=ALLOCATIONS,
        read_when=MASKS,
    )
    min_density: float = setting(
        0.05,
        "Minimum density per layer",
        help="Every layer keeps at least this share of its weights, which guards against layer "
        "collapse.",
        unit=SHARE,
        minimum=0,
        below=1,
        slider=(0.0, 0.5),
        step=0.005,
        read_when=MIN_DENSITY,
    )
    layers: str = setting(
        "all",
        "Prunable layers",
        help="Which layers are pruned. Depthwise layers of MobileNets are small and sensitive.",
        choices=LAYER_CHOICES,
    )
    layer_sparsities: tuple[str, ...] = setting(
        (),
        "Custom per-layer sparsity",
        help="Entries pattern=sparsity, separated by commas; the last matching entry counts, and "
        "layers without an entry stay dense. Each target scales the whole table.",
        metavar="'features.*=0.9'",
        placeholder="features.*=90 %, classifier.*=50 %",
        read_when=CUSTOM_ALLOCATION,
    )
    granularity: str = setting(
        UNSTRUCTURED,
        "Granularity",
        help="The pruning unit: single weights, or groups of weights that are pruned together. "
        "2:4 and 4:8 need the uniform allocation, the one-shot sparsities 0 and 50 %, and no "
        "iterative pruning.",
        choices=GRANULARITIES,
        read_when=SCORES,
    )
    filter_norm: str = setting(
        "2",
        "Filter norm (Lp)",
        help="The p of the Lp norm over the weights of a filter: 1, 2, another number up to 16, or "
        "inf.",
        metavar="1|2|inf",
        choices=("1", "2", "inf"),
        free=True,
        read_when=FILTER_NORM,
    )
    filter_dim: int = setting(
        0,
        "Filter dimension",
        help="The dimension of the weight tensor that is pruned: output channels (0), input "
        "channels (1), kernel rows (2) or kernel columns (3).",
        choices={dim: noun.capitalize() for dim, noun in enumerate(FILTER_DIMENSIONS)},
        read_when=FILTERS,
    )
    exclude: tuple[str, ...] = setting(
        (),
        "Excluded layers",
        help="Layers that stay dense: kinds (depthwise, stem, classifier, linear, conv, attention) "
        "or patterns over parameter names, separated by commas.",
        metavar="'stem,features.0.*'",
        placeholder="stem, classifier, features.0.*",
    )
    calibration_images: int = setting(
        512,
        "Calibration images",
        help="Maximum number of training images that the criterion uses.",
        unit="images",
        minimum=1,
        maximum=100_000,
        read_when=CALIBRATION,
    )

    def __post_init__(self) -> None:
        check_fields(self, "pruning.")
        for entry in self.layer_sparsities:
            table_entry(entry)
        if ALLOCATIONS[self.allocation].layer_sparsities:
            check(
                bool(self.layer_sparsities),
                "pruning.layer_sparsities",
                "the {allocation} allocation needs entries such as 'features.*=0.9'.",
                allocation=Choice("pruning.allocation", self.allocation),
            )
        check(all(self.exclude), "pruning.exclude", "an entry is empty.")
        _check_norm(self.filter_norm)
        if pattern_of(self.granularity):
            check(
                ALLOCATIONS[self.allocation].equal_sparsities,
                "pruning.granularity",
                "{granularity} prunes every layer to the same sparsity; choose {uniform} as "
                "{setting}.",
                granularity=Choice("pruning.granularity", self.granularity),
                uniform=Choice("pruning.allocation", "uniform"),
                setting=Ref("pruning.allocation"),
            )


def _check_norm(text: str) -> None:
    """Refuse a norm that is no number above 0. Raises `SpecError`."""
    try:
        norm = float(text)
    except ValueError:
        norm = math.nan
    check(
        0 < norm <= HIGHEST_NORM or norm == math.inf,
        "pruning.filter_norm",
        "{text} is not valid; give a number above 0 and up to {highest}, or inf.",
        text=repr(text),
        highest=f"{HIGHEST_NORM:g}",
    )


def check_pattern(granularity: str, amounts: tuple[float, ...], chain: tuple[int, float]) -> None:
    """Refuse sparsities that an N:M pattern does not have. Raises `SpecError`.

    `chain` is the number of iterative pruning steps (0: none) and their target.
    """
    if not pattern_of(granularity):
        return
    sparsity = pattern_sparsity(granularity)
    steps, target = chain
    if set(amounts) <= {0.0, sparsity} and (not steps or (steps == 1 and target == sparsity)):
        return
    check(
        False,
        "pruning.granularity",
        "{granularity} prunes {sparsity} of each layer that fits the pattern, in one step. Set "
        "{amounts} to 0 and {sparsity} only, and switch iterative pruning off or give it one step "
        "to {sparsity}.",
        granularity=Choice("pruning.granularity", granularity),
        sparsity=Share(sparsity),
        amounts=Ref("one_shot.amounts"),
    )


def check_sensitivity_granularity(enabled: bool, granularity: str) -> None:
    """Refuse a sensitivity analysis of layers with an N:M pattern, which has one sparsity.

    Raises `SpecError`.
    """
    check(
        not enabled or not pattern_of(granularity),
        "sensitivity.enabled",
        "the sensitivity analysis needs several sparsities, but {granularity} has one. Choose "
        "another granularity, or the unit dependency group.",
        granularity=Choice("pruning.granularity", granularity),
    )

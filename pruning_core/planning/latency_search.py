"""Search for the fastest model: the strategies, and the stages that time their models.

A runtime with sparse kernels skips zeros. Removed channels make a model faster in every runtime,
and int8 files in quantized runtimes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from pruning_core.methods.runtimes import RUNTIMES, missing_packages
from pruning_core.planning.search import (
    DISTILLATION,
    LOW_DENSITY_OBD,
    OBD,
    STEP_EPOCHS,
    SearchStrategy,
    early,
    one_shot,
)
from pruning_core.planning.stage import Stage
from pruning_core.planning.timing import latency_stages
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.settings.structured import StructuredSpec

# A runtime skips the zeros of a layer only where the layer has enough of them, which speaks for a
# uniform allocation; a global one loses less accuracy.
UNIFORM_OBD = replace(OBD, layers="core", allocation="uniform", min_density=0.0)
GLOBAL_OBD = replace(LOW_DENSITY_OBD, layers="core")
BLOCKS = "block:4"


def channel_removal(base: Spec, ratio: float, epochs: float, importance: str, scope: str) -> Spec:
    """Structured pruning to a share of the multiply-accumulates, in a quarter of the epochs."""
    steps = max(1, int(epochs / 4 / STEP_EPOCHS))
    structured = StructuredSpec(
        enabled=True,
        ratios=(ratio,),
        channel_importance=importance,
        scope=scope,
        steps=steps,
        epochs=STEP_EPOCHS,
        final_epochs=epochs - steps * STEP_EPOCHS,
    )
    return replace(
        base,
        one_shot=OneShotSpec((), 0.0),
        iterative=replace(base.iterative, enabled=False),
        structured=structured,
        lr_schedule_span="run",
    )


def local_removal(base: Spec, ratio: float, epochs: float) -> Spec:
    """The same ratio of channels in each dependency group, by their magnitude."""
    return channel_removal(base, ratio, epochs, "magnitude_l2", "local")


def global_removal(base: Spec, ratio: float, epochs: float) -> Spec:
    """One threshold for the Taylor importance of all channels."""
    return channel_removal(base, ratio, epochs, "taylor", "global")


@dataclass(frozen=True)
class LatencyStrategy(SearchStrategy):
    """A strategy with the targets that it tries.

    A target is the sparsity of the prunable layers, or the share of multiply-accumulates that
    structured pruning removes. A `sparse` strategy is timed in runtimes that skip zeros, the others
    in all other runtimes.
    """

    counts_all_weights: bool = False
    targets: tuple[float, ...] = (0.0,)
    sparse: bool = False


DENSE = "dense"
LATENCY_STRATEGIES: dict[str, LatencyStrategy] = {
    DENSE: LatencyStrategy("no pruning, the same training budget", one_shot, dense=True),
    "weights_uniform": LatencyStrategy(
        "cubic schedule, OBD, uniform, single weights, knowledge distillation",
        early,
        UNIFORM_OBD,
        DISTILLATION,
        targets=(0.9,),
        sparse=True,
    ),
    "weights_global": LatencyStrategy(
        "cubic schedule, OBD, global, single weights, knowledge distillation",
        early,
        GLOBAL_OBD,
        DISTILLATION,
        targets=(0.9, 0.95),
        sparse=True,
    ),
    "blocks_uniform": LatencyStrategy(
        "cubic schedule, OBD, uniform, blocks of 4 output channels, knowledge distillation",
        early,
        replace(UNIFORM_OBD, granularity=BLOCKS),
        DISTILLATION,
        targets=(0.8,),
        sparse=True,
    ),
    "blocks_global": LatencyStrategy(
        "cubic schedule, OBD, global, blocks of 4 output channels, knowledge distillation",
        early,
        replace(GLOBAL_OBD, granularity=BLOCKS),
        DISTILLATION,
        targets=(0.8, 0.9),
        sparse=True,
    ),
    "channels_local": LatencyStrategy(
        "structured pruning, group magnitude, local, knowledge distillation",
        local_removal,
        recovery=DISTILLATION,
        targets=(0.3, 0.5),
    ),
    "channels_global": LatencyStrategy(
        "structured pruning, Taylor, global, knowledge distillation",
        global_removal,
        recovery=DISTILLATION,
        targets=(0.3, 0.5, 0.7),
    ),
}


def usable_strategies() -> list[str]:
    """The strategies with a runtime that is installed here."""
    return [name for name in LATENCY_STRATEGIES if timed_runtimes([name])]


def timed_runtimes(strategies: Iterable[str]) -> tuple[str, ...]:
    """The installed runtimes in which models of these strategies are timed."""
    kinds = {LATENCY_STRATEGIES[name].sparse for name in strategies}
    return tuple(
        name
        for name, runtime in RUNTIMES.items()
        if runtime.sparse in kinds and not missing_packages([name])
    )


def timing_stages(
    dense: str, models: Sequence[tuple[str, str]], runtimes: Iterable[str]
) -> list[Stage]:
    """The stages that time models, pairs of strategy and key, beside a dense model, given by key.

    A model is timed in those of the `runtimes` that suit its strategy. All models of one backend
    are timed in the same rounds, with one image and one thread.
    """
    stages, runtimes = [], set(runtimes)
    for sparse in (True, False):
        group = [(name, key) for name, key in models if LATENCY_STRATEGIES[name].sparse == sparse]
        names = [r for r in timed_runtimes(name for name, _ in group) if r in runtimes]
        if names:
            keys = list(dict.fromkeys([dense, *(key for _, key in group)]))
            stages += latency_stages(keys, names, with_references=True)
    return stages

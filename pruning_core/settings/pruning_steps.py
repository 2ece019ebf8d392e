"""The pruning steps of an iterative run and of structured pruning, and their epochs."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.sparsity_schedules import SPARSITY_SCHEDULES, geometric
from pruning_core.settings.serialization import plain
from pruning_core.settings.strategies import IterativeSpec
from pruning_core.settings.structured import StructuredSpec


@dataclass(frozen=True)
class Step:
    """A pruning step to `target` (a fraction) and `epochs` of training.

    A `final` step prunes nothing: it is final fine-tuning. Before the training the share
    `regrowth` of the remaining weights is dropped and as many pruned weights are regrown. A
    `dense` step restores all weights. `returns` is true where pruned weights return in some
    step of the run.
    """

    target: float
    epochs: float
    final: bool = False
    regrowth: float = 0.0
    dense: bool = False
    returns: bool = False


def targets(chain: IterativeSpec) -> list[float]:
    """The sparsity after each pruning step, from the schedule or the custom schedule."""
    schedule = SPARSITY_SCHEDULES[chain.schedule].targets
    if schedule is None:
        return list(chain.custom_schedule)
    return schedule(chain.target, chain.iterations)


def last_target(chain: IterativeSpec) -> float:
    """The sparsity after the last step, which one-shot with an equal budget gets too."""
    return targets(chain)[-1]


def regrowth_shares(chain: IterativeSpec) -> list[float]:
    """The share of the remaining weights that is dropped and regrown in each step."""
    shares = SPARSITY_SCHEDULES[chain.schedule].regrowth
    return shares(chain.iterations) if shares else [0.0] * chain.iterations


def steps(chain: IterativeSpec) -> list[Step]:
    """All steps of an iterative run; final fine-tuning is a step at the last target."""
    sparsities, epochs = targets(chain), plain(chain.epochs)
    returns = SPARSITY_SCHEDULES[chain.schedule].regrows
    pruning = [
        Step(target, epochs, regrowth=share, dense=target < before, returns=returns)
        for before, target, share in zip(
            [0.0, *sparsities], sparsities, regrowth_shares(chain), strict=False
        )
    ]
    final = Step(sparsities[-1], plain(chain.final_epochs), final=True, returns=returns)
    return pruning + [final] * bool(chain.final_epochs)


def pruning_epochs(chain: IterativeSpec) -> float:
    """The epochs of all pruning steps, without final fine-tuning."""
    return epochs_before(chain.epochs, chain.iterations)


def total_epochs(chain: IterativeSpec) -> float:
    """The training budget of an iterative run, which one-shot with an equal budget gets too."""
    return plain(pruning_epochs(chain) + chain.final_epochs)


def epochs_before(epochs: float, steps: int) -> float:
    """The epochs of a number of pruning steps: the sum of the rounded epochs of each."""
    return plain(steps * plain(epochs))


def structured_steps(chain: StructuredSpec, ratio: float) -> list[Step]:
    """The pruning steps to a ratio, each of which removes the same share of what remains."""
    pruning = [Step(target, plain(chain.epochs)) for target in geometric(ratio, chain.steps)]
    final = Step(ratio, plain(chain.final_epochs), final=True)
    return pruning + [final] * bool(chain.final_epochs)


def structured_epochs(chain: StructuredSpec) -> float:
    """The epochs of one ratio: its pruning steps and final fine-tuning."""
    return plain(epochs_before(chain.epochs, chain.steps) + chain.final_epochs)

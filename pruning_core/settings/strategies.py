"""When weights go: the settings of both strategies, and the steps of an iterative chain."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from pruning_core.common.errors import at_least, check, one_of
from pruning_core.methods import sparsity_schedules
from pruning_core.methods.lr_schedules import LR_SCHEDULES
from pruning_core.settings.serialization import plain

SCHEDULES = (*sparsity_schedules.SCHEDULES, sparsity_schedules.LIST)
MAX_EPOCHS = 10_000
LEAST_EPOCHS = 0.001
NEAR_ZERO = 1e-6


@dataclass(frozen=True)
class OneShotSpec:
    """Each amount is one cut of the baseline, fine-tuned for `epochs`, such as 0.5 or 2."""

    amounts: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.9)
    epochs: float = 1.0

    def __post_init__(self) -> None:
        for amount in self.amounts:
            _check_amount("one_shot.amounts", amount)
        check(
            len(set(self.amounts)) == len(self.amounts),
            "one_shot.amounts",
            "the same amount stands there twice.",
        )
        check_epochs("one_shot.epochs", self.epochs)
        make_floats(self, "epochs")


@dataclass(frozen=True)
class IterativeSpec:
    """A chain of cuts to `target`; `matched` adds one cut with the chain's whole budget.

    With the schedule `list` the cuts are `targets`: `iterations` is their number and `target`
    the last of them. After the last cut the chain trains `tail` more epochs, in which the rate
    falls to 0: from its peak along a cosine, or where the chain's one curve has brought it.
    """

    enabled: bool = True
    target: float = 0.9
    iterations: int = 5
    epochs: float = 1.0
    schedule: str = "geometric"
    targets: tuple[float, ...] = ()
    tail: float = 0.0
    matched: bool = True

    def __post_init__(self) -> None:
        check(
            0 < self.target < 1,
            "iterative.target",
            f"{self.target} is not a fraction between 0 and 1.",
        )
        check(
            1 <= self.iterations <= 100,
            "iterative.iterations",
            f"{self.iterations} is outside 1 to 100.",
        )
        check_epochs("iterative.epochs", self.epochs)
        check_epochs("iterative.tail", self.tail)
        make_floats(self, "epochs", "tail")
        one_of("iterative.schedule", self.schedule, SCHEDULES)
        _check_targets(self)
        _check_returning(self)


@dataclass(frozen=True)
class Step:
    """A cut to `target` (a fraction) and `epochs` of training. A tail cuts nothing.

    After the cut the share `exchange` of what is left changes places with removed weights; of a
    `lifted` step the masks before it are forgotten, so that weights come back. It `returns` where
    weights come back in some step of its chain.
    """

    target: float
    epochs: float
    tail: bool = False
    exchange: float = 0.0
    lifted: bool = False
    returns: bool = False


def targets(chain: IterativeSpec) -> list[float]:
    """The target after each cut: as the schedule has them, or as they were typed."""
    if chain.schedule == sparsity_schedules.LIST:
        return list(chain.targets)
    return sparsity_schedules.SCHEDULES[chain.schedule](chain.target, chain.iterations)


def last_target(chain: IterativeSpec) -> float:
    """The sparsity that the chain ends with, which its matched one-shot run gets too."""
    return targets(chain)[-1]


def exchanges(chain: IterativeSpec) -> list[float]:
    """The share of the remaining weights that changes places in each cut."""
    shares = sparsity_schedules.EXCHANGES.get(chain.schedule)
    return shares(chain.iterations) if shares else [0.0] * chain.iterations


def steps(chain: IterativeSpec) -> list[Step]:
    """Every step of the chain; the tail, where there is one, is a step at the last target."""
    asked, epochs = targets(chain), plain(chain.epochs)
    returns = chain.schedule in sparsity_schedules.RETURNING
    cuts = [
        Step(target, epochs, exchange=share, lifted=target < before, returns=returns)
        for before, target, share in zip([0.0, *asked], asked, exchanges(chain), strict=False)
    ]
    return cuts + [Step(asked[-1], plain(chain.tail), tail=True, returns=returns)] * bool(
        chain.tail
    )


def cut_epochs(chain: IterativeSpec) -> float:
    """The epochs of all steps but the tail."""
    return plain(chain.iterations * chain.epochs)


def total_epochs(chain: IterativeSpec) -> float:
    """The chain's whole budget, which the matched one-shot run gets too."""
    return plain(chain.iterations * chain.epochs + chain.tail)


def check_epochs(field: str, value: float) -> None:
    """Refuse a number of epochs below 0, above 10,000, or too little to be seen."""
    shown = plain(value)
    at_least(field, shown, 0)
    check(value <= MAX_EPOCHS, field, f"{shown} is too many; give {MAX_EPOCHS:,} or fewer.")
    little = f"{shown} is too little; give 0, or {LEAST_EPOCHS} or more."
    check(not 0 < value < LEAST_EPOCHS, field, little)


def check_whole_curve(lr_schedule: str, tail: float) -> None:
    """Refuse one curve over cuts and tail that does not fall to 0. Raises `SpecError`."""
    falls = LR_SCHEDULES[lr_schedule](1.0) < NEAR_ZERO
    told = (
        f"a tail ends with a rate of 0, but the curve `{lr_schedule}` over cuts and tail does not "
        "fall to it. Take `cosine` or `one_cycle`, or let the curve cover less than the whole run."
    )
    check(falls or not tail, "lr_span", told)


def _check_amount(field: str, value: float) -> None:
    check(0 <= value < 1, field, f"{value} is not a fraction from 0 up to, but not including, 1.")


def make_floats(spec: Any, *names: str) -> None:
    """Give numbers one form, so that 1 and 1.0 make one spec, one text and one key."""
    for name in names:
        object.__setattr__(spec, name, float(getattr(spec, name)))


def _check_targets(chain: IterativeSpec) -> None:
    """Refuse typed targets that no chain can have, or that another setting contradicts."""
    name = "iterative.targets"
    for target in chain.targets:
        _check_amount(name, target)
    for before, after in itertools.pairwise(chain.targets):
        check(before <= after, name, f"{after:g} after {before:g} falls; give rising targets.")
    if chain.schedule == sparsity_schedules.LIST:
        check(bool(chain.targets), name, "the schedule `list` needs at least one target.")
        _check_agreement(chain, name)
    else:
        unused = f"these are for the schedule `list`, not for `{chain.schedule}`; leave them empty."
        check(not chain.targets, name, unused)


def _check_returning(chain: IterativeSpec) -> None:
    """Refuse a chain in which weights come back and have no training, or no step to do so."""
    if not chain.enabled or chain.schedule not in sparsity_schedules.RETURNING:
        return
    why = f"with `{chain.schedule}` weights come back"
    told = f"{why} after the first step, so it needs 2 steps or more, not {chain.iterations}."
    check(chain.iterations >= 2, "iterative.iterations", told)
    told = f"{why} as zeros and must be trained: give more than 0 epochs a step."
    check(chain.epochs > 0, "iterative.epochs", told)


def _check_agreement(chain: IterativeSpec, name: str) -> None:
    """The number and the last of the targets are said twice, and must be said alike."""
    number, last = len(chain.targets), chain.targets[-1]
    told = f"{chain.iterations} is not the number of {name}, which is {number}."
    check(number == chain.iterations, "iterative.iterations", told)
    told = f"{chain.target:g} is not the last of {name}, which is {last:g}."
    check(abs(last - chain.target) < 1e-6, "iterative.target", told)

"""The settings of channels really removed, and what goes together with them.

What can be chosen is known here by name only; the functions are in `engine.structured`.
"""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.errors import check, one_of
from pruning_core.methods.channel_importance import IMPORTANCE_CHOICES, TARGETS
from pruning_core.methods.sparsity_schedules import geometric
from pruning_core.settings.serialization import plain
from pruning_core.settings.strategies import Step, check_epochs, make_floats

STRUCTURED_SCOPES = ("layer", "global")
IMPORTANCES = tuple(IMPORTANCE_CHOICES)
STRUCTURED_TARGETS = tuple(TARGETS)
MOST_STEPS = 100


@dataclass(frozen=True)
class StructuredSpec:
    """For each amount channels are taken out of the baseline until that share `of` it is gone.

    The widths left are multiples of `round_to`, and of no layer more than `max_ratio` goes. It is
    done in `steps`, each of which removes the same share of what is left and trains `epochs`;
    after the last one follow `tail` epochs in which the rate falls to 0.
    """

    enabled: bool = False
    amounts: tuple[float, ...] = (0.3, 0.5)
    of: str = "macs"
    importance: str = "magnitude_l2"
    scope: str = "layer"
    round_to: int = 8
    max_ratio: float = 0.9
    steps: int = 1
    epochs: float = 1.0
    tail: float = 0.0

    def __post_init__(self) -> None:
        for amount in self.amounts:
            message = f"{amount} is not a fraction between 0 and 1."
            check(0 < amount < 1, "structured.amounts", message)
        once = len(set(self.amounts)) == len(self.amounts)
        check(once, "structured.amounts", "the same amount stands there twice.")
        one_of("structured.of", self.of, STRUCTURED_TARGETS)
        one_of("structured.importance", self.importance, IMPORTANCES)
        one_of("structured.scope", self.scope, STRUCTURED_SCOPES)
        message = f"{self.round_to} is outside 1 to 128 channels."
        check(1 <= self.round_to <= 128, "structured.round_to", message)
        message = f"{self.max_ratio} is not a fraction between 0 and 1."
        check(0 < self.max_ratio < 1, "structured.max_ratio", message)
        message = f"{self.steps} is outside 1 to {MOST_STEPS}."
        check(1 <= self.steps <= MOST_STEPS, "structured.steps", message)
        for name in ("epochs", "tail"):
            check_epochs(f"structured.{name}", getattr(self, name))
        make_floats(self, "epochs", "tail")


def check_structured(structured: StructuredSpec) -> None:
    """Refuse to remove channels without saying how many. Raises `SpecError`."""
    told = "give the share that is to go, such as 0.5, or switch removing channels off."
    check(bool(structured.amounts) or not structured.enabled, "structured.amounts", told)


def chain_steps(chain: StructuredSpec, amount: float) -> list[Step]:
    """The cuts on the way to an amount, and the tail; each removes the same share of the rest."""
    cuts = [Step(target, plain(chain.epochs)) for target in geometric(amount, chain.steps)]
    return cuts + [Step(amount, plain(chain.tail), tail=True)] * bool(chain.tail)


def chain_epochs(chain: StructuredSpec) -> float:
    """The epochs of one amount: its cuts and the tail."""
    return plain(chain.steps * chain.epochs + chain.tail)

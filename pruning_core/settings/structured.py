"""The settings of structured pruning (channel removal)."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.errors import Share, check, once
from pruning_core.methods.channel_importance import (
    CHANNEL_IMPORTANCES,
    STRUCTURED_SCOPES,
    STRUCTURED_TARGETS,
)
from pruning_core.settings.conditions import CHANNEL_SCORES, STRUCTURED
from pruning_core.settings.fields import SHARE, check_fields, setting
from pruning_core.settings.strategies import EPOCHS, EPOCHS_FLAG, check_epochs

MAX_STEPS = 100


@dataclass(frozen=True)
class StructuredSpec:
    """For each ratio, channels are removed until that share of `ratio_of` is removed.

    The remaining widths are multiples of `round_to`, and no layer loses more than `max_ratio` of
    its channels. Each of the `steps` removes the same share of what remains and is followed by
    `epochs` of fine-tuning. After the last step follow `final_epochs`, in which the learning rate
    falls to 0.
    """

    enabled: bool = setting(
        False,
        "Structured pruning (channel removal)",
        help="Removes whole channels, so that a smaller dense model remains. Coupled layers lose "
        "the same channels.",
        flag="--structured",
    )
    ratios: tuple[float, ...] = setting(
        (0.3, 0.5),
        "Pruning ratios",
        help="Share to remove; each ratio gives one model. On the command line it also switches "
        "structured pruning on.",
        flag="--structured-ratios",
        metavar="0.3,0.5",
        placeholder="30, 50 %",
        unit=SHARE,
        above=0,
        below=1,
        read_when=STRUCTURED,
    )
    ratio_of: str = setting(
        "macs",
        "Ratio measured in",
        help="What the pruning ratios are measured in.",
        flag="--structured-ratio-of",
        choices=STRUCTURED_TARGETS,
        read_when=STRUCTURED,
    )
    channel_importance: str = setting(
        "magnitude_l2",
        "Channel importance",
        help="The score of a channel over all its coupled layers; channels with the lowest scores "
        "are removed first.",
        flag="--channel-importance",
        choices=CHANNEL_IMPORTANCES,
        read_when=CHANNEL_SCORES,
    )
    scope: str = setting(
        "local",
        "Pruning scope",
        help="Local removes the same ratio from each dependency group; global uses one threshold "
        "for all.",
        flag="--structured-scope",
        choices=STRUCTURED_SCOPES,
        read_when=STRUCTURED,
    )
    round_to: int = setting(
        8,
        "Round channels to a multiple of",
        help="The number of remaining channels is a multiple of this. Runtimes are fastest with "
        "multiples of 8.",
        flag="--round-to",
        unit="channels",
        minimum=1,
        maximum=128,
        read_when=STRUCTURED,
    )
    max_ratio: float = setting(
        0.9,
        "Max. pruning ratio per layer",
        help="No layer loses more than this share of its channels, which avoids empty layers.",
        flag="--max-ratio",
        unit=SHARE,
        above=0,
        below=1,
        slider=(0.01, 0.99),
        step=0.01,
        read_when=STRUCTURED,
    )
    steps: int = setting(
        1,
        "Pruning steps (structured)",
        help="Number of pruning steps to each ratio. Fine-tuning follows each step.",
        flag="--structured-steps",
        minimum=1,
        maximum=MAX_STEPS,
        slider=(1, 20),
        read_when=STRUCTURED,
    )
    epochs: float = setting(
        1.0,
        "Fine-tuning epochs per step (structured)",
        help="Fine-tuning epochs after each pruning step.",
        flag="--structured-epochs",
        shared_flag=EPOCHS_FLAG,
        **EPOCHS,
        read_when=STRUCTURED,
    )
    final_epochs: float = setting(
        0.0,
        "Final fine-tuning epochs (structured)",
        help="Epochs after the last pruning step, in which the learning rate falls to 0.",
        flag="--structured-final-epochs",
        **EPOCHS,
        read_when=STRUCTURED,
    )

    def __post_init__(self) -> None:
        check_fields(self, "structured.")
        once("structured.ratios", self.ratios, shares=True)
        check_epochs("structured.epochs", self.epochs)
        check_epochs("structured.final_epochs", self.final_epochs)


def check_structured(structured: StructuredSpec) -> None:
    """Refuse structured pruning without a ratio. Raises `SpecError`."""
    check(
        bool(structured.ratios) or not structured.enabled,
        "structured.ratios",
        "give at least one ratio, such as {example}, or switch structured pruning off.",
        example=Share(0.5),
    )

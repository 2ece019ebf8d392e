"""The controls for how a network recovers after a cut, beside those of its learning rate."""

from __future__ import annotations

import streamlit as st

from pages.components.widgets import check, choice, number, set_to, slide, value_of, whole
from pruning_core.settings import spec as specs


def way_to_recover() -> None:
    """From which weights to train after a cut, and by which curve."""
    left, right = st.columns(2)
    with left:
        choice(
            "recovery.method",
            specs.RECOVERIES,
            "Fine-tune: go on with the weights that are left. The others train with the "
            "baseline's own learning rates instead of those below. Rewind the learning rate: the "
            "weights stay, the rate goes back to an epoch of the baseline (Renda 2020). Rewind "
            "the weights: these go back too; epoch 0 is the lottery ticket (Frankle 2019). New "
            "random weights: the control, which shows what the rewound values are worth.",
            # Only rewinding has an epoch to go back to.
            on_change=set_to("recovery.rewind_epoch", _epoch_of_way),
        )
    with right:
        whole(
            "recovery.rewind_epoch",
            0,
            1000,
            "An epoch of the baseline's training; 0 is before its first step. What is left of its "
            "learning-rate curve is run through in the epochs set above, so that all ways have "
            "the same budget. The paper trains baseline epochs minus this.",
            disabled=value_of("recovery.method") not in specs.REWINDS,
        )


def own_curve() -> bool:
    """Whether the levels train by fine-tuning's own learning rates, not by the baseline's."""
    return bool(value_of("recovery.method") == "fine_tune")


def read_own_rate() -> bool:
    """Whether fine-tuning's own rate is read: by the levels, or by a tail, which fine-tunes."""
    chains = ("iterative", "structured")
    tails = (value_of(f"{chain}.enabled") and value_of(f"{chain}.tail") for chain in chains)
    return own_curve() or any(tails)


def _epoch_of_way() -> int:
    rewinds = value_of("recovery.method") in specs.REWINDS
    return value_of("recovery.rewind_epoch") if rewinds else 0


def distillation() -> None:
    """Whether the baseline teaches."""
    left, right = st.columns(2)
    with left:
        slide(
            "recovery.distill_weight",
            0.0,
            1.0,
            help="Knowledge distillation (Hinton 2015): the baseline teaches the pruned network "
            "how likely it finds each class. This is its share of the loss; the labels have the "
            "rest. 0 is off. It costs about a third more time.",
            step=0.05,
        )
    with right:
        number(
            "recovery.distill_temperature",
            0.1,
            1000.0,
            0.5,
            "Divides the outputs of teacher and student: the higher, the more the unlikely "
            "classes count. Usual: 1 to 10.",
            disabled=not value_of("recovery.distill_weight"),
        )


def ladder() -> None:
    """Whether to show what comes back without training."""
    left, right = st.columns(2, vertical_alignment="bottom")
    with left:
        check(
            "ladder.enabled",
            "For each one-shot cut, in rungs of seconds to minutes, with an accuracy each: "
            "as pruned; batch norm's statistics re-estimated (Li 2020); each channel's bias and "
            "scale corrected (Nagel 2019); the weights that are left solved for by least squares, "
            "layer by layer (He 2017). Compare shows it as a table of its own.",
        )
    with right:
        whole(
            "ladder.images",
            16,
            100_000,
            "Training images that the rungs look at, the same on all. Time grows with them.",
            disabled=not value_of("ladder.enabled"),
        )

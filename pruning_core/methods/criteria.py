"""The pruning criteria by name: what they are called, what they look at, what they need.

The functions that score the weights stand in `pruning_core/engine/criteria`; a test holds the
two together.
"""

from __future__ import annotations

from dataclasses import dataclass

IMAGES, BASELINE, MOVEMENT = "images", "baseline", "movement"


@dataclass(frozen=True)
class CriterionChoice:
    """A criterion as people see it, and what it needs besides the model that is cut.

    `needs` holds `images` (a sample of training images), `baseline` (it scores the dense model
    at the head of the chain instead of the one that is cut) and `movement` (what the training
    before the cut has added up).
    """

    title: str
    looks_at: str
    needs: tuple[str, ...] = ()


CRITERION_CHOICES: dict[str, CriterionChoice] = {
    "magnitude": CriterionChoice("Magnitude (L1)", "the size of each weight"),
    "random": CriterionChoice("Random (control)", "nothing, which shows what a choice is worth"),
    "taylor": CriterionChoice(
        "Error change (Taylor)",
        "how much the error on some training images would change without the weight, summed "
        "batch by batch",
        (IMAGES,),
    ),
    "snip": CriterionChoice(
        "Error change, dense (SNIP)",
        "the same change on all these images at once, in the baseline before any cut",
        (IMAGES, BASELINE),
    ),
    "synflow": CriterionChoice(
        "Flow (SynFlow)",
        "how much of what flows through the network passes the weight, without any image, "
        "in 100 small cuts so that no layer runs dry",
    ),
    "movement": CriterionChoice(
        "Movement",
        "whether the training before the cut pushed the weight towards zero or away from it",
        (MOVEMENT,),
    ),
    "wanda": CriterionChoice(
        "Size and input (Wanda)",
        "the size of the weight times the strength of what some training images send into it",
        (IMAGES,),
    ),
    "obd": CriterionChoice(
        "Error curvature (OBD)",
        "how steeply the error on some training images would curve upwards as the weight goes",
        (IMAGES,),
    ),
}


def needs(criterion: str, what: str) -> bool:
    """Whether a criterion needs `images`, the `baseline` or the `movement`."""
    return what in CRITERION_CHOICES[criterion].needs

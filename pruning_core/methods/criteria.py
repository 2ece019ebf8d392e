"""Pruning criteria: the importance scores that decide which weights are removed first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pruning_core.methods.registry import Method, Registry

Need = Literal["calibration images", "dense baseline", "movement"]
IMAGES: Need = "calibration images"
BASELINE: Need = "dense baseline"
MOVEMENT: Need = "movement"

Join = Literal["sum", "norm", "first"]
ENGINE = "pruning_core.engine.criteria"


@dataclass(frozen=True)
class Criterion(Method):
    """A pruning criterion. The implementation takes `CriterionInputs` and returns scores by name.

    `needs` lists the inputs besides the weights: calibration images, the dense baseline instead
    of the model that is pruned, or the weight movement that training accumulated. `cost` is how
    many training steps of one image it takes for each calibration image (measured with
    MobileNetV2 at 32x32 pixels, batches of 32, one thread). `join` says how the scores of the
    weights of a filter or kernel become one score: their sum, their Lp norm, or the first of
    them. `signed` scores can be negative. `unsupported` names a function that takes a model and
    returns the reason why it cannot be scored, or an empty text.

    `compensation` names the training-free correction with which the pruning step itself ends, on
    the calibration images and against the model before the step. `rescoring` then names a function
    that takes the inputs of the criterion and returns another one: it scores a layer again, with
    inputs from the layers that are pruned already (see `engine.criteria.obs`).
    """

    needs: tuple[Need, ...] = ()
    cost: float = 0.0
    join: Join = "sum"
    signed: bool = False
    unsupported: str = ""
    compensation: str = ""
    rescoring: str = ""


CRITERIA = Registry(
    "pruning criterion",
    (
        Criterion(
            "magnitude",
            "Magnitude (L1)",
            "The absolute value of the weight.",
            "Han et al. 2015",
            "https://arxiv.org/abs/1506.02626",
            f"{ENGINE}.magnitude:magnitude",
            join="norm",
        ),
        Criterion(
            "random",
            "Random (control)",
            "A random number: a control that shows how much the criterion matters.",
            "Frankle et al. 2020",
            "https://arxiv.org/abs/2009.08576",
            f"{ENGINE}.magnitude:random",
            join="first",
        ),
        Criterion(
            "taylor",
            "First-order Taylor",
            "How much the loss on the calibration images would change without the weight: "
            "gradient times weight, squared and summed over batches.",
            "Molchanov et al. 2019",
            "https://arxiv.org/abs/1906.10771",
            f"{ENGINE}.gradients:taylor",
            needs=(IMAGES,),
            cost=1.0,
        ),
        Criterion(
            "snip",
            "SNIP",
            "Gradient times weight of the dense baseline, on all calibration images at once.",
            "Lee et al. 2019",
            "https://arxiv.org/abs/1810.02340",
            f"{ENGINE}.gradients:snip",
            needs=(IMAGES, BASELINE),
            cost=1.0,
        ),
        Criterion(
            "synflow",
            "SynFlow",
            "Synaptic flow through the weight, computed without images in 100 rounds, which "
            "avoids layer collapse.",
            "Tanaka et al. 2020",
            "https://arxiv.org/abs/2006.05467",
            f"{ENGINE}.synflow:synflow",
            unsupported=f"{ENGINE}.synflow:unsupported_reason",
        ),
        Criterion(
            "movement",
            "Movement",
            "Whether training before the pruning step moved the weight towards zero or away "
            "from it.",
            "Sanh et al. 2020",
            "https://arxiv.org/abs/2005.07683",
            f"{ENGINE}.magnitude:movement",
            needs=(MOVEMENT,),
            signed=True,
        ),
        Criterion(
            "wanda",
            "Wanda",
            "The absolute value of the weight times the norm of its input activations on the "
            "calibration images.",
            "Sun et al. 2024",
            "https://arxiv.org/abs/2306.11695",
            f"{ENGINE}.wanda:wanda",
            needs=(IMAGES,),
            cost=0.7,
        ),
        Criterion(
            "obd",
            "Optimal Brain Damage (OBD)",
            "Second-order: the squared weight times the diagonal of the Gauss-Newton matrix, "
            "estimated image by image on the calibration images.",
            "LeCun et al. 1990",
            "https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html",
            f"{ENGINE}.gradients:obd",
            needs=(IMAGES,),
            cost=10.7,
        ),
        Criterion(
            "obs",
            "Optimal Brain Surgeon (OBS)",
            "The loss without the weight when the other weights of its row make up for it. The "
            "pruning step also sets the remaining weights so that they do.",
            "Frantar and Alistarh 2022",
            "https://arxiv.org/abs/2208.11580",
            f"{ENGINE}.obs:obs",
            needs=(IMAGES,),
            cost=2.0,
            compensation="weight_reconstruction",
            rescoring=f"{ENGINE}.obs:rescoring",
        ),
    ),
)


def needs(criterion: str, need: Need) -> bool:
    """Whether a criterion needs calibration images, the dense baseline or the movement."""
    return need in CRITERIA[criterion].needs

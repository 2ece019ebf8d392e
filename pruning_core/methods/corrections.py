"""Training-free corrections: they recover accuracy after pruning without training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pruning_core.methods.registry import Method, Registry

ENGINE = "pruning_core.engine.correction.corrections"
# The Gram matrix of more inputs than this takes over 170 MB: a 3x3 kernel on 512 channels.
MAX_INPUTS = 4608
# Optimal Brain Surgeon removes the inputs of a layer in parts where all at once would take more
# multiplications, some 20 s; of so many outputs all inputs are removed at once nevertheless.
RANKING_MULTIPLICATIONS, RANKED_OUTPUTS = 2e11, 4
NO_BATCH_NORM = "The model has no batch norm, so BN recalibration changes nothing."


@dataclass(frozen=True)
class Correction(Method):
    """A training-free correction. Each one starts from the model of the entry before it.

    The implementation changes the pruned model in place and returns notes; the first entry has
    none, because it is the pruned model itself. `cost` and `cost_per_layer` are the training
    steps of one image that each calibration image costs, once and for each layer. A correction
    that `solves` equations for the remaining weights takes time for that, too.
    """

    cost: float = 0.0
    cost_per_layer: float = 0.0
    solves: bool = False


CORRECTIONS = Registry(
    "training-free correction",
    (
        Correction("none", "None", "The pruned model as it is."),
        Correction(
            "bn_recalibration",
            "BN recalibration",
            "Estimate the statistics of batch norm again on calibration images.",
            "Li et al. 2020",
            "https://arxiv.org/abs/2007.02491",
            f"{ENGINE}:bn_recalibration",
            cost=0.25,
        ),
        Correction(
            "bias_correction",
            "Bias correction",
            "Correct the bias and the scale of each output channel so that its mean and standard "
            "deviation match the dense model.",
            "Nagel et al. 2019",
            "https://arxiv.org/abs/1906.04721",
            f"{ENGINE}:bias_correction",
            cost=0.5,
            cost_per_layer=0.1,
        ),
        Correction(
            "weight_reconstruction",
            "Weight reconstruction (least squares)",
            "Solve for the remaining weights of each layer so that its outputs match the dense "
            "model.",
            "He et al. 2017",
            "https://arxiv.org/abs/1707.06168",
            f"{ENGINE}:weight_reconstruction",
            cost=0.5,
            cost_per_layer=0.17,
            solves=True,
        ),
    ),
)


def ranked_inputs(outputs: int, inputs: int) -> int:
    """How many of the inputs of a layer Optimal Brain Surgeon removes together.

    To remove d of them one after another takes d^3 / 2 multiplications for each output.
    """
    width = math.sqrt(2 * RANKING_MULTIPLICATIONS / max(outputs * inputs, 1))
    return inputs if width >= inputs else max(1, int(width))


def correction_at(place: int) -> Correction:
    """The correction at a place in the registry; 0 is the pruned model itself."""
    return CORRECTIONS[list(CORRECTIONS)[place]]

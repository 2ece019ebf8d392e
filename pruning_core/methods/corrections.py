"""Training-free corrections: they recover accuracy after pruning without training."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.registry import Method, Registry

ENGINE = "pruning_core.engine.correction.corrections"
# The Gram matrix of more inputs than this takes over 170 MB: a 3x3 kernel on 512 channels.
MAX_INPUTS = 4608
# Optimal Brain Surgeon removes the inputs of wider layers in parts, each beside all the others.
RANKED_INPUTS = 1024
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


def correction_at(place: int) -> Correction:
    """The correction at a place in the registry; 0 is the pruned model itself."""
    return CORRECTIONS[list(CORRECTIONS)[place]]

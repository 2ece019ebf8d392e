"""Optimizers, with the learning rate that is usual for each."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.registry import Method, Registry

ENGINE = "pruning_core.engine.training.optimizers"


@dataclass(frozen=True)
class Optimizer(Method):
    """An optimizer. The implementation takes the parameters and a `TrainSpec` as a dict.

    `lr` is the usual peak learning rate of fine-tuning, `baseline_lr` that of the baseline:
    training from random weights takes a higher rate.
    """

    lr: float = 0.001
    baseline_lr: float = 0.001


OPTIMIZERS = Registry(
    "optimizer",
    (
        Optimizer(
            "sgd",
            "SGD with momentum",
            "Stochastic gradient descent with momentum.",
            "Sutskever et al. 2013",
            "https://proceedings.mlr.press/v28/sutskever13.html",
            f"{ENGINE}:sgd",
            lr=0.02,
            baseline_lr=0.03,
        ),
        Optimizer(
            "adam",
            "Adam",
            "Adaptive moments. The momentum setting is its first beta.",
            "Kingma and Ba 2015",
            "https://arxiv.org/abs/1412.6980",
            f"{ENGINE}:adam",
        ),
        Optimizer(
            "adamw",
            "AdamW",
            "Adam with decoupled weight decay. Its usual weight decay is 0.01.",
            "Loshchilov and Hutter 2019",
            "https://arxiv.org/abs/1711.05101",
            f"{ENGINE}:adamw",
        ),
    ),
)

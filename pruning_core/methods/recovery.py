"""Recovery methods: the weights and learning rates with which training continues after pruning."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.registry import Method, Registry

ENGINE = "pruning_core.engine.training.rewinding"
FINE_TUNING = "fine_tuning"


@dataclass(frozen=True)
class RecoveryMethod(Method):
    """A recovery method.

    The implementation takes `WeightSources` and returns a state dict, or None where weights stay.
    `rewinds` is true for methods that go back to an epoch of the baseline's training, `restarts`
    for methods that replace the weights, `baseline_schedule` for methods that train with the
    learning rates of the baseline. `trains_weights` is false where the weights of convolutions and
    linear layers stay, except those of the classifier.
    """

    rewinds: bool = False
    restarts: bool = False
    baseline_schedule: bool = True
    trains_weights: bool = True

    @property
    def rewinds_weights(self) -> bool:
        """Whether the weights go back to that epoch too, not only the learning rates."""
        return self.rewinds and self.restarts


RECOVERY_METHODS = Registry(
    "recovery method",
    (
        RecoveryMethod(
            FINE_TUNING,
            "Fine-tuning",
            "Continue training the remaining weights.",
            "Han et al. 2015",
            "https://arxiv.org/abs/1506.02626",
            f"{ENGINE}:keep_weights",
            baseline_schedule=False,
        ),
        RecoveryMethod(
            "norms_biases_classifier",
            "Batch norm, biases and classifier",
            "Train only these parameters; the other weights keep the values they had when they "
            "were pruned. A training step takes less time.",
            "Zimmer et al. 2023",
            "https://arxiv.org/abs/2312.15230",
            f"{ENGINE}:keep_weights",
            baseline_schedule=False,
            trains_weights=False,
        ),
        RecoveryMethod(
            "lr_rewinding",
            "Learning-rate rewinding",
            "Keep the weights, and train with the learning rates of the baseline from an earlier "
            "epoch on.",
            "Renda et al. 2020",
            "https://arxiv.org/abs/2003.02389",
            f"{ENGINE}:keep_weights",
            rewinds=True,
        ),
        RecoveryMethod(
            "weight_rewinding",
            "Weight rewinding",
            "Reset the remaining weights to an earlier epoch of the baseline, and train with the "
            "learning rates from that epoch on. Epoch 0 is the lottery ticket.",
            "Frankle and Carbin 2019",
            "https://arxiv.org/abs/1803.03635",
            f"{ENGINE}:rewind_weights",
            rewinds=True,
            restarts=True,
        ),
        RecoveryMethod(
            "random_reinit",
            "Random re-initialization (control)",
            "Train the pruned network from new random weights: a control that shows how much the "
            "values of the remaining weights matter.",
            "Frankle and Carbin 2019",
            "https://arxiv.org/abs/1803.03635",
            f"{ENGINE}:reinitialize",
            restarts=True,
        ),
    ),
)

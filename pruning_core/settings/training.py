"""The settings of training: the optimizer and its learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.methods.lr_schedules import LR_SCHEDULES
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.settings.fields import check_fields, setting


@dataclass(frozen=True)
class TrainSpec:
    """The optimizer, its learning-rate schedule, and the settings of a training step."""

    optimizer: str = setting(
        "sgd",
        "Optimizer",
        help="The optimizer. A change also sets the usual learning rate of the new optimizer.",
        choices=OPTIMIZERS,
    )
    lr: float = setting(
        0.02,
        "Learning rate",
        help="The peak learning rate.",
        above=0,
        maximum=10,
        step=0.001,
    )
    lr_schedule: str = setting(
        "cosine",
        "Learning-rate schedule",
        help="How the learning rate changes during training. The accuracy is usually best if it "
        "falls to about 0.",
        choices=LR_SCHEDULES,
    )
    momentum: float = setting(
        0.9,
        "Momentum",
        help="Momentum of SGD; the first beta of Adam.",
        minimum=0,
        below=1,
        step=0.05,
    )
    weight_decay: float = setting(
        0.0005,
        "Weight decay",
        help="L2 penalty; decoupled in AdamW.",
        minimum=0,
        maximum=1,
        step=0.0001,
    )
    clip_grad_norm: float = setting(
        1.0,
        "Gradient clipping (per-tensor norm)",
        help="Maximum L2 norm of the gradient of each tensor; 0 turns clipping off.",
        minimum=0,
        maximum=1e6,
        step=0.5,
    )
    batch_size: int = setting(
        64,
        "Batch size",
        help="Images in one training step.",
        unit="images",
        minimum=2,
        maximum=4096,
    )
    bn_recalibration_images: int = setting(
        512,
        "BN recalibration images",
        help="Training images on which the statistics of batch norm are estimated again after "
        "each epoch; 0 keeps the running statistics.",
        unit="images",
        minimum=0,
    )
    label_smoothing: float = setting(
        0.0,
        "Label smoothing",
        help="Share of each label that is spread over all classes. 0.1 is usual; 0 turns it off.",
        minimum=0,
        below=1,
        step=0.05,
    )
    warmup: float = setting(
        0.0,
        "Warm-up",
        help="Share of the steps in which the learning rate rises linearly from 0 to the schedule.",
        minimum=0,
        below=1,
        step=0.01,
    )

    def __post_init__(self) -> None:
        check_fields(self)

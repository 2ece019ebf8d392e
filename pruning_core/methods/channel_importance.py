"""Channel importances, and the choices of structured pruning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pruning_core.common.formatting import format_bytes, format_macs
from pruning_core.methods.registry import Method, Registry

ENGINE = "pruning_core.engine.structured"


@dataclass(frozen=True)
class ChannelImportance(Method):
    """A score for each channel of a dependency group, summed over its coupled layers.

    The implementation takes `ImportanceInputs` and returns a scorer of groups. `uses_images` is
    true where it needs calibration images. `cost` is how many training steps of one image it takes
    for each calibration image.
    """

    uses_images: bool = False
    cost: float = 0.0


CHANNEL_IMPORTANCES = Registry(
    "channel importance",
    (
        ChannelImportance(
            "magnitude_l2",
            "Group magnitude (L2)",
            "The L2 norm of the weights of a channel in all coupled layers.",
            "Fang et al. 2023",
            "https://arxiv.org/abs/2301.12900",
            f"{ENGINE}.importance:magnitude_l2",
        ),
        ChannelImportance(
            "magnitude_l1",
            "Group magnitude (L1)",
            "The L1 norm of the weights of a channel in all coupled layers.",
            "Li et al. 2017",
            "https://arxiv.org/abs/1608.08710",
            f"{ENGINE}.importance:magnitude_l1",
        ),
        ChannelImportance(
            "bn_scale",
            "Batch-norm scale (network slimming)",
            "The scale factor of the channel in batch norm.",
            "Liu et al. 2017",
            "https://arxiv.org/abs/1708.06519",
            f"{ENGINE}.importance:bn_scale",
        ),
        ChannelImportance(
            "lamp",
            "LAMP",
            "The squared L2 norm of a channel divided by the sum over this channel and all "
            "channels with higher norms.",
            "Lee et al. 2021",
            "https://arxiv.org/abs/2010.07611",
            f"{ENGINE}.importance:lamp",
        ),
        ChannelImportance(
            "taylor",
            "First-order Taylor",
            "How much the loss on the calibration images would change without the channel: "
            "gradient times weight.",
            "Molchanov et al. 2019",
            "https://arxiv.org/abs/1906.10771",
            f"{ENGINE}.importance:taylor",
            uses_images=True,
            cost=1.0,
        ),
        ChannelImportance(
            "hessian",
            "Hessian (Optimal Brain Damage)",
            "Second-order: squared weight times squared gradient, image by image.",
            "LeCun et al. 1990",
            "https://proceedings.neurips.cc/paper/1989/hash/6c9882bbac1c7093bd25041881277658-Abstract.html",
            f"{ENGINE}.importance:hessian",
            uses_images=True,
            cost=10.7,
        ),
        ChannelImportance(
            "random",
            "Random (control)",
            "Random numbers: a control that shows how much the importance matters.",
            "Mittal et al. 2018",
            "https://arxiv.org/abs/1801.10447",
            f"{ENGINE}.importance:random",
        ),
    ),
)


@dataclass(frozen=True)
class RatioUnit(Method):
    """What a pruning ratio is measured in. `noun` is its plural noun inside a sentence.

    `format` writes a size; `writes_unit` is true where the text needs no noun after it.
    """

    noun: str = ""
    format: Callable[[float], str] = "{:,}".format
    writes_unit: bool = False


STRUCTURED_TARGETS = Registry(
    "unit of the pruning ratio",
    (
        RatioUnit("channels", "Channels", "Output channels of all layers.", noun="channels"),
        RatioUnit("parameters", "Parameters", "All parameters of the model.", noun="parameters"),
        RatioUnit(
            "macs",
            "MACs",
            "Multiply-accumulates for one image.",
            noun="MACs",
            format=format_macs,
        ),
        RatioUnit(
            "bytes",
            "Bytes",
            "Bytes of the dense file.",
            noun="bytes",
            format=format_bytes,
            writes_unit=True,
        ),
    ),
)

STRUCTURED_SCOPES = Registry(
    "structured pruning scope",
    (
        Method(
            "local",
            "Local",
            "Every dependency group loses the same ratio of its channels.",
            implementation=f"{ENGINE}.selection:local",
        ),
        Method(
            "global",
            "Global",
            "One threshold for the channels of all dependency groups.",
            implementation=f"{ENGINE}.selection:global_",
        ),
    ),
)

"""What a structured cut can aim at, and by what it can choose channels, by name only.

The functions are in `engine.structured`; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass

TARGETS = {
    "channels": "Channels",
    "parameters": "Parameters",
    "macs": "Multiply-accumulates (MACs)",
    "bytes": "Bytes of the dense file",
}


@dataclass(frozen=True)
class Importance:
    """`title` for a list, `looks_at` for a sentence; `images` where it looks at images."""

    title: str
    looks_at: str
    images: bool = False


IMPORTANCE_CHOICES = {
    "magnitude_l2": Importance(
        "Group magnitude (L2)", "the squared weights of a channel in all its coupled layers"
    ),
    "magnitude_l1": Importance(
        "Group magnitude (L1)", "the size of a channel's weights in all its coupled layers"
    ),
    "bn_scale": Importance(
        "Batch-norm scale (network slimming)", "the scale that batch norm gives it (Liu 2017)"
    ),
    "lamp": Importance("LAMP", "the L2 magnitude over that of the channels above it (Lee 2021)"),
    "taylor": Importance(
        "Taylor", "weight times gradient on training images (Molchanov 2019)", images=True
    ),
    "hessian": Importance(
        "Hessian (optimal brain damage)",
        "squared weight times squared gradient, image by image (LeCun 1990)",
        images=True,
    ),
    "random": Importance("Random (control)", "nothing: the channels are drawn"),
}


def looks(importance: str) -> bool:
    """Whether an importance looks at training images."""
    return IMPORTANCE_CHOICES[importance].images

"""What a rung of the ladder takes: forward passes, and the equations of least squares.

Measured in seconds of one thread against training steps of the same images: MobileNetV2 at
32x32 (53 layers) and ResNet-18 (21 layers), 128 to 512 images, half and nine tenths gone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pruning_core.methods.layers import Layer, chosen
from pruning_core.settings.correction import MOST_INPUTS

# Training steps of one image: of the whole model, and for each of its layers, since the upper
# rungs run the images anew up to each layer.
WHOLE = {"batch_norm": 0.25, "bias_scale": 0.5, "least_squares": 0.5}
EACH_LAYER = {"batch_norm": 0.0, "bias_scale": 0.1, "least_squares": 0.17}
# Multiplications and additions a second when the equations are solved, in double precision.
RATE = 7e9


def image_steps(rung: str, images: float, layers: int) -> float:
    """The training steps of one image that take as long as a rung's passes over its images."""
    return images * (WHOLE[rung] + EACH_LAYER[rung] * layers)


def solving_seconds(
    rung: str, layers: Sequence[Layer], removed: float, prune: Mapping[str, Any]
) -> float:
    """Seconds to solve for what is left of the weights where the share `removed` is gone.

    A pattern of k weights left costs k^3 / 3, the Cholesky factor of its equations. With single
    weights or kernels every output channel has a pattern of its own; with filters, and in layers
    that are spared, a layer has one. `prune` holds a `PruneSpec`'s settings.
    """
    if rung != "least_squares":
        return 0.0
    cut = {layer.name for layer in chosen(layers, prune["layers"], prune["spare"])}
    solved = [x for x in layers if x.kind != "attention" and math.prod(x.shape[1:]) <= MOST_INPUTS]
    return sum(_work(x, removed if x.name in cut else 0.0, prune) for x in solved) / RATE


def _work(layer: Layer, removed: float, prune: Mapping[str, Any]) -> float:
    alike = not removed or prune["granularity"] == "filter"
    patterns = 1 if alike else layer.shape[0]
    return float(patterns * ((1 - removed) * math.prod(layer.shape[1:])) ** 3 / 3)

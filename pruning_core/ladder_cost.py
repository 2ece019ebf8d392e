"""What a rung of the ladder takes: forward passes, and the equations of least squares.

Measured in seconds of one thread against training steps of the same images: MobileNetV2 at
32x32 (53 layers) and ResNet-18 (21 layers), 128 to 512 images, half and nine tenths gone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pruning_core.ladder_spec import MOST_INPUTS
from pruning_core.layer_choices import Layer

# Training steps of one image: of the whole model, and for each of its layers, since the upper
# rungs run the images anew up to each layer.
WHOLE = {"batch_norm": 0.25, "bias_scale": 0.5, "least_squares": 0.5}
EACH_LAYER = {"batch_norm": 0.0, "bias_scale": 0.1, "least_squares": 0.17}
# Multiplications and additions a second when the equations are solved, in double precision.
SOLVED_PER_SECOND = 7e9


def image_steps(rung: str, images: float, layers: int) -> float:
    """The training steps of one image that take as long as a rung's passes over its images."""
    return images * (WHOLE[rung] + EACH_LAYER[rung] * layers)


def solving_seconds(rung: str, layers: Sequence[Layer], removed: float) -> float:
    """Seconds to solve for what is left of the weights where the share `removed` is gone.

    An output channel with k of them left costs k^3 / 3, the Cholesky factor of its equations.
    """
    if rung != "least_squares":
        return 0.0
    rows = [(x.shape[0], math.prod(x.shape[1:])) for x in layers if x.kind != "attention"]
    work = [n * ((1 - removed) * size) ** 3 / 3 for n, size in rows if size <= MOST_INPUTS]
    return sum(work) / SOLVED_PER_SECOND

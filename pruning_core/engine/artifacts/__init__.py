"""A finished model as a file: written, read back, run, and measured on the test images."""

from pruning_core.engine.artifacts import int8, networks, smaller, tensors
from pruning_core.engine.artifacts.source import Maker

MAKERS: dict[str, Maker] = {**tensors.MAKERS, **smaller.MAKERS, **networks.MAKERS, **int8.MAKERS}

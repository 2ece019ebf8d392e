"""A finished model as a file: written, read back, run, and measured on the test images."""

from pruning_core.engine.export import networks, onnx_int8, safetensors_file, tensor_files
from pruning_core.engine.export.source import Maker

MAKERS: dict[str, Maker] = {
    **tensor_files.MAKERS,
    **safetensors_file.MAKERS,
    **networks.MAKERS,
    **onnx_int8.MAKERS,
}

"""What stands for the Python objects in a checkpoint, so that none of their code is run.

An object keeps nothing, with two exceptions: a pickled model keeps its tensors by name, and an
array of NumPy its values.
"""

from __future__ import annotations

import builtins
from collections import OrderedDict
from typing import Any

import numpy as np
import torch

STAND_INS = __name__
# Where a module of torch keeps its tensors and the modules in it.
MODULE_PARTS = ("_parameters", "_buffers", "_modules")
# What tools store of Python beside its classes, such as the function that compares two metrics. A
# file that names another function was made to run code.
FUNCTIONS = (
    *("min", "max", "len", "sum", "abs", "round", "sorted", "any", "all", "print", "iter", "repr"),
    *("getattr", "Ellipsis", "NotImplemented"),
)
ARRAYS = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
ARRAY_TYPE = "numpy.dtype"
# The kinds of values that torch has too: booleans, integers and floating-point numbers.
NUMBERS = "biuf"


class PickledObject(list[Any]):
    """Stands for a Python object. It takes any arguments; `content` is what it keeps.

    `is_module` is set for a class where one of its objects was a module of torch.
    """

    content: Any = ()
    is_module = False

    def __new__(cls, *_: object) -> PickledObject:
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Keep the tensors of a module of torch; the state of another object is dropped."""
        if isinstance(state, dict) and all(isinstance(state.get(x), dict) for x in MODULE_PARTS):
            type(self).is_module = True
            self.content = {
                name: value for part in MODULE_PARTS for name, value in state[part].items()
            }

    def append(self, _: object) -> None:
        pass

    def extend(self, _: object) -> None:
        pass


class PickledDict:
    """Stands for a class of dicts: a plain one, with the items of the file."""

    is_module = False

    def __new__(cls, *_: object) -> OrderedDict[Any, Any]:  # type: ignore[misc]
        return OrderedDict()


class PickledType(PickledObject):
    """Stands for the type of an array, such as float32 in a byte order."""

    def __init__(self, name: object = "", *_: object) -> None:
        super().__init__()
        self.name, self.order = str(name), "="

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and str(state[1]) in ("<", ">"):
            self.order = str(state[1])


class PickledArray(PickledObject):
    """Stands for an array of NumPy: a tensor with its values, where torch has its type."""

    def __setstate__(self, state: object) -> None:
        if not (isinstance(state, tuple) and len(state) == 5):
            return
        _, shape, kind, by_columns, values = state
        if not (isinstance(kind, PickledType) and isinstance(values, bytes)):
            return
        try:
            dtype = np.dtype(f"{kind.order}{kind.name}")
            if dtype.kind not in NUMBERS:
                return
            array = np.frombuffer(values, dtype).reshape(shape, order="F" if by_columns else "C")
            plain = np.ascontiguousarray(array, dtype.newbyteorder("="))
            self.content = torch.from_numpy(plain.reshape(array.shape).copy())
        except (TypeError, ValueError):
            return  # a type that torch lacks, or values that do not fill the shape


StandIn = type[PickledObject] | type[PickledDict]


def is_named_for_data(name: str) -> bool:
    """Whether a file may name a class or function of Python without being made to run code."""
    return name in FUNCTIONS or isinstance(getattr(builtins, name, None), type)


def stand_in(name: str, is_dict: bool = False) -> StandIn:
    """A class that stands for the class or function `name` of a file; one for each name.

    `is_dict` says that the file sets items of its objects.
    """
    kind: StandIn = PickledObject
    if is_dict:
        kind = PickledDict
    elif name in ARRAYS:
        kind = PickledArray
    elif name == ARRAY_TYPE:
        kind = PickledType
    created: StandIn = type(name, (kind,), {"__module__": STAND_INS})
    return created

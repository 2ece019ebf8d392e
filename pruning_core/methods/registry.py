"""Registries: what can be chosen, by name, with title, help, paper and implementation.

An entry describes a method once. The page's picker, the command line's choices, the Guide's
tables, the checks and the estimate follow from it. Adding a method is one entry and one
function.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Generic, TypeVar


@dataclass(frozen=True)
class Method:
    """An entry of a registry.

    `title` is the term of the literature, `help` a plain sentence, `paper` the citation and `url`
    its address. `implementation` is a dotted string, `package.module:function`: an entry can be
    read without importing torch, and the engine loads the function at first use.
    """

    name: str
    title: str
    help: str = ""
    paper: str = ""
    url: str = ""
    implementation: str = ""


M = TypeVar("M", bound=Method)


class Registry(Mapping[str, M], Generic[M]):
    """Methods of one kind, by name, in the order in which people see them."""

    def __init__(self, kind: str, methods: Iterable[M]) -> None:
        """`kind` is the noun of the field, such as "pruning criterion".

        Raises `ValueError` where two methods have the same name.
        """
        self.kind = kind
        self._methods: dict[str, M] = {}
        for method in methods:
            if method.name in self._methods:
                raise ValueError(f"Two entries of the kind {kind} are called {method.name}.")
            self._methods[method.name] = method

    def __getitem__(self, name: str) -> M:
        return self._methods[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._methods)

    def __len__(self) -> int:
        return len(self._methods)

    @property
    def titles(self) -> dict[str, str]:
        """The title of each method, by name."""
        return {name: method.title for name, method in self._methods.items()}

    def load(self, name: str) -> Any:
        """The implementation of a method. Called by the engine, the worker and `cli.main`."""
        return load(self[name].implementation)


def load(implementation: str) -> Any:
    """The object that a dotted string `package.module:name` names."""
    module, _, name = implementation.partition(":")
    return getattr(import_module(module), name)

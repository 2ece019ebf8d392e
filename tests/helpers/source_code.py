"""What tests read in the source files: their syntax tree, and their strings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TypeGuard


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a file and its line, docstrings included.

    Sums and f-strings come as one text, because a text that is written in parts is read as one;
    their parts come too.
    """
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant | ast.JoinedStr) or is_sum(node):
            yield node.lineno, joined(node)


def is_sum(node: ast.AST) -> TypeGuard[ast.BinOp]:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)


def joined(node: ast.expr) -> str:
    """The text of a string, a sum or an f-string. What is not a constant counts as a space."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else " "
    if isinstance(node, ast.JoinedStr):
        return "".join(map(joined, node.values))
    if isinstance(node, ast.FormattedValue):
        return joined(node.value)
    if is_sum(node):
        return joined(node.left) + joined(node.right)
    return " "

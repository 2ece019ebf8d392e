"""The product uses the field's terms: none of the paraphrases that they replaced is left."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.project import ROOT

# What the product used to say in place of the field's terms, in the order of its pages.
PHRASES = (
    "3. How much",
    "4. When",
    "5. How to recover",
    "Way to recover",
    "ways to recover",
    "Channels really removed",
    "channels removed",
    "More settings",
    "Goes as one piece",
    "goes as one piece",
    "2 of every 4 inputs",
    "Spread over layers",
    "how amounts spread",
    "Each layer alike",
    "All layers together",
    "By the size of each layer",
    "All together, scores by layer",
    "Shares by hand",
    "Keep-floor",
    "kept of every layer",
    "Spared layers",
    "more that is not pruned",
    "Every convolution and linear weight",
    "Spare depthwise",
    "A share for each layer",
    "Norm of a filter",
    "Rows of kernels",
    "what goes first",
    "which weights go first",
    "Error change",
    "Error curvature",
    "Size and input",
    "Images for the criterion",
    "images that a criterion looks at",
    "One-shot amounts",
    "Iterative target",
    "how sparsity grows",
    "All at once",
    "Typed targets",
    "change places",
    "changes places",
    "Dense-sparse-dense: all come back",
    "Tail epochs",
    "the tail",
    "same epochs",
    "Add one-shot with the iterative run's budget",
    "after a cut",
    "Rewind the learning rate",
    "Rewind the weights",
    "New random weights (control)",
    "Rate curve",
    "learning-rate curve",
    "Curve covers",
    "what one curve covers",
    "Each step its own curve",
    "gradient limit",
    "longest gradient",
    "batch-norm images",
    "estimated anew",
    "the baseline teaches",
    "taught",
    "at rest",
    "Ladder without training",
    "the ladder",
    "rung",
    "rungs",
    "what comes back without training",
    "as pruned",
    "batch norm re-estimated",
    "bias and scale corrected",
    "Shares to remove",
    "Shares are of",
    "Channels are chosen by",
    "by what channels are chosen",
    "Spread of channels",
    "Multiples of channels",
    "Most of a layer",
    "Cuts of channels",
    "Epochs per cut of channels",
    "coupled group",
    "coupled groups",
    "hang together",
    "What the cuts would leave",
    "Scan a layer",
    "Scanned alone",
    "Each layer's weights",
    "what each layer bears",
    "of this one alone",
    "Propose from the scan",
    "Total to propose",
    "One layer's weights",
    "size of a weight",
    "Overlap of two models",
    "dead channels",
    "of the colours",
    "Shifted crop",
    "on board",
    "train from nothing",
    "trained from nothing",
    "Look at the images",
    "Look at the model",
    "Look at the coupled layers",
    "Decode the images",
    "Write a file of a model",
    "Pack a passport",
    "passport",
    "Time models in turn",
    "Time products with zeros",
    "Ask two models",
    "Measure the speed",
    "times as fast",
    "Where zeros begin to pay",
    "Find where zeros pay",
    "zeros pay",
    "begin to pay",
    "Try it",
    "look at it",
    "Dense, deflate",
    "Dense, lzma",
    "Bit mask + ",
    "Lost by the file",
    "Accuracy that may be lost",
    "A chart's camera saves",
    "Horizontal axis",
    "recipe",
    "recipes",
    "Kitchen",
    "leave it to the worker",
    "the same there",
    "the same for the baseline",
    "Test images choose nothing",
    "timed beside its baseline",
    "against the plain script",
    "opens at once",
    "Downloads first",
    "point by point",
    "Looking at the data and the model",
    "as published",
    "takes all there are",
    "stand here again",
    "Look again",
    "Ladder",
    "Crossover",
    "Ship",
    "scan",
    "won back",
    "Times smaller",
)
SOURCES = (
    ROOT / "app.py",
    *sorted((ROOT / "pages").rglob("*.py")),
    *sorted((ROOT / "pruning_core").rglob("*.py")),
)
TEXTS = (ROOT / "README.md", *sorted((ROOT / "pages" / "guide").glob("*.md")))
PATTERN = re.compile(
    "|".join(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])" for phrase in PHRASES), re.IGNORECASE
)


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """Every string of a Python file, docstrings and parts of f-strings included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_string_uses_a_replaced_phrase(path: Path) -> None:
    used = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]!r} in {text[:80]!r}"
        for line, text in strings(path)
        for match in PATTERN.finditer(" ".join(text.split()))
    ]
    assert not used


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_text_uses_a_replaced_phrase(path: Path) -> None:
    text = " ".join(path.read_text(encoding="utf-8").split())
    assert not [text[max(0, m.start() - 40) : m.end() + 40] for m in PATTERN.finditer(text)]


def test_the_phrases_are_recognized() -> None:
    """The pattern finds a phrase whatever its case, and no part of another word."""
    assert PATTERN.search("Pick the keep-floor of a layer")
    assert not PATTERN.search("a shipment of scanners")

"""The product uses the field's terms, in texts and in names, and no paraphrases of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.project import ROOT
from tests.helpers.source_code import strings, tree

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
    "batch norm re-estimated",
    "bias and scale corrected",
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
    "Pack a passport",
    "passport",
    "Time models in turn",
    "Time products with zeros",
    "Ask two models",
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
    "cut channels",
    "channels cut",
)
# These are refused in exactly this form, because other forms of their words are plain sentences.
LABELS = (
    "Shares to remove",
    "Write a file of a model",
    "Measure the speed",
    "Downloads first",
    "as pruned",
)
# Home-made words that no name in the code contains.
HOME_MADE = (
    *("ladder", "rung", "climb", "kitchen", "recipe", "passport", "portrait", "crossover"),
    *("gone", "sight", "trainee", "uncut", "gauge", "crew", "scan", "ship", "foreknown", "upkeep"),
    *("outlook", "prospect", "ghost", "scrubber", "spare"),
)
SOURCES = (
    ROOT / "app.py",
    *sorted((ROOT / "pages").rglob("*.py")),
    *sorted((ROOT / "pruning_core").rglob("*.py")),
)
TEXTS = (ROOT / "README.md", *sorted((ROOT / "pages" / "guide").glob("*.md")))
# A word, or a sign that is part of a phrase. Hyphens separate words and are no tokens.
TOKEN = re.compile(r"[^\W_]+|[^\w\s-]")
# The words of a name in snake case or camel case.
NAME_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
ENDINGS = ("ing", "ed", "s")


@cache
def stem(word: str) -> str:
    """A word without the ending of a plural or of a verb form: "scanned" becomes "scan"."""
    word = re.sub(r"(ch|s|sh|x|z)es$", r"\1", word.lower())
    for ending in ENDINGS:
        base = word.removesuffix(ending)
        if base != word and len(base) > 2 and not word.endswith("ss"):
            doubled = ending in ("ing", "ed") and base[-1] == base[-2] and base[-1] not in "lsz"
            word = base[:-1] if doubled else base
            break
    return word[:-1] + "i" if word.endswith("y") else word.removesuffix("e")


def stems(text: str) -> str:
    """The stems of a text, each between spaces, so that a phrase is a part of the result."""
    return " " + "".join(f"{stem(token)} " for token in TOKEN.findall(text))


def words(text: str) -> str:
    """The words of a text as they are, in the form of `stems`."""
    return " " + "".join(f"{token} " for token in TOKEN.findall(text.lower()))


PHRASE_STEMS = {phrase: stems(phrase) for phrase in PHRASES}
LABEL_WORDS = {label: words(label) for label in LABELS}
HOME_MADE_STEMS = {stem(word) for word in HOME_MADE}


def phrases_in(text: str) -> list[str]:
    """The replaced phrases that a text uses, in any case, phrases in any form of their words."""
    phrases = [phrase for phrase, parts in PHRASE_STEMS.items() if parts in stems(text)]
    return phrases + [label for label, parts in LABEL_WORDS.items() if parts in words(text)]


def names(path: Path) -> Iterator[tuple[int, str]]:
    """The names of the functions, classes, variables, parameters and attributes of a file."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.Name():
                yield node.lineno, node.id
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Attribute():
                yield node.lineno, node.attr
            case ast.alias():
                yield node.lineno, node.asname or node.name
            case ast.keyword(arg=str(name)):
                yield node.value.lineno, name


def is_home_made(name: str) -> bool:
    return not HOME_MADE_STEMS.isdisjoint(map(stem, NAME_PART.findall(name)))


def test_no_string_uses_a_replaced_phrase() -> None:
    used = [
        f"{path.relative_to(ROOT)}:{line}: {phrase!r} in {text[:80]!r}"
        for path in SOURCES
        for line, text in strings(path)
        for phrase in phrases_in(text)
    ]
    assert not used


def test_no_name_contains_a_home_made_word() -> None:
    used = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path in SOURCES
        for line, name in [(0, path.stem), *names(path)]
        if is_home_made(name)
    ]
    assert not used


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_no_text_uses_a_replaced_phrase(path: Path) -> None:
    assert not phrases_in(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "text",
    [
        "Pick the keep-floor of a layer",
        "the ladders",
        "a scanned layer, which scans",
        "a re-scan",
        "The crossovers",
        "It is shipped",
        "three passports",
        "it cuts channels",
        "one-shot  amount",
        "the model as-pruned",
    ],
)
def test_a_phrase_is_recognized_in_any_form(text: str) -> None:
    assert phrases_in(text)


def test_a_part_of_another_word_is_no_phrase() -> None:
    assert not phrases_in("a shipment of scanners")


@pytest.mark.parametrize(
    "source",
    [
        "t = 'the lad' + 'der'",
        "t = 'the ' + name + ' begin ' + 'to pay'",
        "t = f'{n} begin ' + f'to pay {n}'",
        "t = 'begin ' f'to {\"pay\"}'",
        "t = f'{call(\"a passport\")} x'",
        "t = 'x' + call('a passport')",
    ],
)
def test_parts_of_a_string_are_joined(source: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    assert any(phrases_in(text) for _, text in strings(path))


@pytest.mark.parametrize(
    "source",
    [
        "def climb_rungs(): ...",
        "class InsightLadder: ...",
        "def f(trainees): ...",
        "x.uncut = 1",
        "gone_channels = 1",
        "f(sight=1)",
        "import numpy as kitchen",
        "SCANS = 1",
    ],
)
def test_a_home_made_word_is_recognized_in_a_name(source: str, tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    assert any(is_home_made(name) for _, name in names(path))


def test_a_part_of_another_name_is_not_home_made() -> None:
    assert not any(map(is_home_made, ("insight", "relationship", "ownership", "scandinavia")))

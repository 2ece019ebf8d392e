"""The answer for a run in one short line, for lists of runs."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pruning_core.common.formatting import format_bytes, format_percent
from pruning_core.results.best_model import Answer
from pruning_core.results.rows import name_in_sentence

IN_PARENTHESES = r" \([^)]*\)"  # numbers that Compare shows


def best_model_summary(answers: Iterable[Answer]) -> str:
    """The best model that meets the goal, or that there is none; with several test sets, of each.

    Compare says why, and how sure the answer is.
    """
    return " ".join(filter(None, map(_line, answers)))


def _line(answer: Answer) -> str:
    place = f"{answer.place[0].upper()}{answer.place[1:]}: " if answer.place else ""
    best = answer.best
    if best is None:
        sentence = next(filter(None, (answer.text, *answer.warnings)), "")
        first = re.split(r"[.:] ", sentence)[0].removesuffix(".")
        return f"{place}{re.sub(IN_PARENTHESES, '', first)}." if first else ""
    name = name_in_sentence(best.strategy, best.target, best.iteration)
    doubt = ", but the test accuracy drops more than the goal allows" if best.caveats else ""
    return (
        f"{place}Best with {best.goal.text}: {name}, {format_percent(best.sparsity)} sparsity, "
        f"{format_bytes(best.sparse_bytes)}, test accuracy {format_percent(best.accuracy)}{doubt}."
    )

"""The card of a model: its accuracy, size and speed, and whether it meets the goal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import streamlit as st

from pages.components.markdown import inline, plain
from pruning_core.common.formatting import (
    format_bytes,
    format_count,
    format_percent,
    format_points,
    format_times,
)
from pruning_core.methods.strategies import BASELINE
from pruning_core.results.best_model import bound_text, observed_text
from pruning_core.results.deployment import speed_figure
from pruning_core.results.deployment_evidence import Evidence
from pruning_core.results.file_goal import GoalCheck, best_file, nearest_files
from pruning_core.results.goal import Goal

STYLE = """
<style>
.st-key-card-figures {display: grid; gap: 0.4rem 1rem;
    grid-template-columns: repeat(auto-fit, minmax(min(9.6rem, 100%), 1fr));}
.st-key-card-figures > * {width: auto;}
</style>
"""
CardFigure = tuple[str, str, str]  # label, value, and the line below it


def draw_card(title: str, figures: Iterable[CardFigure], warnings: Iterable[str] = ()) -> None:
    """A card with a figure beside the other, each with a line of text below it."""
    with st.container(border=True, key="card"):
        st.html(STYLE)
        st.header(plain(title))
        with st.container(horizontal=True, key="card-figures"):
            for label, value, text in figures:
                with st.container(gap=None):
                    st.metric(label, plain(value), width="content")
                    st.caption(inline(text))
        for warning in warnings:
            st.warning(plain(warning))


def model_figures(
    row: Mapping[str, Any],
    checks: Mapping[str, GoalCheck],
    model_check: GoalCheck,
    goal: Goal,
    measured: Evidence,
) -> list[CardFigure]:
    """The figures of a model.

    `row` is its row of `model_rows`, `checks` those of its exported files; before an export the
    `model_check` counts.
    """
    best = best_file(checks.values())
    shown = best or (nearest_files(list(checks.values()))[0] if checks else model_check)
    return [
        _goal(shown, goal),
        _accuracy(row),
        _drop(row, model_check),
        _size(shown, row, exported=bool(checks)),
        ("Speed-up", *speed_figure(measured)),
    ]


def _accuracy(row: Mapping[str, Any]) -> CardFigure:
    low, high = format_percent(row["accuracy_low"]), format_percent(row["accuracy_high"])
    images = format_count(int(row["test_images"]), "test image")
    return "Test accuracy", format_percent(row["accuracy"]), f"95 % CI {low} to {high}, {images}"


def _drop(row: Mapping[str, Any], check: GoalCheck) -> CardFigure:
    value = format_points(row["accuracy_drop"])
    if row["strategy"] == BASELINE:
        return "Accuracy drop", value, "This is the dense baseline."
    text = f"Validation: {observed_text(check.drop)}, {bound_text(check.bound)}"
    return "Accuracy drop", value, text


def _size(check: GoalCheck, row: Mapping[str, Any], exported: bool) -> CardFigure:
    dense_bytes = row["compression_ratio"] * row["sparse_bytes"]
    smaller = dense_bytes > check.size
    ratio = f"{format_times(dense_bytes / check.size)}x smaller than dense" if smaller else ""
    name = check.name if exported else "Sparse (bitmask) file, not exported yet"
    which = "smallest file that meets the goal" if check.meets and exported else ""
    text = ", ".join(filter(None, (name, which, ratio or "not smaller than dense")))
    return "Size", format_bytes(check.size), text


def _goal(check: GoalCheck, goal: Goal) -> CardFigure:
    if not goal.text:
        return "Goal", "not set", "Enter a maximum drop or a maximum size."
    limits = f"{goal.text[0].upper()}{goal.text[1:]}."
    if check.meets:
        return "Goal", "met", limits
    excess = f"{check.excess_text[0].upper()}{check.excess_text[1:]}."
    return (
        "Goal",
        "not met" if check.answer.startswith("no:") else "inconclusive",
        f"{limits} {excess}",
    )

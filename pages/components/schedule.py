"""Targets typed by the user: what follows from them, and the table beside the schedule chart."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd
import streamlit as st

from pages.components import number_lists
from pages.components.choices import KEPT, PREFIX, Values, spec_of, to_widget
from pruning_core.common.formatting import format_percent, missing, trimmed
from pruning_core.methods.sparsity_schedules import CUSTOM, SPARSITY_SCHEDULES
from pruning_core.settings import pruning_steps, strategies
from pruning_core.settings.pruning_steps import regrowth_shares

EDITED = "edited targets"
COLUMN = "Target"
MOST_STEPS = 100


def listed() -> bool:
    """Whether the targets are typed, so that the list says steps and target."""
    return bool(st.session_state.get(f"{PREFIX}iterative.schedule") == CUSTOM)


def returning(chain: strategies.IterativeSpec) -> str:
    """What comes back in which step, in a sentence; nothing where nothing does."""
    if shares := [format_percent(share) for share in regrowth_shares(chain) if share]:
        last = f"{len(shares) + 1}" if len(shares) > 1 else ""
        steps = f"In steps 2 to {last}" if last else "In step 2"
        return f"{steps}, of what is left of each layer {', '.join(shares)} changes places."
    if SPARSITY_SCHEDULES[chain.schedule].ends_dense:
        return f"In step {chain.iterations} all weights come back; the model ends dense."
    return ""


def schedule_chosen() -> None:
    """A callback: typed targets begin with those of the schedule before, and end with another."""
    if not listed():
        st.session_state[f"{PREFIX}iterative.custom_schedule"] = ""
        return
    found = pruning_steps.targets(spec_of(st.session_state[KEPT]).iterative)
    # Typed targets never fall, so what ends dense begins without its last step.
    take(found if found[-1] else found[:-1])


def schedule_typed() -> None:
    """A callback: steps and target follow from the list, where it can be read."""
    with suppress(ValueError):  # the page says what is wrong with it
        take(number_lists.read_percent(st.session_state[f"{PREFIX}iterative.custom_schedule"]))


def take(targets: list[float]) -> None:
    """Make these fractions the typed targets; call before the widgets are drawn."""
    values: Values = {"iterative.schedule": CUSTOM, "iterative.custom_schedule": targets}
    if 0 < len(targets) <= MOST_STEPS and 0 < targets[-1] < 1:
        values |= {"iterative.iterations": len(targets), "iterative.target": targets[-1]}
    for name, value in values.items():
        st.session_state[PREFIX + name] = to_widget(name, value)


def take_edited() -> None:
    """Take over what was edited in the table before; call before the widgets are drawn."""
    if (targets := st.session_state.pop(EDITED, None)) is not None:
        take(targets)


def table_key(targets: list[float]) -> str:
    """The key of the table that shows these: other targets are another table, without edits."""
    return f"targets {number_lists.written_percent(targets)}"


def table(targets: list[float]) -> None:
    """The targets as a table to edit; what was edited becomes the schedule."""
    shown = [float(trimmed(100 * target, 4)) for target in targets]
    edited = st.data_editor(
        pd.DataFrame({COLUMN: shown}, index=pd.RangeIndex(1, len(shown) + 1, name="Step")),
        key=table_key(targets),
        num_rows="dynamic",
        hide_index=False,
        column_config={
            COLUMN: st.column_config.NumberColumn(
                format="%g %%",
                min_value=0.0,
                max_value=99.9999,
                help="Share of the prunable weights that is gone after the step. A change makes "
                "these the schedule: add a step below, or mark rows to delete them.",
            )
        },
    )
    found = [value for value in edited[COLUMN].tolist() if not missing(value)]
    if found != shown:
        st.session_state[EDITED] = [value / 100 for value in found]
        st.rerun()

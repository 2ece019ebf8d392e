"""The custom sparsity schedule: what follows from it, and the table beside the schedule chart."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd
import streamlit as st

from pages.components import number_lists
from pages.components.choices import PREFIX, VALUES, to_widget, widget_value
from pages.components.setting_values import Values, spec_of
from pruning_core.common.formatting import (
    format_epochs,
    format_percent,
    join_words,
    missing,
    trimmed,
)
from pruning_core.methods.sparsity_schedules import CUSTOM, SPARSITY_SCHEDULES
from pruning_core.settings import pruning_steps, strategies
from pruning_core.settings.pruning_steps import regrowth_shares

EDITED = "edited schedule"
COLUMN = "Target sparsity"
MOST_STEPS = 100


def is_custom() -> bool:
    """Whether the schedule is custom, so that it implies the number of steps and the target."""
    return bool(widget_value("iterative.schedule") == CUSTOM)


def notes(chain: strategies.IterativeSpec) -> list[str]:
    """Sentences on steps that do more than prune, or that do not prune."""
    return [*_regrowth_notes(chain), *_final_notes(chain)]


def _regrowth_notes(chain: strategies.IterativeSpec) -> list[str]:
    title = SPARSITY_SCHEDULES[chain.schedule].title
    if shares := [format_percent(share) for share in regrowth_shares(chain) if share]:
        steps = f"steps 2 to {len(shares) + 1}" if len(shares) > 1 else "step 2"
        name, regrown = title.partition(" (")[0], ", ".join(shares)
        return [f"{name} regrows {regrown} of each layer's remaining weights in {steps}."]
    planned = pruning_steps.steps(chain)
    dense = [number for number, step in enumerate(planned, start=1) if step.dense]
    if not dense:
        return []
    numbers = f"{'Step' if len(dense) == 1 else 'Steps'} {join_words(map(str, dense))}"
    restores = f"{numbers} {'restores' if len(dense) == 1 else 'restore'} all pruned weights"
    return [
        f"{restores}{'' if pruning_steps.last_target(chain) else '; the final model is dense'}."
    ]


def _final_notes(chain: strategies.IterativeSpec) -> list[str]:
    if not chain.final_epochs:
        return []
    return [
        f"Step {chain.iterations + 1} is final fine-tuning: {format_epochs(chain.final_epochs)} "
        "without pruning, in which the learning rate falls to 0."
    ]


def schedule_chosen() -> None:
    """A callback: a custom schedule starts with the targets of the schedule before it."""
    if not is_custom():
        st.session_state[f"{PREFIX}iterative.custom_schedule"] = ""
        return
    targets = pruning_steps.targets(spec_of(st.session_state[VALUES]).iterative)
    # A custom schedule never falls, so it starts without the dense steps.
    use_targets([target for target in targets if target])


def schedule_typed() -> None:
    """A callback: the number of steps and the target follow from the list, if it is readable."""
    with suppress(ValueError):  # the page reports what is wrong with it
        text = widget_value("iterative.custom_schedule")
        use_targets(number_lists.parse_percent(text))


def use_targets(targets: list[float]) -> None:
    """Make these shares the custom schedule; call before the widgets are drawn."""
    values: Values = {"iterative.schedule": CUSTOM, "iterative.custom_schedule": targets}
    if 0 < len(targets) <= MOST_STEPS and 0 < targets[-1] < 1:
        values |= {"iterative.iterations": len(targets), "iterative.target": targets[-1]}
    for name, value in values.items():
        st.session_state[PREFIX + name] = to_widget(name, value)


def use_edited_table() -> None:
    """Take over the last edits of the table; call before the widgets are drawn."""
    if (targets := st.session_state.pop(EDITED, None)) is not None:
        use_targets(targets)


def table_key(targets: list[float]) -> str:
    """The key of the table of these targets: other targets are a new table without edits."""
    return f"targets {number_lists.percent_text(targets)}"


def draw_table(targets: list[float]) -> None:
    """The targets as a table to edit; an edit makes the schedule custom."""
    shown = [float(trimmed(100 * target, 4)) for target in targets]
    table = st.data_editor(
        pd.DataFrame({COLUMN: shown}, index=pd.RangeIndex(1, len(shown) + 1, name="Step")),
        key=table_key(targets),
        num_rows="dynamic",
        hide_index=False,
        column_config={
            COLUMN: st.column_config.NumberColumn(
                format="%g %%",
                min_value=0.0,
                max_value=99.9999,
                help="Sparsity of the prunable weights after the step. An edit makes the schedule "
                "custom. Add steps below the last row; select rows to delete them.",
            )
        },
    )
    edited = [value for value in table[COLUMN].tolist() if not missing(value)]
    if edited != shown:
        st.session_state[EDITED] = [value / 100 for value in edited]
        st.rerun()

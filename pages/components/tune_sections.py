"""The parts of the Tune page as widgets, and what a choice implies for other settings."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import streamlit as st

from pages.components import choices, dry_run, facts, schedule
from pages.components.choices import to_widget, widget_value
from pages.components.lab import Lab
from pages.components.setting_sections import FIELDS, MAIN, TABS, sections
from pages.components.settings_form import Form, is_shown, key
from pages.components.uploads import draw_upload, upload_for
from pruning_core.common.errors import SpecError
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.granularity import pattern_of, pattern_sparsity
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.settings import pruning_steps
from pruning_core.settings.spec import Spec

STAYS = "The file stays on this computer."


def draw_main(lab: Lab, spec: Spec, form: Form) -> None:
    """The first part: data set, model, sparsities, epochs and seeds."""
    if DATASETS[form.draw_setting("data.name")].user_images:
        upload_for(
            lab, "Upload a .zip", "data.path", ["zip"], f"{STAYS} {FIELDS['data.path'].about.help}"
        )
        if draw_upload("data.path"):
            form.draw_error("data.path")
        else:
            form.draw_setting("data.path")
    with suppress(SpecError):  # the error is told at its field
        facts.show_data(lab, spec)
    model_column, weights_column = st.columns([2, 3])
    with model_column:
        form.draw_setting("model.name")
    with weights_column:
        # An upload changes the value of the box, so its code runs first, though it is drawn below.
        box = st.container()
        with st.popover("Upload a checkpoint", type="tertiary"):
            upload_for(lab, "Checkpoint file", "model.weights", None, STAYS)
        with box:
            form.draw_setting("model.weights")
    with suppress(SpecError):
        facts.show_model(lab, spec)
    form.draw(MAIN)


def draw_tabs(lab: Lab, spec: Spec, form: Form, valid: bool) -> None:
    """The other settings, in tabs with sections. What has no effect is not drawn."""
    # Without `default`: the tabs would be a new widget after each change, and lose quick clicks.
    tabs = st.tabs(TABS, key=choices.ADDRESS.key("tab"), on_change="rerun")
    for name, tab in zip(TABS, tabs, strict=True):
        if not tab.open:
            continue
        with tab:
            for section in sections(name):
                if any(map(is_shown, section.names)):
                    st.subheader(section.title, anchor=False)
                    form.draw(section.rows)
            if name == "Schedule" and spec.iterative.enabled:
                _draw_steps(spec, valid)
            elif name == "Structured":
                with suppress(SpecError):
                    dry_run.show(lab, spec)


def _draw_steps(spec: Spec, valid: bool) -> None:
    """The sparsity of each pruning step, as sentences and as a table to edit.

    Beside an error the table would still hold the edit that caused the error, and repeat it.
    """
    for note in schedule.notes(spec.iterative):
        st.caption(note)
    if valid:
        st.subheader("Sparsity per step", anchor=False)
        schedule.draw_table(pruning_steps.targets(spec.iterative))


def callbacks() -> dict[str, Callable[[], None]]:
    """What the choice of a setting implies for others, by the setting's name."""
    return {
        # The augmentation of the last data set need not suit this one.
        "data.name": _set("data.augmentation", lambda: "auto"),
        "finetune.optimizer": _set(
            "finetune.lr", lambda: OPTIMIZERS[widget_value("finetune.optimizer")].lr
        ),
        "baseline.optimizer": _set(
            "baseline.lr", lambda: OPTIMIZERS[widget_value("baseline.optimizer")].baseline_lr
        ),
        "recovery.method": _set("recovery.rewind_epoch", _rewind_epoch),
        "pruning.granularity": _one_pattern_step,
        "iterative.schedule": schedule.schedule_chosen,
        "iterative.custom_schedule": schedule.schedule_typed,
    }


def _set(name: str, value_for: Callable[[], object]) -> Callable[[], None]:
    """A callback that sets another setting to the value that suits the choice."""

    def change() -> None:
        st.session_state[key(name)] = value_for()

    return change


def _rewind_epoch() -> int:
    """Only rewinding methods have a rewind epoch."""
    rewinds = RECOVERY_METHODS[widget_value("recovery.method")].rewinds
    return int(widget_value("recovery.rewind_epoch")) if rewinds else 0


def _one_pattern_step() -> None:
    """A callback: an N:M pattern is one pruning step to one sparsity; set the settings it implies.

    Another granularity restores the values from before the pattern.
    """
    before = st.session_state.setdefault("before a pattern", {})
    granularity = widget_value("pruning.granularity")
    if pattern_of(granularity):
        sparsity = pattern_sparsity(granularity)
        implied = {
            "one_shot.amounts": [0.0, sparsity],
            "iterative.enabled": False,
            "pruning.allocation": "uniform",
        }
        for name, value in implied.items():
            before.setdefault(name, widget_value(name))
            st.session_state[key(name)] = to_widget(name, value)
        return
    for name in list(before):
        st.session_state[key(name)] = before.pop(name)

"""The sections of the Tune page: which settings belong to which, and what a choice implies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from pages.components import schedule
from pages.components.choices import to_widget
from pages.components.lab import Lab
from pages.components.settings_form import (
    FIELDS,
    Callbacks,
    Row,
    key,
    setting_widget,
    settings_form,
    value_of,
)
from pages.components.uploads import upload_for
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.granularity import pattern_of, pattern_sparsity
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.methods.recovery import RECOVERY_METHODS

DATA: Sequence[Row] = (("data.train_size", "data.test_size"), "data.image_size")
PRUNING: Sequence[Row] = (
    "one_shot.amounts",
    "iterative.target",
    "pruning.criterion",
    ("pruning.granularity", "pruning.allocation"),
    "pruning.min_density",
    "pruning.layers",
    "pruning.exclude",
    "pruning.layer_sparsities",
)
SCHEDULE: Sequence[Row] = (
    "iterative.enabled",
    ("iterative.iterations", "iterative.epochs"),
    "iterative.schedule",
    "iterative.custom_schedule",
    ("one_shot.epochs", "iterative.final_epochs"),
    "iterative.equal_budget",
    "iterative.equal_schedule",
)
RECOVERY: Sequence[Row] = (
    ("recovery.method", "recovery.rewind_epoch"),
    ("finetune.optimizer", "finetune.lr"),
    ("finetune.lr_schedule", "lr_schedule_span"),
    ("recovery.distillation_weight", "recovery.distillation_temperature"),
    ("correction.enabled", "correction.images"),
)
STRUCTURED: Sequence[Row] = tuple(name for name in FIELDS if name.startswith("structured."))
STAYS = "The file stays on this computer."
# Drawn one by one below, or in the settings file's part.
DRAWN_ALONE = (
    "data.name",
    "data.path",
    "model.name",
    "model.width",
    "model.stem_stride",
    "model.weights",
    "baseline_epochs",
    "label",
)


def data_section(lab: Lab) -> None:
    """The data set, the number of images and their size."""
    name = setting_widget("data.name", callbacks()["data.name"])
    if DATASETS[name].user_images:
        upload_for(
            lab, "Upload a .zip", "data.path", ["zip"], f"{STAYS} {FIELDS['data.path'].about.help}"
        )
        setting_widget("data.path")
    settings_form(DATA)


def model_section(lab: Lab) -> None:
    """The network, its initial weights, and the baseline's epochs."""
    settings_form(("model.name", ("model.width", "model.stem_stride")))
    # An upload changes the value of the box, so its code runs first, though it is drawn below.
    box = st.container()
    with st.expander("Upload a checkpoint"):
        upload_for(lab, "Checkpoint file", "model.weights", None, STAYS)
    with box:
        setting_widget("model.weights")
    setting_widget("baseline_epochs")


def pruning_section() -> None:
    """Sparsity, criterion, granularity, allocation and layers."""
    settings_form(PRUNING, callbacks())


def schedule_section() -> None:
    """The sparsity schedule, and the epochs after each step."""
    settings_form(SCHEDULE, callbacks())


def recovery_section() -> None:
    """The recovery method, its training, and training-free correction."""
    settings_form(RECOVERY, callbacks())


def structured_section() -> None:
    """All settings of structured pruning."""
    settings_form(STRUCTURED)


def advanced_section() -> None:
    """Every setting that no other section draws, under the title of its group.

    A new setting appears here by itself.
    """
    title = ""
    for name in advanced_settings():
        if FIELDS[name].section.title != title:
            title = FIELDS[name].section.title
            st.markdown(f"**{title}**")
        setting_widget(name, callbacks().get(name))


def advanced_settings() -> list[str]:
    """The names of the settings that no other section of the page draws."""
    rows = (*DATA, *PRUNING, *SCHEDULE, *RECOVERY, *STRUCTURED)
    drawn = {name for row in rows for name in ((row,) if isinstance(row, str) else row)}
    return [name for name in FIELDS if name not in drawn and name not in DRAWN_ALONE]


def callbacks() -> Callbacks:
    """What the choice of a setting implies for others, by the setting's name."""
    return {
        # The augmentation of the last data set need not suit this one.
        "data.name": _set("data.augmentation", lambda: "auto"),
        "finetune.optimizer": _set(
            "finetune.lr", lambda: OPTIMIZERS[value_of("finetune.optimizer")].lr
        ),
        "baseline.optimizer": _set(
            "baseline.lr", lambda: OPTIMIZERS[value_of("baseline.optimizer")].baseline_lr
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
    rewinds = RECOVERY_METHODS[value_of("recovery.method")].rewinds
    return value_of("recovery.rewind_epoch") if rewinds else 0


def _one_pattern_step() -> None:
    """A callback: an N:M pattern is one pruning step to one sparsity; set the settings it implies.

    Another granularity restores the values from before the pattern.
    """
    before = st.session_state.setdefault("before a pattern", {})
    granularity = value_of("pruning.granularity")
    if pattern_of(granularity):
        sparsity = pattern_sparsity(granularity)
        implied = {
            "one_shot.amounts": [0.0, sparsity],
            "iterative.enabled": False,
            "pruning.allocation": "uniform",
        }
        for name, value in implied.items():
            before.setdefault(name, value_of(name))
            st.session_state[key(name)] = to_widget(name, value)
        return
    for name in list(before):
        st.session_state[key(name)] = before.pop(name)

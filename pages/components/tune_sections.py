"""The sections of the Tune page: which settings stand where, and what a choice implies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from pages.components import schedule
from pages.components.choices import to_widget
from pages.components.settings_form import (
    FIELDS,
    Callbacks,
    Row,
    key,
    setting_widget,
    settings_form,
    value_of,
)
from pages.components.shell import Lab
from pages.components.uploads import uploaded
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
)
RECOVERY: Sequence[Row] = (
    ("recovery.method", "recovery.rewind_epoch"),
    ("finetune.optimizer", "finetune.lr"),
    ("finetune.lr_schedule", "lr_schedule_span"),
    ("recovery.distillation_weight", "recovery.distillation_temperature"),
    ("correction.enabled", "correction.images"),
)
STRUCTURED: Sequence[Row] = tuple(name for name in FIELDS if name.startswith("structured."))
# Drawn by functions of their own below.
ELSEWHERE = (
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
    """Which images, how many, how large."""
    name = setting_widget("data.name", callbacks()["data.name"])
    if DATASETS[name].user_images:
        uploaded(lab, "Upload a .zip", "data.path", ["zip"])
        setting_widget("data.path")
    settings_form(DATA)


def model_section(lab: Lab) -> None:
    """Which network, from which weights, and how long the baseline trains."""
    settings_form(("model.name", ("model.width", "model.stem_stride")))
    # An upload changes what the box shows, so it is read first, though it stands below.
    place = st.container()
    with st.expander("Upload a checkpoint"):
        uploaded(lab, "Checkpoint file", "model.weights", ["safetensors", "pt", "pth", "ckpt"])
    with place:
        setting_widget("model.weights")
    setting_widget("baseline_epochs")


def pruning_section() -> None:
    """Sparsity, criterion, granularity, allocation and layers."""
    settings_form(PRUNING, callbacks())


def schedule_section() -> None:
    """The sparsity schedule, and the epochs between its steps."""
    settings_form(SCHEDULE, callbacks())


def recovery_section() -> None:
    """How training recovers the accuracy."""
    settings_form(RECOVERY, callbacks())


def structured_section() -> None:
    """Structured pruning."""
    settings_form(STRUCTURED)


def advanced_section() -> None:
    """Every setting that stands in no other section, under the title of its group."""
    title = ""
    for name in advanced_settings():
        if FIELDS[name].section.title != title:
            title = FIELDS[name].section.title
            st.markdown(f"**{title}**")
        setting_widget(name, callbacks().get(name))


def advanced_settings() -> list[str]:
    """The settings that stand in no other section of the page."""
    rows = (*DATA, *PRUNING, *SCHEDULE, *RECOVERY, *STRUCTURED)
    shown = {name for row in rows for name in ((row,) if isinstance(row, str) else row)}
    return [name for name in FIELDS if name not in shown and name not in ELSEWHERE]


def callbacks() -> Callbacks:
    """What the choice of a setting implies for others, by the setting's name."""
    return {
        # What suited the images before need not suit these.
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
    """A callback that gives a setting the value that suits what was just chosen."""

    def change() -> None:
        st.session_state[key(name)] = value_for()

    return change


def _rewind_epoch() -> int:
    """Only rewinding has an epoch to go back to."""
    rewinds = RECOVERY_METHODS[value_of("recovery.method")].rewinds
    return value_of("recovery.rewind_epoch") if rewinds else 0


def _one_pattern_step() -> None:
    """A callback: an N:M pattern is one pruning step to one sparsity, which it sets.

    What it replaced comes back with another granularity, unless it was changed meanwhile.
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

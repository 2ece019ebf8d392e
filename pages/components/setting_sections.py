"""Which part, tab and section of the Tune page draws a setting."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pruning_core.settings.fields import fields_of
from pruning_core.settings.spec import Spec

FIELDS = fields_of(Spec)
Row = str | tuple[str, ...]  # settings side by side

# The settings of the first part, besides those that are drawn one by one.
MAIN: Sequence[Row] = (
    "one_shot.amounts",
    ("iterative.target", "iterative.iterations"),
    ("iterative.epochs", "one_shot.epochs"),
    ("baseline_epochs", "seeds"),
)
DRAWN_ALONE = ("data.name", "data.path", "model.name", "model.weights", "label")


@dataclass(frozen=True)
class Section:
    """Settings under one heading."""

    title: str
    rows: Sequence[Row]

    @property
    def names(self) -> list[str]:
        """The names of the settings."""
        return _names(self.rows)


def _names(rows: Sequence[Row]) -> list[str]:
    return [name for row in rows for name in ((row,) if isinstance(row, str) else row)]


# A tab draws these sections, and then every other setting of its parts of a spec (`TABS_OF_PARTS`),
# so that a new setting appears by itself.
SECTIONS: Mapping[str, Sequence[Section]] = {
    "Pruning": (
        Section("Importance", ("pruning.criterion", "pruning.calibration_images")),
        Section(
            "Sparsity pattern",
            ("pruning.granularity", ("pruning.filter_norm", "pruning.filter_dim")),
        ),
        Section(
            "Allocation",
            ("pruning.allocation", "pruning.min_density", "pruning.layer_sparsities"),
        ),
        Section("Layers", ("pruning.layers", "pruning.exclude")),
    ),
    "Schedule": (
        Section(
            "Iterative run",
            (
                "iterative.enabled",
                "iterative.schedule",
                "iterative.custom_schedule",
                "iterative.final_epochs",
            ),
        ),
        Section("One-shot controls", ("iterative.equal_budget", "iterative.equal_schedule")),
    ),
    "Fine-tuning": (
        Section(
            "Optimization",
            (
                ("finetune.optimizer", "finetune.lr"),
                ("finetune.lr_schedule", "lr_schedule_span"),
                "finetune.warmup",
            ),
        ),
        Section(
            "Recovery",
            (
                "recovery.method",
                "recovery.rewind_epoch",
                ("recovery.distillation_weight", "recovery.distillation_temperature"),
            ),
        ),
        Section("Correction", ("correction.enabled", "correction.images")),
    ),
    "Structured": (),
    "Advanced": (),
}
TABS = tuple(SECTIONS)
# By the title of a part; the others are in the last tab.
TABS_OF_PARTS = {
    "Pruning": "Pruning",
    "One-shot pruning": "Schedule",
    "Iterative pruning": "Schedule",
    "Fine-tuning": "Fine-tuning",
    "Recovery": "Fine-tuning",
    "Training-free correction": "Fine-tuning",
    "Structured pruning": "Structured",
}


def sections(tab: str) -> Iterator[Section]:
    """The sections of a tab. Settings that no section names come last, by the part of the spec."""
    yield from SECTIONS[tab]
    named = {*_names(MAIN), *DRAWN_ALONE}
    named.update(name for part in SECTIONS.values() for section in part for name in section.names)
    others: dict[str, list[str]] = {}
    for name, field in FIELDS.items():
        if name not in named and TABS_OF_PARTS.get(field.section.title, TABS[-1]) == tab:
            others.setdefault(field.section.title, []).append(name)
    for title, names in others.items():
        yield Section(title, [tuple(names[i : i + 2]) for i in range(0, len(names), 2)])


def tab_of(name: str) -> str:
    """The tab that draws a setting; empty for one of the first part."""
    return next((tab for tab in TABS for s in sections(tab) if name in s.names), "")

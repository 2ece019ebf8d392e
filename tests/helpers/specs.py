"""Random specs, and specs in which single settings are changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from pruning_core.common.errors import SpecError
from pruning_core.methods.allocation import ALLOCATIONS
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.methods.criteria import CRITERIA
from pruning_core.methods.lr_schedules import LR_SCHEDULE_SPANS, LR_SCHEDULES
from pruning_core.methods.recovery import RECOVERY_METHODS
from pruning_core.methods.sensitivity_units import SENSITIVITY_UNITS
from pruning_core.methods.sparsity_schedules import CUSTOM, SPARSITY_SCHEDULES
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.fields import Field, fields_of
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec, from_dict
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec

# Other values of settings for which `other_values` has no general rule.
OTHER_VALUES: dict[str, tuple[Any, ...]] = {
    "pruning.layer_sparsities": (["*=0.25"],),
    "pruning.filter_norm": ("1", "3"),
    "iterative.custom_schedule": ([0.2, 0.5, 0.8], [0.2, 0.4, 0.6, 0.8], [0.7, 0.8]),
    "structured.ratios": ([0.4],),
    "sensitivity.sparsities": ([0.2, 0.6],),
}


def one_of(values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(tuple(values))


@st.composite
def specs(draw: DrawFn) -> Spec:
    """A valid spec in which any part may be switched on or off.

    Settings that contradict each other have their defaults instead.
    """
    schedule = draw(one_of(SPARSITY_SCHEDULES))
    custom, regrows = schedule == CUSTOM, SPARSITY_SCHEDULES[schedule].regrows
    allocation = draw(one_of(ALLOCATIONS))
    epochs = one_of((0.0, 1.0))
    parts: dict[str, Any] = {
        "pruning": PruningSpec(
            criterion=draw(one_of(CRITERIA)),
            allocation=allocation,
            layer_sparsities=("*=0.5",) if allocation == "custom" else (),
            granularity=draw(one_of(("unstructured", "block:4", "kernel", "filter"))),
        ),
        "one_shot": OneShotSpec(draw(one_of(((), (0.0,), (0.0, 0.5), (0.5,)))), draw(epochs)),
        "iterative": IterativeSpec(
            enabled=draw(st.booleans()),
            target=0.8,
            # A schedule that regrows weights needs several steps with training.
            iterations=3 if custom or regrows else draw(one_of((1, 3))),
            epochs=1.0 if regrows else draw(epochs),
            schedule=schedule,
            custom_schedule=(0.3, 0.5, 0.8) if custom else (),
            final_epochs=draw(epochs),
            equal_budget=draw(st.booleans()),
        ),
        "structured": StructuredSpec(
            enabled=draw(st.booleans()),
            ratios=(0.3,),
            channel_importance=draw(one_of(CHANNEL_IMPORTANCES)),
            steps=draw(one_of((1, 2))),
            epochs=draw(epochs),
            final_epochs=draw(epochs),
        ),
        "sensitivity": SensitivitySpec(draw(st.booleans()), unit=draw(one_of(SENSITIVITY_UNITS))),
        "finetune": replace(QUICKSTART.finetune, lr_schedule=draw(one_of(LR_SCHEDULES))),
    }
    more = {
        "recovery": RecoverySpec(
            draw(one_of(RECOVERY_METHODS)), distillation_weight=draw(one_of((0.0, 0.5)))
        ),
        "lr_schedule_span": draw(one_of(LR_SCHEDULE_SPANS)),
        "correction": CorrectionSpec(draw(st.booleans())),
    }
    for chosen in ({**parts, **more}, parts):
        try:
            return replace(QUICKSTART, **chosen)
        except SpecError:
            continue
    # All parts are switched off.
    return replace(QUICKSTART, pruning=parts["pruning"], finetune=parts["finetune"])


def changed(spec: Spec, name: str, value: Any) -> Spec | None:
    """The spec with another value of a setting; None where that is refused."""
    values = to_dict(spec)
    section = values
    *path, last = name.split(".")
    for part in path:
        section = section[part]
    section[last] = value
    try:
        return from_dict(values)
    except SpecError:
        return None


def other_values(field: Field, value: Any) -> Iterator[Any]:
    """Values of a setting other than its present one, which may be refused beside others."""
    candidates: tuple[Any, ...]
    if field.name in OTHER_VALUES:
        candidates = OTHER_VALUES[field.name]
    elif field.type is bool:
        candidates = (not value,)
    elif field.choice_names:
        candidates = field.choice_names
    elif field.item_type is int:
        candidates = (value + 1, value + 3)
    elif field.item_type is float:
        candidates = (value / 2, value + 0.5, value + 0.05)
    else:
        candidates = ()
    listed = list(value) if field.is_list else value
    return (candidate for candidate in candidates if candidate != listed)


def variants(spec: Spec, name: str) -> Iterator[Spec]:
    """The valid specs that differ from a spec in one setting."""
    field, value = fields_of(Spec)[name], spec
    for part in name.split("."):
        value = getattr(value, part)
    for other in other_values(field, value):
        if (variant := changed(spec, name, other)) is not None:
            yield variant

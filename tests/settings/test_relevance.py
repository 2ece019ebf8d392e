"""One predicate decides whether a setting has an effect: for notes, widgets, keys and job ids."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given, settings

from pruning_core.common.errors import SpecError
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.fields import SECTION, Condition, fields_of, section, setting
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.relevance import (
    active_settings,
    effective_settings,
    has_effect,
    keyed_for,
    unmet,
)
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.serialization import keyed, to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.settings.training import TrainSpec
from pruning_core.storage.job_record import job_id
from tests.helpers.inspections import FactsWithGroups
from tests.helpers.specs import specs, variants

CONDITIONAL = [name for name, field in fields_of(Spec).items() if field.conditions]
NO_ITERATIVE = IterativeSpec(enabled=False)
FILTERS = PruningSpec(criterion="taylor", granularity="filter")
RIGL = replace(QUICKSTART, pruning=FILTERS, iterative=IterativeSpec(schedule="rigl"))
GROUPS = replace(
    QUICKSTART,
    structured=StructuredSpec(channel_importance="taylor"),
    sensitivity=SensitivitySpec(enabled=True, unit="dependency_group"),
)


def keys(spec: Spec) -> set[str]:
    """The keys of all stages of a spec."""
    planned = plan(spec, FactsWithGroups(spec))
    assert planned.complete
    return {stage.key for stage in planned.stages}


def test_the_filter_norm_has_an_effect_beside_rigl_on_filters() -> None:
    """Taylor scores of a filter are summed, but RigL regrows by the norm of the gradients."""
    other = replace(RIGL, pruning=replace(FILTERS, filter_norm="1"))
    assert has_effect("pruning.filter_norm", RIGL)
    assert keys(other) != keys(RIGL)
    assert job_id(other) != job_id(RIGL)
    linear = replace(RIGL, iterative=IterativeSpec(schedule="linear"))
    assert not has_effect("pruning.filter_norm", linear)
    assert (condition := unmet("pruning.filter_norm", linear))
    assert condition.text == (
        "with the granularity filter, for magnitude scores and for regrowth by RigL"
    )


@pytest.mark.parametrize(
    ("name", "other"),
    [
        (
            "pruning.calibration_images",
            replace(GROUPS, pruning=PruningSpec(calibration_images=64)),
        ),
        (
            "structured.channel_importance",
            replace(GROUPS, structured=StructuredSpec(channel_importance="hessian")),
        ),
    ],
)
def test_a_sensitivity_analysis_of_groups_reads_settings_of_channels(
    name: str, other: Spec
) -> None:
    """Without structured pruning, and although the criterion needs no images."""
    assert has_effect(name, GROUPS)
    assert keys(other) != keys(GROUPS)
    assert job_id(other) != job_id(GROUPS)
    layers = replace(GROUPS, sensitivity=SensitivitySpec(enabled=True))
    assert not has_effect(name, layers)


@given(specs())
@settings(deadline=None, max_examples=60)
def test_a_setting_without_effect_changes_no_key_and_no_job_id(spec: Spec) -> None:
    """Nor is a run refused because of it: all such settings are changed, one after another."""
    try:
        before = keys(spec)
    except SpecError:
        assume(False)
    current = spec
    for name in CONDITIONAL:
        if has_effect(name, current):
            continue
        if variant := next(variants(current, name), None):
            assert not has_effect(name, variant), f"{name} decides about its own condition"
            assert job_id(variant) == job_id(spec), name
            current = variant
    assert keys(current) == before


# Specs in which settings with a condition have an effect, by name.
EFFECTIVE: dict[str, Spec] = {
    "defaults": QUICKSTART,
    # Keys contain the digest of a file, whatever it is.
    "checkpoint": replace(QUICKSTART, model=ModelSpec(weights=__file__)),
    "own images": replace(QUICKSTART, data=DataSpec(name="images", path="/images")),
    "global": replace(QUICKSTART, pruning=PruningSpec(allocation="global")),
    "custom": replace(
        QUICKSTART, pruning=PruningSpec(allocation="custom", layer_sparsities=("*=0.5",))
    ),
    "custom schedule": replace(
        QUICKSTART,
        iterative=IterativeSpec(
            schedule="custom", custom_schedule=(0.3, 0.5, 0.8), iterations=3, target=0.8
        ),
    ),
    "no training of the baseline": replace(QUICKSTART, baseline_epochs=0),
    "filters": replace(QUICKSTART, pruning=PruningSpec(granularity="filter", exclude=("stem",))),
    "rigl": RIGL,
    "final fine-tuning": replace(QUICKSTART, iterative=IterativeSpec(final_epochs=1.0)),
    "structured only": replace(
        QUICKSTART,
        one_shot=OneShotSpec((), 0.0),
        iterative=NO_ITERATIVE,
        structured=StructuredSpec(enabled=True, channel_importance="taylor", steps=2),
    ),
    "groups": GROUPS,
    "layers": replace(
        QUICKSTART,
        one_shot=OneShotSpec((), 0.0),
        iterative=NO_ITERATIVE,
        sensitivity=SensitivitySpec(enabled=True),
    ),
    "correction": replace(QUICKSTART, correction=CorrectionSpec(enabled=True)),
    "distillation": replace(QUICKSTART, recovery=RecoverySpec(distillation_weight=0.5)),
    "lr rewinding": replace(QUICKSTART, recovery=RecoverySpec("lr_rewinding", 2)),
    "weight rewinding": replace(
        QUICKSTART,
        recovery=RecoverySpec("weight_rewinding", 2),
        iterative=IterativeSpec(final_epochs=1.0),
    ),
    "calibration without training": replace(
        QUICKSTART,
        pruning=PruningSpec(criterion="wanda"),
        one_shot=OneShotSpec((0.5,), 0.0),
        iterative=NO_ITERATIVE,
    ),
}


@pytest.mark.parametrize("title", EFFECTIVE)
def test_a_setting_with_an_effect_changes_keys_and_job_id(title: str) -> None:
    spec = EFFECTIVE[title]
    before = keys(spec)
    for name in CONDITIONAL:
        if not has_effect(name, spec):
            continue
        others = list(variants(spec, name))
        if others:
            # A value that `plan` refuses has an effect, too.
            assert any(_keys_or_refused(other) != before for other in others), name
            assert all(job_id(other) != job_id(spec) for other in others), name


def _keys_or_refused(spec: Spec) -> set[str] | str:
    try:
        return keys(spec)
    except SpecError as error:
        return str(error)


def test_each_condition_is_met_in_some_spec_and_unmet_in_another() -> None:
    for name in CONDITIONAL:
        effects = {has_effect(name, spec) for spec in EFFECTIVE.values()}
        assert effects == {True, False}, name


def test_the_first_condition_that_does_not_hold() -> None:
    spec = replace(QUICKSTART, iterative=NO_ITERATIVE)
    assert unmet("pruning.criterion", spec) is None
    condition = unmet("iterative.target", spec)
    assert condition is not None
    assert condition.text == "with iterative pruning"


def test_the_label_changes_no_job_id() -> None:
    assert job_id(replace(QUICKSTART, label="other")) == job_id(QUICKSTART)
    assert "label" not in active_settings(QUICKSTART)


NEVER = Condition(lambda spec: False, "with nothing")


def wider(spec: Spec, value: float, **described: Any) -> Any:
    """The spec, of a class whose training settings have one more setting with this value."""
    extra = setting(0.0, "Extra", help="A setting that is added later.", **described)
    wider_train: Any = dataclasses.make_dataclass(
        "WiderTrain", [("extra", float, extra)], bases=(TrainSpec,), frozen=True
    )
    train_sections = [f for f in dataclasses.fields(Spec) if f.name in ("baseline", "finetune")]
    wider_spec: Any = dataclasses.make_dataclass(
        "WiderSpec",
        [
            (field.name, wider_train, section(wider_train, **vars(field.metadata[SECTION])))
            for field in train_sections
        ],
        bases=(Spec,),
        frozen=True,
    )
    values = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    for field in train_sections:
        values[field.name] = wider_train(**vars(values[field.name]), extra=value)
    return wider_spec(**values)


@pytest.mark.parametrize(
    ("value", "described"),
    [(0.0, {"neutral": 0.0}), (0.0, {"read_when": NEVER}), (1.0, {"read_when": NEVER})],
)
@pytest.mark.parametrize("title", ["defaults", "final fine-tuning", "structured only", "groups"])
def test_a_setting_that_is_added_later_changes_no_key_and_no_job_id(
    title: str, value: float, described: dict[str, Any]
) -> None:
    spec = EFFECTIVE[title]
    later = wider(spec, value, **described)
    assert "finetune.extra" in fields_of(type(later))
    assert active_settings(later) == active_settings(spec)
    assert job_id(later) == job_id(spec)
    assert keys(later) == keys(spec)
    assert keyed_for(later, later.finetune) == to_dict(spec.finetune)


def test_a_setting_that_is_added_later_enters_keys_once_it_is_used() -> None:
    later = wider(QUICKSTART, 1.0, neutral=0.0)
    assert job_id(later) != job_id(QUICKSTART)
    assert keys(later) != keys(QUICKSTART)
    assert keyed(later.finetune)["extra"] == 1.0
    assert keyed(wider(QUICKSTART, 0.0, neutral=0.0).finetune) == to_dict(QUICKSTART.finetune)


def test_effective_settings_of_a_section_enter_the_key() -> None:
    assert "min_density" not in effective_settings(QUICKSTART, "pruning")
    assert effective_settings(EFFECTIVE["global"], "pruning")["min_density"] == 0.05
    assert effective_settings(QUICKSTART, "structured") == {"enabled": False}

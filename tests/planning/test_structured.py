"""Structured pruning in a plan: chains, keys, refusals, names, and the estimate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.methods.layers import Layer
from pruning_core.planning import structured
from pruning_core.planning.costs import Sizes, stage_epochs
from pruning_core.planning.estimate import estimate
from pruning_core.planning.inspection_types import InspectGroupsResult
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage, outline
from pruning_core.planning.stage_types import restored
from pruning_core.planning.structured import inspect_groups, prunable_groups
from pruning_core.results.models import chain_names, titles
from pruning_core.settings.spec import Spec, from_dict
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.inspections import DRY_RUN, Facts, FactsWithGroups

ON = StructuredSpec(True, (0.3, 0.5))
SPEC = replace(QUICKSTART, structured=ON)


def planned(spec: Spec) -> Plan:
    return plan(spec, FactsWithGroups(spec))


def structured_stages(spec: Spec) -> list[Stage]:
    return [stage for stage in planned(spec).stages if stage.kind == "structured"]


def test_switched_off_it_changes_no_key() -> None:
    off = replace(QUICKSTART, structured=replace(ON, enabled=False, ratios=(0.7,)))
    before = [stage.key for stage in plan(QUICKSTART, Facts(QUICKSTART)).stages]
    assert [stage.key for stage in plan(off, Facts(off)).stages] == before
    assert set(before) < {stage.key for stage in planned(SPEC).stages}


def test_nothing_is_planned_before_the_dry_run() -> None:
    inspections = plan(SPEC, Facts(SPEC))
    kinds = ["inspect_dataset", "inspect_model", "inspect_groups"]
    assert [stage.kind for stage in inspections.stages] == kinds
    assert not inspections.complete


def test_it_can_run_alone() -> None:
    alone = replace(SPEC, one_shot=OneShotSpec(amounts=()), iterative=IterativeSpec(enabled=False))
    assert [m.strategy for m in planned(alone).models] == ["baseline", "structured", "structured"]
    with pytest.raises(SpecError, match=r"nothing to run.*structured pruning"):
        replace(alone, structured=StructuredSpec())


def test_each_step_starts_from_the_step_before() -> None:
    spec = replace(SPEC, structured=replace(ON, steps=3, final_epochs=1, epochs=0.5))
    models = [m for m in planned(spec).models if m.strategy == "structured"]
    stages = {stage.key: stage for stage in structured_stages(spec)}
    assert [m.iteration for m in models] == [1, 2, 3, 4] * 2
    assert [stages[m.key].parent for m in models[1:4]] == [m.key for m in models[:3]]
    assert [m.final for m in models] == [False, False, False, True] * 2
    assert stages[models[3].key].settings["removal"] == {}
    assert stages[models[3].key].settings["train"]["lr_schedule"] == "cosine"
    assert [m.target for m in models][2:4] == [0.3, 0.3]
    names = chain_names(outline(planned(spec)))
    chains = [{names[m] for m in models[:4]}, {names[m] for m in models[4:]}]
    assert [len(chain) for chain in chains] == [1, 1]
    assert ["30 %" in chains[0].pop(), "50 %" in chains[1].pop()] == [True, True]
    single = titles(outline(planned(SPEC))).values()
    assert ["30 %" in name for name, strategy in single if strategy == "structured"] == [
        True,
        False,
    ]


def test_one_schedule_spans_pruning_steps_and_final_fine_tuning() -> None:
    spec = replace(
        SPEC,
        lr_schedule_span="run",
        structured=replace(ON, steps=2, final_epochs=1, ratios=(0.5,)),
    )
    places = [
        (stage.settings["lr_from_epoch"], stage.settings["lr_epochs"])
        for stage in structured_stages(spec)
    ]
    assert places == [(0, 3), (1, 3), (2, 3)]
    constant = replace(spec.finetune, lr_schedule="constant")
    with pytest.raises(SpecError, match="does not fall to it"):
        replace(spec, finetune=constant)


def test_fractions_of_epochs_are_rounded_together_with_the_steps_before() -> None:
    """The engine rounds them by the epochs of the parent, which the keys hold where it matters."""
    halves = replace(ON, steps=3, epochs=0.5, final_epochs=1, ratios=(0.5,))
    stages = structured_stages(replace(SPEC, structured=halves))
    assert [stage.settings.get("first_epoch") for stage in stages] == [None, 0.5, None, 1.5]
    whole = structured_stages(replace(SPEC, structured=replace(halves, epochs=2)))
    assert {stage.settings.get("first_epoch") for stage in whole} == {None}


KEYS: list[tuple[Callable[[StructuredSpec], StructuredSpec], bool]] = [
    (lambda s: replace(s, channel_importance="lamp"), True),
    (lambda s: replace(s, scope="global"), True),
    (lambda s: replace(s, ratio_of="bytes"), True),
    (lambda s: replace(s, round_to=16), True),
    (lambda s: replace(s, max_ratio=0.8), True),
    (lambda s: replace(s, epochs=2), True),
    (lambda s: replace(s, ratios=(0.3,)), False),
]


@pytest.mark.parametrize(("change", "differs"), KEYS)
def test_the_key_has_the_settings_that_can_change_the_result(
    change: Callable[[StructuredSpec], StructuredSpec], differs: bool
) -> None:
    changed = replace(SPEC, structured=change(ON))
    assert (structured_stages(changed)[0].key != structured_stages(SPEC)[0].key) == differs


def test_calibration_images_enter_the_key_of_importances_that_use_them() -> None:
    def key(importance: str, images: int) -> str:
        pruning = replace(QUICKSTART.pruning, calibration_images=images)
        importances = replace(ON, channel_importance=importance)
        return structured_stages(replace(SPEC, pruning=pruning, structured=importances))[0].key

    assert key("lamp", 64) == key("lamp", 128)
    assert key("taylor", 64) != key("taylor", 128)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"ratios": [1.0]}, "structured.ratios"),
        ({"ratios": [0.0]}, "structured.ratios"),
        ({"ratios": [0.3, 0.3]}, "structured.ratios"),
        ({"ratios": [], "enabled": True}, "structured.ratios"),
        ({"ratio_of": "weights"}, "structured.ratio_of"),
        ({"channel_importance": "none"}, "structured.channel_importance"),
        ({"scope": "erk"}, "structured.scope"),
        ({"round_to": 0}, "structured.round_to"),
        ({"max_ratio": 1.0}, "structured.max_ratio"),
        ({"steps": 0}, "structured.steps"),
        ({"epochs": -1.0}, "structured.epochs"),
        ({"final_epochs": 1e-9}, "structured.final_epochs"),
    ],
)
def test_impossible_settings_are_refused_by_name(settings: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_dict({"structured": settings})
    assert caught.value.field == field


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise structured.PackageNotFoundError(name)

    monkeypatch.setattr(structured, "version", missing)
    with pytest.raises(SpecError, match="pip install torch-pruning"):
        inspect_groups(SPEC, 10)


def test_prunable_groups_come_in_the_order_of_the_layers() -> None:
    groups = [
        {"group": name, "reason": reason}
        for name, reason in (("head", "classes"), ("other", ""), ("b", ""), ("a", ""))
    ]
    layers = [Layer(f"{name}.weight", "conv", "", (8, 8), 64) for name in ("a", "b", "head")]
    dry_run = restored(InspectGroupsResult, {**DRY_RUN, "groups": groups})
    assert prunable_groups(dry_run, layers) == ["a", "b", "other"]


def test_epochs_and_scoring_take_time() -> None:
    def seconds(spec: Spec) -> float:
        facts = FactsWithGroups(spec)
        estimated = estimate(spec, plan(spec, facts), facts, cores=2)
        assert estimated
        return estimated.remaining

    longer = replace(SPEC, structured=replace(ON, epochs=20))
    assert seconds(QUICKSTART) < seconds(SPEC) < seconds(longer)
    scored = replace(SPEC, structured=replace(ON, channel_importance="hessian", epochs=20))
    assert seconds(longer) < seconds(scored)


def test_the_scoring_of_channels_costs_training_steps() -> None:
    """Hessian scores 512 images at 10.7 steps each, beside one epoch of 1,000 images."""
    scored = replace(SPEC, structured=replace(ON, channel_importance="hessian"))
    stage = structured_stages(scored)[0]
    assert stage_epochs(stage, Sizes(1000, 100)) == pytest.approx(1 + 10.7 * 512 / 1000)
    assert stage_epochs(structured_stages(SPEC)[0], Sizes(1000, 100)) == 1

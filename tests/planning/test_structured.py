"""Channels removed in a plan: chains, keys, what goes together, names, the time it takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.planning import plan as plans
from pruning_core.planning import structured
from pruning_core.planning.estimate import estimate
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Stage, outline
from pruning_core.planning.structured import inspect_groups
from pruning_core.results.models import chain_names, titles
from pruning_core.settings.spec import Spec, from_dict
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.inspections import Facts

ON = StructuredSpec(True, (0.3, 0.5))
SPEC = replace(QUICKSTART, structured=ON)


def looked_at(spec: Spec) -> Facts:
    facts = Facts(spec)
    facts.results[inspect_groups(spec, 10).key] = {"notes": []}
    return facts


def planned(spec: Spec) -> plans.Plan:
    return plans.plan(spec, looked_at(spec))


def own(spec: Spec) -> list[Stage]:
    return [stage for stage in planned(spec).stages if stage.kind == "structured"]


def test_switched_off_it_changes_no_key() -> None:
    off = replace(ON, enabled=False, ratios=(0.7,))
    before = [stage.key for stage in plans.plan(QUICKSTART, Facts(QUICKSTART)).stages]
    spec = replace(QUICKSTART, structured=off)
    assert [stage.key for stage in plans.plan(spec, Facts(spec)).stages] == before
    there = {stage.key for stage in planned(SPEC).stages}
    assert set(before) < there


def test_nothing_is_planned_before_the_dry_run() -> None:
    made = plans.plan(SPEC, Facts(SPEC))
    assert [s.kind for s in made.stages] == ["inspect_dataset", "inspect_model", "inspect_groups"]
    assert not made.complete


def test_it_can_run_alone() -> None:
    alone = replace(SPEC, one_shot=OneShotSpec(amounts=()), iterative=IterativeSpec(enabled=False))
    assert [p.strategy for p in planned(alone).models] == ["baseline", "structured", "structured"]
    with pytest.raises(SpecError, match=r"nothing to run.*removing channels"):
        replace(alone, structured=StructuredSpec())


def test_every_step_hangs_off_the_one_before() -> None:
    spec = replace(SPEC, structured=replace(ON, steps=3, final_epochs=1, epochs=0.5))
    points = [p for p in planned(spec).models if p.strategy == "structured"]
    stages = {stage.key: stage for stage in own(spec)}
    assert [p.iteration for p in points] == [1, 2, 3, 4] * 2
    assert [stages[p.key].parent for p in points[1:4]] == [p.key for p in points[:3]]
    assert stages[points[3].key].settings["cut"] == {}
    assert stages[points[3].key].settings["train"]["lr_schedule"] == "cosine"
    assert [p.target for p in points][2:4] == [0.3, 0.3]
    names = chain_names(outline(planned(spec)))
    assert {names[p] for p in points[:4]} == {"channels 30 %"}
    assert {names[p] for p in points[4:]} == {"channels 50 %"}
    single = titles(outline(planned(SPEC))).values()
    assert ("channels 30 %", "structured") in single


def test_one_curve_covers_cuts_and_tail() -> None:
    spec = replace(
        SPEC,
        lr_schedule_span="run",
        structured=replace(ON, steps=2, final_epochs=1, ratios=(0.5,)),
    )
    assert [(s.settings["lr_from_epoch"], s.settings["lr_epochs"]) for s in own(spec)] == [
        (0, 3),
        (1, 3),
        (2, 3),
    ]
    constant = replace(spec.finetune, lr_schedule="constant")
    with pytest.raises(SpecError, match="does not fall to it"):
        replace(spec, finetune=constant)


KEYS: list[tuple[Callable[[StructuredSpec], StructuredSpec], bool]] = [
    (lambda s: replace(s, channel_importance="lamp"), True),
    (lambda s: replace(s, scope="global"), True),
    (lambda s: replace(s, ratio_of="bytes"), True),
    (lambda s: replace(s, round_to=16), True),
    (lambda s: replace(s, max_ratio=0.8), True),
    (lambda s: replace(s, epochs=2), True),
    (lambda s: replace(s, ratios=(0.3,)), False),
]


@pytest.mark.parametrize(("change", "other"), KEYS)
def test_a_key_follows_what_can_change_the_result(
    change: Callable[[StructuredSpec], StructuredSpec], other: bool
) -> None:
    changed = replace(SPEC, structured=change(ON))
    assert (own(changed)[0].key != own(SPEC)[0].key) == other


def test_images_are_read_only_by_an_importance_that_looks_at_them() -> None:
    def key(importance: str, images: int) -> str:
        pruning = replace(QUICKSTART.pruning, calibration_images=images)
        return own(
            replace(SPEC, pruning=pruning, structured=replace(ON, channel_importance=importance))
        )[0].key

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
def test_what_cannot_be_is_refused_by_name(settings: dict[str, object], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        from_dict({"structured": settings})
    assert caught.value.field == field


def test_a_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise structured.PackageNotFoundError(name)

    monkeypatch.setattr(structured, "version", missing)
    with pytest.raises(SpecError, match="pip install torch-pruning"):
        inspect_groups(SPEC, 10)


def test_its_epochs_cost_time() -> None:
    def seconds(spec: Spec) -> float:
        facts = looked_at(spec)
        found = estimate(spec, plans.plan(spec, facts), facts, cores=2)
        assert found
        return found.left

    longer = replace(SPEC, structured=replace(ON, epochs=20))
    assert seconds(QUICKSTART) < seconds(SPEC) < seconds(longer)
    looking = replace(SPEC, structured=replace(ON, channel_importance="hessian", epochs=20))
    assert seconds(longer) < seconds(looking)

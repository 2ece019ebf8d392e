"""Training-free correction in a plan: its stages, its settings, and its notes."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from pruning_core.cli.main import parser
from pruning_core.cli.options import spec_from
from pruning_core.common.errors import SpecError
from pruning_core.methods.corrections import CORRECTIONS, NO_BATCH_NORM
from pruning_core.methods.layers import Layer
from pruning_core.planning.inspection_types import InspectModelResult
from pruning_core.planning.inspections import notes_for_model
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.stage import Plan, Stage
from pruning_core.planning.stage_types import restored
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec, from_json, to_json
from pruning_core.settings.strategies import OneShotSpec
from tests.helpers.inspections import MODEL, Facts

CORRECTED = replace(QUICKSTART, correction=CorrectionSpec(enabled=True, images=100))


def planned(spec: Spec) -> Plan:
    return plan(spec, Facts(spec))


def corrections(plan: Plan, target: float) -> list[Stage]:
    """The pruned model of a sparsity and its corrections, in order."""
    stages = {stage.key: stage for stage in plan.stages}
    models = [m for m in plan.models if m.strategy == "correction" and m.target == target]
    assert [m.iteration for m in models] == list(range(len(CORRECTIONS)))
    return [stages[m.key] for m in models]


def test_each_sparsity_above_0_has_a_chain_of_corrections() -> None:
    plan = planned(CORRECTED)
    assert {m.target for m in plan.models if m.strategy == "correction"} == {
        target for target in CORRECTED.one_shot.amounts if target > 0
    }
    pruned, *corrected = corrections(plan, 0.5)
    assert pruned.kind == "pruned"
    assert pruned.settings["epochs"] == 0
    assert [stage.kind for stage in corrected] == ["correction"] * 3
    assert [stage.settings["correction"] for stage in corrected] == list(CORRECTIONS)[1:]
    parents = [pruned.key, corrected[0].key, corrected[1].key]
    assert [stage.parent for stage in corrected] == parents
    assert {stage.settings["images"] for stage in corrected} == {100}


def test_the_pruned_model_is_one_shot_without_epochs_for_all_recovery_methods() -> None:
    untrained = replace(CORRECTED, one_shot=replace(CORRECTED.one_shot, epochs=0))
    keys = {
        m.strategy: m.key for m in planned(untrained).models if m.target == 0.5 and m.iteration == 0
    }
    pruned = corrections(planned(CORRECTED), 0.5)[0]
    assert keys["correction"] == keys["one_shot"] == pruned.key
    rewound = replace(CORRECTED, recovery=replace(CORRECTED.recovery, method="weight_rewinding"))
    recovery = corrections(planned(rewound), 0.5)[0].settings["recovery"]
    assert recovery == {"method": "fine_tuning"}


def test_correction_adds_stages_and_changes_no_other_key() -> None:
    without = planned(QUICKSTART)
    assert not [stage for stage in without.stages if stage.kind == "correction"]
    corrected = planned(CORRECTED)
    assert [m for m in corrected.models if m.strategy != "correction"] == list(without.models)
    more = planned(replace(CORRECTED, correction=CorrectionSpec(True, 200)))
    assert corrections(more, 0.5)[0].key == corrections(corrected, 0.5)[0].key
    assert corrections(more, 0.5)[1].key != corrections(corrected, 0.5)[1].key


@pytest.mark.parametrize("amounts", [(), (0.0,)])
def test_correction_without_a_pruned_model_is_refused(amounts: tuple[float, ...]) -> None:
    with pytest.raises(SpecError, match="needs a one-shot sparsity above 0") as caught:
        replace(CORRECTED, one_shot=OneShotSpec(amounts=amounts))
    assert caught.value.field == "correction.enabled"
    sensitivity_only(replace(CORRECTED, sensitivity=SensitivitySpec(enabled=True)))


@pytest.mark.parametrize("images", [15, 100_001])
def test_a_number_of_images_out_of_range_is_refused(images: int) -> None:
    with pytest.raises(
        SpecError, match=r"correction\.images.*must be at least 16 and at most 100000"
    ):
        CorrectionSpec(images=images)


def test_it_has_an_option_and_survives_json() -> None:
    given = parser().parse_args(["compare", "--correction", "--correction-images", "64"])
    spec = spec_from(given)
    assert spec.correction == CorrectionSpec(True, 64)
    assert spec.label == ""
    assert from_json(to_json(spec)) == spec
    assert not spec_from(parser().parse_args(["compare"])).correction.enabled


def test_notes_name_the_layers_that_are_not_corrected() -> None:
    layers = [
        Layer("conv.weight", "conv", "", (512, 512, 3, 3), 512 * 512 * 9),
        Layer("wide.weight", "linear", "", (10, 4609), 46090),
        Layer("attention.weight", "attention", "", (64, 64), 4096),
    ]
    spec = replace(QUICKSTART, correction=CorrectionSpec(enabled=True))
    notes = notes_for_model(spec, facts(layers, bn_recalibration=NO_BATCH_NORM))
    assert notes == [
        "Bias correction and weight reconstruction do not change attention layers: "
        "attention.weight.",
        "Weight reconstruction does not change layers with more than 4,608 inputs: wide.weight.",
        NO_BATCH_NORM,
    ]
    assert notes_for_model(QUICKSTART, facts(layers, bn_recalibration=NO_BATCH_NORM)) == []
    assert notes_for_model(spec, facts(layers[:1])) == []


def facts(layers: list[Layer], **unsupported: str) -> InspectModelResult:
    inspected = restored(InspectModelResult, MODEL)
    return replace(inspected, layers=[asdict(x) for x in layers], unsupported=unsupported)

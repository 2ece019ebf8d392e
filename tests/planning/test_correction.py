"""The ladder without training: its stages, its settings, and where its points stand."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from pruning_core.cli.main import parser
from pruning_core.cli.options import spec_from
from pruning_core.common.errors import SpecError
from pruning_core.methods.corrections import CORRECTIONS, RUNG_TITLES, correction_at
from pruning_core.methods.layers import Layer
from pruning_core.planning import plan as plans
from pruning_core.planning.inspections import told_of_cuts
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.stage import Plan, Stage, outline
from pruning_core.reports.charts.comparison import CHARTS, comparison_chart
from pruning_core.reports.csv_export import to_csv
from pruning_core.reports.html_report import html_report
from pruning_core.results.best_model import best_model
from pruning_core.results.correction import correction_table
from pruning_core.results.findings import findings
from pruning_core.results.models import titles
from pruning_core.results.rows import model_name
from pruning_core.results.tables import results_table, summary_tables
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec, from_json, to_json
from pruning_core.settings.strategies import OneShotSpec
from tests.helpers.frames import comparison, frame, point
from tests.helpers.inspections import Facts

LADDER = replace(QUICKSTART, correction=CorrectionSpec(enabled=True, images=100))
RIGHT = (150, 250, 260, 300)


def planned(spec: Spec) -> Plan:
    return plans.plan(spec, Facts(spec))


def climbed(plan: Plan, amount: float) -> list[Stage]:
    stages = {stage.key: stage for stage in plan.stages}
    own = [p for p in plan.models if p.strategy == "correction" and p.asked == amount]
    assert [p.iteration for p in own] == list(range(len(CORRECTIONS)))
    return [stages[p.key] for p in own]


def test_each_amount_above_0_has_its_rungs_one_on_the_other() -> None:
    plan = planned(LADDER)
    assert {p.asked for p in plan.models if p.strategy == "correction"} == {
        amount for amount in LADDER.one_shot.amounts if amount > 0
    }
    cut, *above = climbed(plan, 0.5)
    assert cut.kind == "pruned"
    assert cut.settings["epochs"] == 0
    assert [stage.kind for stage in above] == ["correction"] * 3
    assert [stage.settings["correction"] for stage in above] == list(CORRECTIONS[1:])
    assert [stage.parent for stage in above] == [cut.key, above[0].key, above[1].key]
    assert {stage.settings["images"] for stage in above} == {100}


def test_its_first_rung_is_one_shot_without_epochs_whatever_the_way_to_recover() -> None:
    bare = replace(LADDER, one_shot=replace(LADDER.one_shot, epochs=0))
    keys = {p.strategy: p.key for p in planned(bare).models if p.asked == 0.5 and p.iteration == 0}
    assert keys["correction"] == keys["one_shot"] == climbed(planned(LADDER), 0.5)[0].key
    rewound = replace(LADDER, recovery=replace(LADDER.recovery, method="weight_rewinding"))
    assert climbed(planned(rewound), 0.5)[0].settings["recovery"] == {"method": "fine_tuning"}


def test_without_it_nothing_is_added_and_with_it_no_other_key_changes() -> None:
    without = planned(QUICKSTART)
    assert not [stage for stage in without.stages if stage.kind == "correction"]
    with_it = planned(LADDER)
    assert [p for p in with_it.models if p.strategy != "correction"] == list(without.models)
    more = planned(replace(LADDER, correction=CorrectionSpec(True, 200)))
    assert climbed(more, 0.5)[0].key == climbed(with_it, 0.5)[0].key
    assert climbed(more, 0.5)[1].key != climbed(with_it, 0.5)[1].key


@pytest.mark.parametrize("amounts", [(), (0.0,)])
def test_a_ladder_without_a_cut_is_refused(amounts: tuple[float, ...]) -> None:
    with pytest.raises(SpecError, match="stands on the one-shot cuts") as caught:
        replace(LADDER, one_shot=OneShotSpec(amounts=amounts))
    assert caught.value.field == "correction.enabled"
    sensitivity_only(replace(LADDER, sensitivity=SensitivitySpec(enabled=True)))


@pytest.mark.parametrize("images", [15, 100_001])
def test_a_sample_of_no_sensible_size_is_refused(images: int) -> None:
    with pytest.raises(SpecError, match=r"correction\.images.*outside 16 to 100,000"):
        CorrectionSpec(images=images)


def test_it_comes_with_an_option_and_survives_its_json() -> None:
    given = parser().parse_args(["compare", "--correction", "--correction-images", "64"])
    spec = spec_from(given)
    assert spec.correction == CorrectionSpec(True, 64)
    assert spec.label == ""
    assert from_json(to_json(spec)) == spec
    assert not spec_from(parser().parse_args(["compare"])).correction.enabled


def test_every_rung_has_its_name() -> None:
    found = titles(outline(planned(LADDER)))
    named = [found[stage.key] for stage in climbed(planned(LADDER), 0.5)]
    assert named == [(f"without training, {t}, 50 %", "correction") for t in RUNG_TITLES.values()]
    assert model_name("correction", 0.5, 3) == f"without training, {correction_at(3)}"


def rungs(asked: float = 0.5, **changes: object) -> list[dict[str, object]]:
    spent = {"epochs": 0, "accuracy_drop": 0.2}
    return [
        point("correction", asked, right, iteration=i, seconds=3.0 * i, **{**spent, **changes})
        for i, right in enumerate(RIGHT)
    ]


def test_its_table_has_a_row_a_rung_in_the_order_of_the_amounts() -> None:
    table = correction_table(frame(comparison(), rungs(0.9), rungs(0.5)))
    assert list(table["Asked"]) == ["50 %"] * 4 + ["90 %"] * 4
    assert list(table["Rung"])[:4] == [f"{i}: {t}" for i, t in enumerate(RUNG_TITLES.values())]
    assert list(table.columns) == ["Asked", "Rung", "Accuracy", "95 % interval", "Time"]
    assert table["Accuracy"][3] == "75 %"
    several = correction_table(frame(comparison(1), rungs(seed=1), rungs(seed=0)))
    assert list(several["Seed"]) == [0] * 4 + [1] * 4
    assert correction_table(frame(comparison())).empty


def test_the_charts_leave_it_out_and_stay_as_they_are() -> None:
    plain, both = frame(comparison()), frame(comparison(), rungs())
    for name in CHARTS:
        for x in ("sparsity_prunable", "epochs"):
            assert (
                comparison_chart(both, name, x).to_json()
                == comparison_chart(plain, name, x).to_json()
            )


def test_tables_and_files_have_it() -> None:
    both = frame(comparison(), rungs())
    assert "without training, least squares" in list(results_table(both)["Strategy"])
    assert "without training, as pruned" in summary_tables(both)
    assert to_csv(both).count("\nladder,") == len(CORRECTIONS)
    page = html_report(both, {}, findings(both))
    assert "<h2>Without training</h2>" in page
    assert "<h2>Without training</h2>" not in html_report(frame(comparison()), {}, [])


def test_a_finding_names_the_epochs_of_both() -> None:
    """The highest rung at the highest amount against the same cut with fine-tuning."""
    found = [
        f.text for f in findings(frame(comparison(), rungs(0.9))) if "without training" in f.text
    ]
    assert len(found) == 1
    assert "without training, least squares (75 %)" in found[0]
    assert "with no epochs of fine-tuning against 2" in found[0]


def test_it_may_be_the_answer_and_says_its_rung() -> None:
    only = [row for row in comparison() if row["strategy"] == "baseline"]
    answer = best_model(frame(only, rungs(validation_drop=0.0)))
    assert answer is not None
    assert answer.name.startswith("without training, ")


def test_what_the_ladder_leaves_alone_is_told_before_it_runs() -> None:
    layers = [
        Layer("conv.weight", "conv", "", (512, 512, 3, 3), 512 * 512 * 9),
        Layer("wide.weight", "linear", "", (10, 4609), 46090),
        Layer("attention.weight", "attention", "", (64, 64), 4096),
    ]
    spec = replace(QUICKSTART, correction=CorrectionSpec(enabled=True))
    said = told_of_cuts(spec, facts(layers, batch_norm="There is none."))
    assert "There is none." in said
    assert any(
        sentence.endswith("leave attention's weights: attention.weight.") for sentence in said
    )
    assert "Least squares leaves more than 4,608 inputs: wide.weight." in said
    assert told_of_cuts(QUICKSTART, facts(layers, batch_norm="There is none.")) == []
    assert told_of_cuts(spec, facts(layers[:1])) == []


def facts(layers: list[Layer], **unfit: str) -> dict[str, Any]:
    return {"layers": [asdict(layer) for layer in layers], "unfit": unfit}

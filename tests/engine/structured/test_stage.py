"""Structured pruning as stages: channels removed, trained, measured against the dense model."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.models.macs import macs
from pruning_core.engine.stage_inputs import baseline_settings, channels_removed, load_model
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import outline
from pruning_core.reports.csv_export import to_csv
from pruning_core.results.models import results_frame, titles
from pruning_core.results.pairs import pair_table
from pruning_core.results.rows import rows_of
from pruning_core.results.tables import results_table, summary_tables
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.store import Store
from tests.helpers.stages import SMALL, run_here

SPEC = replace(
    SMALL,
    one_shot=OneShotSpec(amounts=(0.5,), epochs=0),
    iterative=IterativeSpec(enabled=False),
    structured=StructuredSpec(
        enabled=True,
        ratios=(0.4, 0.6),
        ratio_of="macs",
        channel_importance="taylor",
        scope="global",
        steps=2,
        epochs=0.5,
        final_epochs=0.5,
    ),
    recovery=RecoverySpec(distillation_weight=0.5),
)
ONE_STEP = replace(
    SPEC,
    one_shot=OneShotSpec(amounts=()),
    structured=replace(SPEC.structured, ratios=(0.5,), steps=1, final_epochs=0.0, epochs=0.0),
    recovery=RecoverySpec(),
)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    cache = Cache(tmp_path_factory.mktemp("structured"))
    cache.prepare()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
        for spec in (SPEC, ONE_STEP):
            run_here(cache, spec)
    return cache


def frame(cache: Cache, spec: Spec) -> pd.DataFrame:
    store = Store(cache)
    return results_frame(outline(plan(spec, store)), store, "run", "run-1")


def test_each_ratio_is_a_chain_of_steps_with_final_fine_tuning(ran: Cache) -> None:
    store = Store(ran)
    planned = plan(SPEC, store)
    stages = {stage.key: stage for stage in planned.stages}
    steps = [model for model in planned.models if model.strategy == "structured"]
    assert [(p.iteration, p.final) for p in steps] == [(1, False), (2, False), (3, True)] * 2
    assert [stages[p.key].parent for p in steps[1:3]] == [p.key for p in steps[:2]]
    assert stages[steps[0].key].parent == stages[steps[3].key].parent == planned.models[0].key
    assert steps[0].target == pytest.approx(1 - 0.6**0.5)


def test_the_ratio_is_reached_and_final_fine_tuning_removes_nothing(ran: Cache) -> None:
    actual = frame(ran, SPEC)
    rows, dense = (
        actual[actual.strategy == "structured"],
        actual.macs[actual.strategy == "baseline"],
    )
    removed = 1 - rows.macs / float(dense.iloc[0])
    assert (removed >= rows.sparsity_asked).all()
    assert (removed < rows.sparsity_asked + 0.05).all()
    final = rows[rows.iteration == 3]
    assert list(final.macs) == list(rows[rows.iteration == 2].macs)
    assert list(rows.epochs) == [0.5, 1, 1.5] * 2
    assert actual.macs[actual.strategy == "one_shot"].tolist() == dense.tolist()


def test_removed_weights_count_as_zero(ran: Cache) -> None:
    actual = frame(ran, ONE_STEP)
    row = actual[actual.strategy == "structured"].iloc[0]
    base = actual[actual.strategy == "baseline"].iloc[0]
    assert row.parameters == base.parameters
    assert row.sparsity_model == 1 - row.nonzero / base.parameters
    assert 0.3 < row.sparsity_weights < 0.95
    assert row.compression_ratio == base.dense_bytes / row.sparse_bytes
    assert row.dense_bytes < base.dense_bytes
    assert any(
        "Removed 5" in note and "count as zeros, relative to the dense baseline" in note
        for note in row.notes
    )
    assert any("its outputs are the classes" in note for note in row.notes)


def test_the_model_of_the_stage_is_loaded_with_its_widths(ran: Cache) -> None:
    store = Store(ran)
    planned = plan(ONE_STEP, store).models[-1]
    base = baseline_settings(store, plan(ONE_STEP, store).models[0].key)
    assert channels_removed(store, planned.key)
    model = load_model(store, planned.key, base).eval()
    result = store.read(planned.key)
    assert macs(model, base.data["image_size"]) == result["macs"] < result["dense_macs"]
    assert sum(p.numel() for p in model.parameters()) == result["own_parameters"]
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_tables_findings_and_csv_contain_it(ran: Cache) -> None:
    actual = frame(ran, SPEC)
    assert "structured, pruning ratio 40 %, step 2" in summary_tables(actual)
    assert "structured" in set(results_table(actual)["Strategy"])
    assert "MACs" in results_table(actual)
    csv = pd.read_csv(io.StringIO(to_csv(actual)))
    assert "macs" in csv.columns
    assert csv.macs.notna().all()
    alone = pair_table(rows_of(frame(ran, ONE_STEP)))
    (pair,) = alone[["First model", "Second model"]].to_numpy().tolist()
    assert pair == ["structured at 50 %", "baseline"]


def test_the_names_of_the_stages(ran: Cache) -> None:
    names = {name for name, _ in titles(outline(plan(SPEC, Store(ran)))).values()}
    assert {"structured 40 %, step 2", "structured, final fine-tuning, 40 %"} <= names
    alone = {name for name, _ in titles(outline(plan(ONE_STEP, Store(ran)))).values()}
    assert "structured 50 %" in alone


def test_the_dry_run_has_groups_and_reasons(ran: Cache) -> None:
    store = Store(ran)
    dry = next(s for s in plan(ONE_STEP, store).stages if s.kind == "inspect_groups")
    actual = store.read(dry.key)
    assert {"layer": "classifier.1", "reason": "its outputs are the classes"} in actual[
        "unprunable"
    ]
    remaining = actual["kept"][0]
    assert remaining["amount"] == 0.5
    assert remaining["macs"] <= 0.5 * actual["dense"]["macs"]
    for group in actual["groups"]:
        assert group["layers"]
        assert group["kept"][0] == group["channels"] or not group["reason"]


def test_the_same_run_again_has_the_same_bits(ran: Cache, tmp_path: Path) -> None:
    other = Cache(tmp_path)
    other.prepare()
    run_here(other, ONE_STEP)
    first, second = (
        [(r["correct"], r["loss"]) for r in frame(cache, ONE_STEP).to_dict("records")]
        for cache in (ran, other)
    )
    assert first == second

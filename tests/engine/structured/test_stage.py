"""Channels removed as stages: cut, trained, measured against the dense model, made again."""

from __future__ import annotations

import io
from dataclasses import replace

import pandas as pd
import pytest
import torch

from pruning_core.common.paths import Cache
from pruning_core.engine.analysis import inspect_model
from pruning_core.engine.models.macs import macs
from pruning_core.engine.stage_inputs import channels_removed, load_model
from pruning_core.planning.plan import plan
from pruning_core.planning.stage import outline
from pruning_core.reports.csv_export import to_csv
from pruning_core.results.findings import findings
from pruning_core.results.models import points, titles
from pruning_core.results.tables import readable, summary_tables
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.store import Store
from tests.engine.criteria.test_stages import SMALL
from tests.engine.test_stages import run_here

SPEC = replace(
    SMALL,
    one_shot=OneShotSpec(amounts=(0.5,), epochs=0),
    iterative=IterativeSpec(enabled=False),
    structured=StructuredSpec(
        True, (0.4, 0.6), "macs", "taylor", "global", steps=2, epochs=0.5, final_epochs=0.5
    ),
    recovery=RecoverySpec(distillation_weight=0.5),
)
ALONE = replace(
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
        for spec in (SPEC, ALONE):
            run_here(cache, spec)
    return cache


def frame(cache: Cache, spec: Spec) -> pd.DataFrame:
    store = Store(cache)
    return points(outline(plan(spec, store)), store, "run", "run-1")


def test_each_amount_is_a_chain_with_a_tail(ran: Cache) -> None:
    store = Store(ran)
    made = plan(SPEC, store)
    stages = {stage.key: stage for stage in made.stages}
    own = [point for point in made.models if point.strategy == "structured"]
    assert [(p.iteration, p.final) for p in own] == [(1, False), (2, False), (3, True)] * 2
    assert [stages[p.key].parent for p in own[1:3]] == [p.key for p in own[:2]]
    assert stages[own[0].key].parent == stages[own[3].key].parent == made.models[0].key
    assert own[0].asked == pytest.approx(1 - 0.6**0.5)


def test_what_was_asked_is_reached_and_a_tail_cuts_nothing(ran: Cache) -> None:
    found = frame(ran, SPEC)
    own, dense = found[found.strategy == "structured"], found.macs[found.strategy == "baseline"]
    gone = 1 - own.macs / float(dense.iloc[0])
    assert (gone >= own.sparsity_asked).all()
    assert (gone < own.sparsity_asked + 0.05).all()
    tails = own[own.iteration == 3]
    assert list(tails.macs) == list(own[own.iteration == 2].macs)
    assert list(own.epochs) == [0.5, 1, 1.5] * 2
    assert found.macs[found.strategy == "one_shot"].tolist() == dense.tolist()


def test_removed_weights_count_as_gone(ran: Cache) -> None:
    found = frame(ran, ALONE)
    row = found[found.strategy == "structured"].iloc[0]
    base = found[found.strategy == "baseline"].iloc[0]
    assert row.parameters == base.parameters
    assert row.sparsity_model == 1 - row.nonzero / base.parameters
    assert 0.3 < row.sparsity_weights < 0.95
    assert row.compression_ratio == base.dense_bytes / row.sparse_bytes
    assert row.dense_bytes < base.dense_bytes
    assert any(
        "reached 5" in note and "count against the dense baseline" in note for note in row.notes
    )
    assert any("its outputs are the classes" in note for note in row.notes)


def test_a_fresh_model_of_the_stage_is_the_smaller_one(ran: Cache) -> None:
    store = Store(ran)
    point = plan(ALONE, store).models[-1]
    base = store.settings(plan(ALONE, store).models[0].key)["settings"]
    assert channels_removed(store, point.key)
    model = load_model(store, point.key, base).eval()
    result = store.read(point.key)
    assert macs(model, base["data"]["image_size"]) == result["macs"] < result["dense_macs"]
    assert sum(p.numel() for p in model.parameters()) == result["own_parameters"]
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 10)


def test_tables_findings_and_csv_know_it(ran: Cache) -> None:
    found = frame(ran, SPEC)
    assert "channels removed, asked 40 %, step 2" in summary_tables(found)
    assert "channels removed" in set(readable(found)["Strategy"])
    assert "MACs" in readable(found)
    csv = pd.read_csv(io.StringIO(to_csv(found)))
    assert csv.columns[-2] == "macs"
    assert csv.macs.notna().all()
    alone = [finding.text for finding in findings(frame(ran, ALONE))]
    assert any(
        "channels removed at 50 % asked" in text and "the baseline" in text for text in alone
    )


def test_the_names_of_the_stages(ran: Cache) -> None:
    names = {name for name, _ in titles(outline(plan(SPEC, Store(ran)))).values()}
    assert {"channels 40 %, step 2", "channels, tail, 40 %"} <= names
    alone = {name for name, _ in titles(outline(plan(ALONE, Store(ran)))).values()}
    assert "channels 50 %" in alone


def test_the_dry_run_lists_groups_and_reasons(ran: Cache) -> None:
    store = Store(ran)
    dry = next(s for s in plan(ALONE, store).stages if s.kind == "inspect_groups")
    found = store.read(dry.key)
    assert {"layer": "classifier.1", "reason": "its outputs are the classes"} in found["uncut"]
    left = found["left"][0]
    assert left["amount"] == 0.5
    assert left["macs"] <= 0.5 * found["dense"]["macs"]
    for group in found["groups"]:
        assert group["layers"]
        assert group["left"][0] == group["channels"] or not group["reason"]


def test_the_same_cut_again_has_the_same_bits(ran: Cache, tmp_path: pytest.TempPathFactory) -> None:
    other = Cache(tmp_path)  # type: ignore[arg-type]
    other.prepare()
    run_here(other, ALONE)
    first, second = (
        [(r["correct"], r["loss"]) for r in frame(cache, ALONE).to_dict("records")]
        for cache in (ran, other)
    )
    assert first == second

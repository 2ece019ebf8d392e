"""The keys of all kinds of stage, and the ids of two jobs, as users have them in their caches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace

import pytest

from pruning_core.methods import runtimes
from pruning_core.planning.exports import (
    export_stage,
    mask_overlap_stage,
    predict_test_image,
    prediction_changes,
)
from pruning_core.planning.inspection_types import InspectDatasetResult
from pruning_core.planning.inspections import example_images, list_files
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Stage, outline
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored, stored
from pruning_core.planning.structured import all_groups_spec, inspect_groups
from pruning_core.planning.timing import latency_stages, sparse_speedup_stage
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.bundle import bundle_stage
from pruning_core.storage.job_record import Job, job_id
from tests.helpers.inspections import DATA, FactsWithGroups

# A key that changes makes every cached result of its kind unreachable. Change a line only
# together with the version of the kind, and only where results really changed.
KEYS = {
    "quickstart": {
        "baseline": "e25c357b47836f3e",
        "bundle": "daa684a4a1fd8c1a",
        "dataset": "71956c1723c8eb92",
        "example_images": "918a229e480c7fa5",
        "export": "220969f40fefda62",
        "inspect_dataset": "dd344fc18734b12e",
        "inspect_groups": "47f81c8217685ed3",
        "inspect_model": "ccc6c0999c9961ef",
        "latency": "80828d3ae8b394f3",
        "list_files": "366228d839c1a564",
        "mask_overlap": "b36f4c718e4744b1",
        "predict": "b7cdfb18282607a7",
        "prediction_changes": "1e4825b2dfc3ba6c",
        "pruned": "7e711bd747dd53d2",
        "sensitivity": "96a862c6c1d01aaa",
        "sparse_speedup": "007aec6886346685",
    },
    "everything": {
        "baseline": "1769db6cfa9120b1",
        "bundle": "48d92c3fbdf261c9",
        "correction": "f2b68d6e9ec6ac7d",
        "dataset": "71956c1723c8eb92",
        "example_images": "918a229e480c7fa5",
        "export": "624ebc466364f7ec",
        "inspect_dataset": "dd344fc18734b12e",
        "inspect_groups": "768af66f2c2c5080",
        "inspect_model": "ccc6c0999c9961ef",
        "latency": "81f68af70260c19a",
        "list_files": "366228d839c1a564",
        "mask_overlap": "6b1b76b36c4d4d2b",
        "predict": "563f4fdc251d621e",
        "prediction_changes": "8276d2a11fe90893",
        "pruned": "0fb11cb2f569a8e7",
        "sensitivity": "12d712436d8e342e",
        "sparse_speedup": "8829bc0ac1561ef4",
        "structured": "c66abb6e2277f167",
    },
}
JOBS = {"quickstart": "146f9634b04c", "everything": "e28f55e3e5b1"}

EVERYTHING = replace(
    QUICKSTART,
    pruning=PruningSpec(
        criterion="taylor",
        allocation="global",
        granularity="filter",
        filter_norm="1",
        filter_dim=1,
        exclude=("stem",),
    ),
    iterative=IterativeSpec(schedule="cubic", iterations=3, epochs=1, final_epochs=2),
    recovery=RecoverySpec(distillation_weight=0.5),
    correction=CorrectionSpec(enabled=True),
    sensitivity=SensitivitySpec(enabled=True),
    structured=StructuredSpec(enabled=True, ratios=(0.3,), channel_importance="taylor", steps=2),
    seeds=(3,),
)


@pytest.fixture(autouse=True)
def fixed_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the machine and the versions of packages are part of some keys."""
    monkeypatch.setattr("platform.node", lambda: "pinned")
    monkeypatch.setattr("pruning_core.planning.inspections.installed", lambda package: "9.9")
    monkeypatch.setattr("pruning_core.planning.structured._library", lambda: "9.9")
    monkeypatch.setattr("pruning_core.planning.timing.missing_packages", lambda *_: [])


def last_of_each_kind(spec: Spec) -> dict[str, Stage]:
    """A stage of each of the 18 kinds: the last of a plan, or one that a page asks for."""
    planned = plan(spec, FactsWithGroups(spec))
    stages = {stage.kind: stage for stage in planned.stages}
    if "inspect_groups" not in stages:
        stages["inspect_groups"] = inspect_groups(all_groups_spec(spec), 10)
    key, dense = stages["pruned"].key, stages["baseline"].key
    if "sensitivity" not in stages:
        analyzed = replace(spec, sensitivity=SensitivitySpec(enabled=True))
        stages |= {s.kind: s for s in plan(analyzed, FactsWithGroups(analyzed)).stages}
    # A stored job keeps the text of its spec, so settings that are added later do not change it.
    job = Job("0" * 12, "label", "{}", 0.0, "active", "", "", outline(planned).to_json())
    derived = [
        mask_overlap_stage(dense, key),
        predict_test_image(dense, key, 0),
        prediction_changes(dense, key),
        export_stage(key, "onnx_int8"),
        bundle_stage(job, key, "bitmask_fp32", FactsWithGroups(spec)),
        list_files("/images", 1),
        example_images(spec, restored(InspectDatasetResult, DATA)),
        *latency_stages([dense, key]),
        replace(sparse_speedup_stage(key), threads=1),
    ]
    return stages | {stage.kind: stage for stage in derived}


def pins(stages: Mapping[str, Stage]) -> dict[str, str]:
    return {kind: stage.key[:16] for kind, stage in sorted(stages.items())}


@pytest.mark.parametrize(("name", "spec"), [("quickstart", QUICKSTART), ("everything", EVERYTHING)])
def test_pinned_keys(name: str, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    # Keys of timings name the packages that are installed: here all are.
    monkeypatch.setattr(runtimes, "find_spec", lambda name: True)
    assert pins(last_of_each_kind(spec)) == KEYS[name]


def test_every_kind_is_pinned() -> None:
    assert set(KEYS["everything"]) == set(STAGE_KINDS)


@pytest.mark.parametrize("spec", [QUICKSTART, EVERYTHING])
def test_settings_are_those_of_the_class_of_their_kind(spec: Spec) -> None:
    for stage in last_of_each_kind(spec).values():
        settings = STAGE_KINDS[stage.kind].settings
        assert dataclasses.is_dataclass(settings)
        assert dataclasses.is_dataclass(STAGE_KINDS[stage.kind].result)
        assert stored(restored(settings, stage.settings)) == stage.settings


def test_pinned_jobs() -> None:
    assert {"quickstart": job_id(QUICKSTART), "everything": job_id(EVERYTHING)} == JOBS

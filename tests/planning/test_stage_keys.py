"""The key of every kind of stage, and the ids of two jobs, as they are cached on users' disks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.planning import plan as plans
from pruning_core.planning import structured
from pruning_core.planning.exports import ask_test_image, export_stage
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Stage, outline
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.timing import crossover_stage, latency_stages
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.serialization import canonical_json, to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.storage.bundle import bundle_stage
from pruning_core.storage.jobs import Job, job_id
from tests.helpers.inspections import MODEL, Facts

# A key that changes makes every cached result of its kind unreachable. Change a line only
# together with the kind's version, and only where results really changed.
KEYS = {
    "quickstart": {
        "export": "d19f8c33b46c9160",
        "baseline": "9df12e019b87320b",
        "sparse_speedup": "7254cd043aad024c",
        "data": "92b5af51f3a59a6e",
        "predict": "4fd37848b4a9d7bf",
        "inspect_dataset": "8cb61327c8504b8b",
        "inspect_model": "8273cb66dc2e0411",
        "mask_overlap": "45703df748afa620",
        "inspect_groups": "2bd21c788d7c693d",
        "latency": "3c7c09cfcc55ba81",
        "pruned": "354f56642c5d0392",
        "bundle": "022673d6bfd6219b",
        "sensitivity": "381a4e0718d80750",
    },
    "everything": {
        "export": "ea81cfb059d9f58b",
        "baseline": "cc2452e63d9745d8",
        "sparse_speedup": "04a81211f89032fb",
        "data": "92b5af51f3a59a6e",
        "predict": "c81773cfc989bd3c",
        "inspect_dataset": "8cb61327c8504b8b",
        "inspect_model": "8273cb66dc2e0411",
        "mask_overlap": "ac8a704e91b3df3a",
        "inspect_groups": "c754eae7e18f5830",
        "latency": "b288914223aca147",
        "pruned": "a03201410ecf7ef5",
        "bundle": "eda2e3a80841a17e",
        "correction": "4cbf36b080270928",
        "sensitivity": "f4f92a6804f59d62",
        "structured": "a5ca09e7e22a58df",
    },
}
JOBS = {"quickstart": "bd4e22bb54bd", "everything": "e77d37888b03"}

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
    """The machine's name, cores and versions are part of some keys."""
    monkeypatch.setattr("platform.node", lambda: "pinned")
    monkeypatch.setattr("pruning_core.planning.inspections.installed", lambda package: "9.9")
    monkeypatch.setattr("pruning_core.planning.structured._library", lambda: "9.9")
    monkeypatch.setattr("pruning_core.methods.runtimes.missing_packages", lambda *_: [])


class WithGroups(Facts):
    """The inspections of a spec, those of its dependency groups among them."""

    def __init__(self, spec: Spec) -> None:
        super().__init__(spec, model={**MODEL, "unfit": {}})
        group = {"group": "stem", "reason": ""}
        for inspected in (spec, structured.groups_to_scan(spec)):
            stage = structured.inspection(inspected, 10)
            self.results[stage.key] = {"groups": [group], "rows": [], "notes": []}


def last_of_each_kind(spec: Spec) -> dict[str, Stage]:
    """A stage of each of the 15 kinds, the last that a plan or a page makes."""
    plan = plans.plan(spec, WithGroups(spec))
    stages = {stage.kind: stage for stage in plan.stages}
    stages["inspect_groups"] = structured.inspection(spec, 10)
    key, dense = stages["pruned"].key, stages["baseline"].key
    if "sensitivity" not in stages:
        scanned = replace(spec, sensitivity=SensitivitySpec(enabled=True))
        stages |= {s.kind: s for s in plans.plan(scanned, WithGroups(scanned)).stages}
    job = Job("0" * 12, "label", canonical_json(to_dict(spec)), 0.0, "active", "", "", "")
    job = replace(job, outline=outline(plan).to_json())
    overlap = Stage("mask_overlap", key, {"first": dense, "second": key})
    made = [overlap, ask_test_image(dense, key, 0), export_stage(key, "onnx_int8")]
    made += [bundle_stage(job, key, "bitmask_fp32", Facts(spec)), *latency_stages([dense, key])]
    made += [replace(crossover_stage(key), threads=1)]
    return stages | {stage.kind: stage for stage in made}


def pins(stages: Mapping[str, Stage]) -> dict[str, Any]:
    return {kind: stage.key[:16] for kind, stage in sorted(stages.items())}


@pytest.mark.parametrize(("name", "spec"), [("quickstart", QUICKSTART), ("everything", EVERYTHING)])
def test_pinned_keys(name: str, spec: Spec) -> None:
    assert pins(last_of_each_kind(spec)) == KEYS[name]


def test_every_kind_is_pinned() -> None:
    assert set(KEYS["everything"]) == set(STAGE_KINDS)


def test_pinned_jobs() -> None:
    assert {"quickstart": job_id(QUICKSTART), "everything": job_id(EVERYTHING)} == JOBS

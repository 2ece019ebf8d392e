"""The key of every kind of stage, and the ids of two jobs, as they are cached on users' disks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from pruning_core.planning import plan as plans
from pruning_core.planning import structured
from pruning_core.planning.exports import artifact, ask_test_image
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Stage, outline
from pruning_core.planning.stage_kinds import VERSIONS
from pruning_core.planning.timing import crossover_stage, latency_stages
from pruning_core.settings.serialization import canonical_json
from pruning_core.settings.spec import (
    IterativeSpec,
    LadderSpec,
    PruneSpec,
    RecoverySpec,
    ScanSpec,
    Spec,
    StructuredSpec,
    to_dict,
)
from pruning_core.storage.bundle import passport
from pruning_core.storage.jobs import Job, job_id
from tests.helpers.inspections import MODEL, Facts

# A key that changes makes every cached result of its kind unreachable. Change a line only
# together with the kind's version, and only where results really changed.
KEYS = {
    "quickstart": {
        "artifact": "d19f8c33b46c9160",
        "baseline": "9df12e019b87320b",
        "crossover": "7254cd043aad024c",
        "data": "92b5af51f3a59a6e",
        "inspect_answers": "4fd37848b4a9d7bf",
        "inspect_data": "8cb61327c8504b8b",
        "inspect_model": "8273cb66dc2e0411",
        "inspect_overlap": "45703df748afa620",
        "inspect_structure": "2bd21c788d7c693d",
        "latency": "3c7c09cfcc55ba81",
        "level": "354f56642c5d0392",
        "passport": "022673d6bfd6219b",
        "scan": "381a4e0718d80750",
    },
    "everything": {
        "artifact": "ea81cfb059d9f58b",
        "baseline": "cc2452e63d9745d8",
        "crossover": "04a81211f89032fb",
        "data": "92b5af51f3a59a6e",
        "inspect_answers": "c81773cfc989bd3c",
        "inspect_data": "8cb61327c8504b8b",
        "inspect_model": "8273cb66dc2e0411",
        "inspect_overlap": "ac8a704e91b3df3a",
        "inspect_structure": "c754eae7e18f5830",
        "latency": "b288914223aca147",
        "level": "a03201410ecf7ef5",
        "passport": "eda2e3a80841a17e",
        "rung": "4cbf36b080270928",
        "scan": "f4f92a6804f59d62",
        "structured": "a5ca09e7e22a58df",
    },
}
JOBS = {"quickstart": "bd4e22bb54bd", "everything": "e77d37888b03"}

EVERYTHING = replace(
    QUICKSTART,
    prune=PruneSpec(
        criterion="taylor",
        scope="global",
        granularity="filter",
        norm="1",
        dim=1,
        spare=("stem",),
    ),
    iterative=IterativeSpec(schedule="cubic", iterations=3, epochs=1, tail=2),
    recovery=RecoverySpec(distill_weight=0.5),
    ladder=LadderSpec(enabled=True),
    scan=ScanSpec(enabled=True),
    structured=StructuredSpec(enabled=True, amounts=(0.3,), importance="taylor", steps=2),
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
    stages["inspect_structure"] = structured.inspection(spec, 10)
    key, dense = stages["level"].key, stages["baseline"].key
    if "scan" not in stages:
        scanned = replace(spec, scan=ScanSpec(enabled=True))
        stages |= {s.kind: s for s in plans.plan(scanned, WithGroups(scanned)).stages}
    job = Job("0" * 12, "label", canonical_json(to_dict(spec)), 0.0, "active", "", "", "")
    job = replace(job, outline=outline(plan).to_json())
    overlap = Stage("inspect_overlap", key, {"first": dense, "second": key})
    made = [overlap, ask_test_image(dense, key, 0), artifact(key, "onnx_int8")]
    made += [passport(job, key, "bitmask_fp32", Facts(spec)), *latency_stages([dense, key])]
    made += [replace(crossover_stage(key), threads=1)]
    return stages | {stage.kind: stage for stage in made}


def pins(stages: Mapping[str, Stage]) -> dict[str, Any]:
    return {kind: stage.key[:16] for kind, stage in sorted(stages.items())}


@pytest.mark.parametrize(("name", "spec"), [("quickstart", QUICKSTART), ("everything", EVERYTHING)])
def test_pinned_keys(name: str, spec: Spec) -> None:
    assert pins(last_of_each_kind(spec)) == KEYS[name]


def test_every_kind_is_pinned() -> None:
    assert set(KEYS["everything"]) == set(VERSIONS)


def test_pinned_jobs() -> None:
    assert {"quickstart": job_id(QUICKSTART), "everything": job_id(EVERYTHING)} == JOBS

"""The list of jobs: its filters agree with the states and the texts of the jobs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.common.machine import usable_cores
from pruning_core.planning.presets import QUICKSTART
from pruning_core.storage.cluster_record import (
    ClusterRecord,
    NodeRow,
    training_cores,
    training_place,
)
from pruning_core.storage.connections import CLUSTER, Connections
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.job_list import STATES, JobFilter, JobList
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from tests.helpers.queues import SMALL, submit


@pytest.fixture
def states(queue: Queue) -> dict[str, str]:
    """A job in each state, by the state."""
    jobs = {}
    for seed, state in enumerate(STATES):
        spec = replace(SMALL, seeds=(seed,), data=replace(SMALL.data, split_seed=seed))
        if state in ("planning", "refused", "cancelled"):
            job = queue.submit(spec, state)
        else:
            job, _ = submit(queue, spec)
        jobs[state] = job
        if state == "refused":
            queue.refuse(job, "seeds", "no")
        elif state == "cancelled":
            queue.cancel(job)
    ended = {state: queue.stages_of(jobs[state]) for state in ("running", "failed", "done")}
    with queue._write() as db:
        for state, rows in ended.items():
            # The last stage is of no other job.
            values = [(state, row.key) for row in (rows if state == "done" else rows[-1:])]
            db.executemany("UPDATE stages SET status = ? WHERE key = ?", values)
    return jobs


QUOTE = 'a "quote\\"'


def ids(queue: Queue, **chosen: object) -> list[str]:
    runs, _ = JobList(queue.path).page(20, 1, JobFilter(**chosen))  # type: ignore[arg-type]
    return [run.job.id for run in runs]


def test_each_state_selects_the_jobs_in_it(queue: Queue, states: dict[str, str]) -> None:
    for state, job in states.items():
        assert job_progress(queue, job).state == state
        assert ids(queue, state=state) == [job]


def test_a_job_with_a_failed_and_a_running_stage_runs(queue: Queue) -> None:
    job, _ = submit(queue)
    keys = [row.key for row in queue.stages_of(job)]
    with queue._write() as db:
        values = [("failed", keys[0]), ("running", keys[1])]
        db.executemany("UPDATE stages SET status = ? WHERE key = ?", values)
    assert ids(queue, state="running") == [job]
    assert ids(queue, state="failed") == []


def test_words_are_searched_in_all_texts_without_case(queue: Queue) -> None:
    job, _ = submit(queue)
    queue.edit([job], Edit(name="Größe 100 %_a", notes="Straße", add_tags=("Ärger", QUOTE)))
    other = queue.submit(QUICKSTART, "other")
    for words in ("GRÖSSE", "strasse größe", "ärger", '"quote\\"', "%_A", "digits", job[:4]):
        assert job in ids(queue, search=words), words
    for words in ("ärger other", "%%", "_b", job[1:6]):
        assert ids(queue, search=words) == [], words
    assert ids(queue, search="  ") == [other, job]
    assert ids(queue, tag=QUOTE) == [job]
    assert ids(queue, tag="a") == []


def test_a_run_knows_the_settings_of_the_one_submitted_before(queue: Queue) -> None:
    first, _ = submit(queue)
    second = queue.submit(replace(SMALL, seeds=(1,)), "second")
    third = queue.submit(replace(SMALL, seeds=(2,)), "third")
    queue.delete(second)
    runs = {run.job.id: run for run in JobList(queue.path).page(20)[0]}
    assert runs[third].spec_before == runs[first].job.spec
    assert runs[first].spec_before == ""


def test_the_names_to_filter_by_are_those_of_the_shown_jobs(queue: Queue) -> None:
    first, _ = submit(queue)
    queue.edit([first], Edit(add_tags=("kept",)))
    deleted = queue.submit(replace(SMALL, seeds=(1,)), "deleted")
    queue.edit([deleted], Edit(add_tags=("deleted",)))
    queue.delete(deleted)
    listing = JobList(queue.path)
    assert listing.names()["tag"] == ["kept"]
    assert listing.names("deleted")["tag"] == ["deleted"]


def test_the_remaining_time_counts_the_cores_of_the_cluster(queue: Queue) -> None:
    """Those of the nodes that are ready; this machine's without a cluster or a ready node."""
    job, _ = submit(queue)

    def cores() -> set[int]:
        (run,), _ = JobList(queue.path).page(20)
        return {run.cores, job_progress(queue, job).cores, training_cores(queue.path)}

    record, connections = ClusterRecord(queue.path), Connections(queue.path)
    record.write([NodeRow("a", "h", 64, ready=True), NodeRow("b", "h", 16, refusal="Other torch.")])
    assert cores() == {usable_cores()}
    assert training_place(queue.path) == "this machine"
    connections.connect(CLUSTER, "local")
    assert cores() == {64}
    assert training_place(queue.path) == "the cluster"
    record.write([NodeRow("a", "h", 64, ready=True), NodeRow("c", "i", 36, ready=True)])
    assert cores() == {100}
    record.write([])
    assert cores() == {usable_cores()}
    assert training_place(queue.path) == "this machine (no node is ready)"

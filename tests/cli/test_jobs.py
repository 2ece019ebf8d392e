"""`jobs`, `show` and `cancel` on jobs whose states are written into the queue by the test."""

from __future__ import annotations

import json
import re

import pytest

from pruning_core.cli.output import failure_message
from pruning_core.cli.selection import find_job, find_model, listed_models
from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.storage.jobs import Queue
from pruning_core.worker import start
from tests.helpers.inspections import Facts
from tests.helpers.refusals import ended, one_line

ERROR = SpecError(
    "pruning.allocation",
    "{share} with {other} needs {choice}; give {braces}.",
    share=Share(0.5),
    other=Ref("pruning.granularity"),
    choice=Choice("pruning.allocation", "uniform"),
    braces="{less}",
)
SENTENCE = "--allocation: 0.5 with --granularity needs uniform; give {less}."


@pytest.fixture(autouse=True)
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "start_worker", lambda cache: None)


@pytest.fixture
def job(queue: Queue) -> str:
    """A planned job whose stages all wait."""
    job_id = queue.submit(QUICKSTART, "Quick start")
    queue.expand(job_id, plan(QUICKSTART, Facts(QUICKSTART)), [])
    return job_id


def fail_next(queue: Queue, error: str, field: str = "") -> str:
    """Fail the next stage. Returns its key."""
    row = queue.claim("token", 8)
    assert row is not None
    queue.fail(row.key, "token", error, field)
    return row.key


def no_json(text: str) -> None:
    assert "template" not in text
    assert '{"' not in text


def test_a_refused_job_is_shown_with_a_sentence(
    cache: Cache, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    job = queue.submit(QUICKSTART, "Quick start")
    queue.refuse(job, ERROR.field, ERROR.to_json())
    code, out, error = ended(capfd, "show", job, "--cache-dir", str(cache.root))
    assert (code, out) == (2, "Quick start: refused\n")
    assert one_line(error) == SENTENCE


def test_a_stage_that_refuses_its_settings_is_shown_with_a_sentence(
    cache: Cache, queue: Queue, job: str, capfd: pytest.CaptureFixture[str]
) -> None:
    key = fail_next(queue, ERROR.to_json(), ERROR.field)
    running = queue.claim("another", 8)
    assert running is not None
    code, out, error = ended(capfd, "show", job, "--cache-dir", str(cache.root))
    assert (code, error) == (0, ""), "a stage still runs"
    assert re.search(rf"^  {key[:12]}  \w+ +failed +{re.escape(SENTENCE)}$", out, re.MULTILINE)
    no_json(out)
    queue.finish(running.key, "another")
    code, out, error = ended(capfd, "show", job, "--cache-dir", str(cache.root))
    assert (code, one_line(error)) == (2, SENTENCE)
    no_json(out)


def test_compare_reports_a_refused_job_in_a_sentence(
    cache: Cache, queue: Queue, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the worker refuses it: while it plans the job."""

    def refuse(cache: Cache) -> None:
        for job in queue.planning():
            queue.refuse(job.id, ERROR.field, ERROR.to_json())

    monkeypatch.setattr(start, "start_worker", refuse)
    options = ["--cache-dir", str(cache.root), "--out", str(cache.root / "out")]
    code, out, error = ended(capfd, "compare", *options)
    assert (code, out) == (2, "")
    assert one_line(error) == SENTENCE


def test_a_stage_with_a_traceback_is_shown_with_its_last_line(
    cache: Cache, queue: Queue, job: str, capfd: pytest.CaptureFixture[str]
) -> None:
    key = fail_next(queue, "Traceback (most recent call last):\n  ...\nKeyError: 'flip'\n")
    _, out, _ = ended(capfd, "show", job, "--cache-dir", str(cache.root))
    assert re.search(rf"^  {key[:12]}  \w+ +failed +KeyError: 'flip'$", out, re.MULTILINE)
    while row := queue.claim("token", 8):
        queue.fail(row.key, "token", "Another reason.")
    code, _, error = ended(capfd, "show", job, "--cache-dir", str(cache.root))
    assert code == 1
    assert "Traceback (most recent call last):\n" in error
    assert f"Job {job} failed. Log: {cache.log(key)}" in error


@pytest.mark.parametrize(
    ("field", "stored", "message"),
    [
        (ERROR.field, ERROR.to_json(), SENTENCE),
        ("machine", SpecError("machine", "this is another one.").to_json(), "machine: this is a"),
        ("model.name", "A sentence that is no JSON.", "--model: A sentence that is no JSON."),
        ("", "Traceback:\nValueError: wrong", "ValueError: wrong"),
        ("", "", "No reason was recorded."),
    ],
)
def test_every_stored_failure_is_a_line(field: str, stored: str, message: str) -> None:
    line = failure_message(field, stored)
    assert line.startswith(message)
    assert "\n" not in line
    no_json(line)


def test_show_lists_the_models_by_the_numbers_that_index_takes(
    cache: Cache, queue: Queue, job: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = ended(capfd, "show", job, "--cache-dir", str(cache.root))
    listed = re.findall(r"^  +(\d+)  (\D.*)$", out, re.MULTILINE)
    names = listed_models(find_job(queue, job))
    assert [(int(number), name) for number, name in listed] == list(enumerate(names))
    assert names[0] == "baseline"
    with pytest.raises(
        SpecError, match=r"--index: baseline is not finished\. The models of the job"
    ):
        find_model(queue, find_job(queue, job), 0)


def test_a_job_without_a_plan_has_no_models(
    cache: Cache, queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    job = queue.submit(QUICKSTART, "Quick start")
    code, out, _ = ended(capfd, "show", job, "--cache-dir", str(cache.root))
    assert (code, out) == (0, "Quick start: planning\n")
    code, _, error = ended(capfd, "export", job, "--cache-dir", str(cache.root))
    assert code == 2
    assert one_line(error) == "--index: there is no model -1. The job has no models yet."


def test_show_spec_prints_the_settings_as_json(
    cache: Cache, job: str, capfd: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = ended(capfd, "show", job, "--show-spec", "--cache-dir", str(cache.root))
    assert json.loads(out[out.index("{") :])["iterative"]["target"] == QUICKSTART.iterative.target


def test_a_job_is_cancelled_once(
    cache: Cache, queue: Queue, job: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ended(capfd, "cancel", job[:6], "--cache-dir", str(cache.root))
    assert (code, out) == (0, f"Job {job} is cancelled; its finished stages are kept.\n")
    code, out, _ = ended(capfd, "cancel", job[:6], "--cache-dir", str(cache.root))
    assert (code, out) == (0, f"Job {job} has ended already: cancelled.\n")

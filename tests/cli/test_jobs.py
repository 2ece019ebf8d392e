"""`jobs`, `show` and `cancel` on jobs whose states are written into the queue by the test."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from pruning_core.cli.output import failure_message
from pruning_core.cli.selection import find_job, find_model, listed_models
from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.results.run_columns import COLUMNS
from pruning_core.settings.spec import from_json
from pruning_core.storage.job_edits import Edit
from pruning_core.storage.jobs import Queue
from pruning_core.worker import start
from tests.helpers.inspections import Facts
from tests.helpers.pages import finished
from tests.helpers.refusals import ended, one_line

Jobs = Callable[..., tuple[object, str, str]]
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
    listed = re.findall(r"^  +(\d{1,3})  (\D.*)$", out, re.MULTILINE)  # no key
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


@pytest.mark.parametrize("command", [("cancel",), ("jobs", "cancel")])
def test_jobs_are_cancelled_once(
    cache: Cache,
    queue: Queue,
    job: str,
    capfd: pytest.CaptureFixture[str],
    command: tuple[str, ...],
) -> None:
    other = queue.submit(replace(QUICKSTART, seeds=(7,)), "other")
    words = (*command, job[:6], job, other, "--cache-dir", str(cache.root))
    code, out, _ = ended(capfd, *words)
    cancelled = [f"Job {name} is cancelled; its finished stages are kept." for name in (job, other)]
    assert (code, out.splitlines()) == (0, cancelled)
    code, out, _ = ended(capfd, *words)
    repeated = [f"Job {name} has ended already: cancelled." for name in (job, other)]
    assert (code, out.splitlines()) == (0, repeated)


@pytest.mark.parametrize("action", ["retry", "resume"])
def test_jobs_that_stopped_run_again(
    queue: Queue, job: str, jobs: Jobs, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Failed, refused and cancelled ones, each planned by the worker; the others are named."""
    failed = fail_next(queue, "Traceback:\nOSError: the disk is full")
    cancelled, refused, waiting = (
        queue.submit(replace(QUICKSTART, seeds=(seed,)), f"seed {seed}") for seed in (7, 8, 9)
    )
    queue.cancel(cancelled)
    queue.refuse(refused, ERROR.field, ERROR.to_json())

    def plan_all(cache: Cache) -> None:
        for planned in queue.planning():
            spec = from_json(planned.spec)
            queue.expand(planned.id, plan(spec, Facts(spec)), [])

    monkeypatch.setattr(start, "start_worker", plan_all)
    code, out, error = jobs(action, job[:6], job, cancelled, refused, waiting)
    assert (code, error) == (0, "")
    assert out.splitlines() == [
        f"Job {waiting} is not run again: it is planning.",
        *(
            f"Job {name} is queued. To see it: python -m pruning_core show {name}"
            for name in (job, cancelled, refused)
        ),
    ]
    stage = queue.stage(failed)
    assert stage is not None
    assert (stage.status, stage.error) == ("queued", "")
    assert {run.id: run.status for run in queue.jobs()}[refused] == "active"


def test_a_retry_that_cannot_run_says_why(
    cache: Cache, queue: Queue, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker refuses it again, somebody deletes it, or Ctrl+C cancels it."""
    job, other, _ = three(queue)
    done = finished(cache, replace(QUICKSTART, seeds=(9,)), "finished")
    assert jobs("retry", done) == (0, f"Job {done} is not run again: it is done.\n", "")
    assert queue.planning() == []

    def worker(action: Callable[[str], object]) -> None:
        def act(cache: Cache) -> None:
            for planned in queue.planning():
                action(planned.id)

        monkeypatch.setattr(start, "start_worker", act)

    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    worker(lambda name: queue.refuse(name, ERROR.field, ERROR.to_json()))
    code, out, error = jobs("retry", job)
    assert (code, out, one_line(error)) == (2, "", SENTENCE)
    worker(interrupt)
    code, out, error = jobs("retry", job, other)
    assert (code, out) == (130, "")
    assert error == "Interrupted: the jobs are cancelled, finished results are kept.\n"
    assert queue.planning() == []
    worker(queue.delete)
    code, out, error = jobs("retry", job)
    assert (code, out) == (2, "")
    assert one_line(error) == f"JOB: {job} was deleted; `jobs undelete {job}` restores it."


@pytest.fixture
def jobs(cache: Cache, capfd: pytest.CaptureFixture[str]) -> Jobs:
    """Runs `jobs` with arguments. Returns the exit code, the output and the errors."""
    return lambda *words: ended(capfd, "jobs", "--cache-dir", str(cache.root), *words)


def names(out: str) -> list[str]:
    """The names in a list of jobs that has one line for each job."""
    return [line.split("%  ")[1] for line in out.splitlines()]


def three(queue: Queue) -> list[str]:
    """Three cancelled jobs."""
    ids: list[str] = []
    for name in ("Beta", "alpha", "Gamma"):
        ids.append(queue.submit(replace(QUICKSTART, seeds=(len(ids),)), name))
        queue.cancel(ids[-1])
    return ids


def test_the_list_is_filtered_sorted_and_limited(queue: Queue, jobs: Jobs) -> None:
    beta, alpha, gamma = three(queue)
    assert names(jobs()[1]) == ["Gamma", "alpha", "Beta"]
    assert names(jobs("--sort", "name")[1]) == ["alpha", "Beta", "Gamma"]
    code, out, error = jobs("--sort", "started", "--reverse", "--limit", "1")
    assert (code, names(out)) == (0, ["Beta"])
    assert "More jobs match" in one_line(error)
    assert names(jobs("--search", "ALPH")[1]) == ["alpha"]
    assert names(jobs("--search", gamma[:5])[1]) == ["Gamma"]
    assert jobs("--state", "done")[1:] == ("", "No job matches.\n")
    assert len(names(jobs("--state", "cancelled", "--dataset", "digits")[1])) == 3
    jobs("edit", alpha[:6], gamma, "--add-tag", "thesis", "--add-tag", "old", "--star")
    assert names(jobs("--tag", "thesis")[1]) == ["* Gamma [old] [thesis]", "* alpha [old] [thesis]"]
    jobs("edit", gamma, "--remove-tag", "old", "--no-star", "--notes", "a note")
    code, out, error = jobs("edit", gamma, "--remove-tag", "old")
    assert (code, names(out)) == (0, ["Gamma [thesis] (a note)"])
    assert error == "The run has no tag 'old', so none was removed.\n"
    assert names(jobs("--starred")[1]) == ["* alpha [old] [thesis]"]
    assert names(jobs("--search", "note")[1]) == ["Gamma [thesis] (a note)"]
    jobs("edit", beta, "--archive")
    assert names(jobs("--archived")[1]) == ["Beta"]
    assert len(names(jobs()[1])) == 2
    jobs("edit", beta, "--no-archive", "--name", " A  new name ")
    assert names(jobs("--search", "new")[1]) == ["A new name"]
    jobs("edit", beta, "--name", "")
    assert names(jobs("--reverse")[1])[0] == "Quick start", "the name in the settings"


def test_the_list_has_the_columns_and_the_orders_of_the_page(
    cache: Cache, queue: Queue, jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    cancelled = queue.submit(replace(QUICKSTART, seeds=(9,)), "[bold]last[/bold] \N{SNOWMAN}")
    queue.cancel(cancelled)
    ids = [finished(cache, replace(QUICKSTART, seeds=(i,)), f"run {i}") for i in range(2)]
    queue.edit(ids[:1], Edit(archived=True, notes="first\nsecond"))
    code, out, error = jobs("--columns", "all", "--sort", "accuracy", "--all", "--max-drop", "50")
    rows = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in out.splitlines()]
    table = [row for row in rows if row]
    assert (code, error) == (0, "")
    assert table[0] == ["Job", *(column.title for column in COLUMNS.values())]
    assert [row[0] for row in table[1:]] == [ids[1], ids[0], cancelled], "those without come last"
    shown = dict(zip(COLUMNS, table[2][1:], strict=True))
    assert (shown["best"], shown["accuracy"]) == ("90 %, 250 bytes", "63 % at 90 %")
    assert (shown["name"], shown["notes"], shown["dataset"]) == ("run 0", "first second", "digits")
    assert table[3][1 + list(COLUMNS).index("name")] == "[bold]last[/bold] \N{SNOWMAN}"
    assert ids[0] not in jobs("--columns", "took,name")[1]
    code, _, error = jobs("--columns", "name,size")
    assert (code, error[:31]) == (2, "--columns: 'size' is not a colu")


def test_a_deleted_job_is_restored_or_removed(queue: Queue, jobs: Jobs) -> None:
    beta, alpha, gamma = three(queue)
    assert f"jobs undelete {beta} {alpha}" in jobs("delete", beta, alpha)[1]
    assert names(jobs()[1]) == ["Gamma"]
    assert names(jobs("--deleted")[1]) == ["alpha", "Beta"]
    code, _, error = jobs("edit", beta, "--star")
    assert (code, one_line(error)[:4]) == (2, "JOB:")
    assert f"`jobs undelete {beta}` restores it" in error
    assert jobs("undelete", beta[:6])[1].splitlines() == [
        f"Job {beta} is restored: Beta",
        f"It stays cancelled. To resume: python -m pruning_core jobs resume {beta}",
    ]
    assert jobs("purge")[1].startswith("Removed 1 deleted job for good.")
    assert "matches no deleted job" in jobs("undelete", alpha)[2]
    assert {job.id for job in queue.jobs()} == {beta, gamma}


def test_a_list_fits_80_columns_and_keeps_whole_names(queue: Queue, jobs: Jobs) -> None:
    name = "A long name of a run that a person has typed, with many words, and more of them"
    job = queue.submit(QUICKSTART, name)
    queue.edit([job], Edit(notes="first line\nsecond " * 20, add_tags=("one tag", "another tag")))
    out = jobs()[1]
    assert max(map(len, out.splitlines())) <= 80
    assert name in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("edit", "JOB"), "JOB: no change is given"),
        (("edit", "JOB", "OTHER", "--name", "x"), "--name: it is for one job, not for 2."),
        (("edit", "JOB", "--add-tag", "a,b"), "--add-tag: 'a,b' is no tag"),
        (("edit", "JOB", "--add-tag", " "), "--add-tag: ' ' is no tag"),
        (("edit", "JOB", "--name", "n" * 300), "--name: this text has 300 characters"),
        (("edit", "zz", "--star"), "JOB: the id 'zz' matches no job"),
        (("delete", "JOB", "zz"), "JOB: the id 'zz' matches no job"),
        (("retry", "JOB", "zz"), "JOB: the id 'zz' matches no job"),
        (("rename", "JOB"), "argument"),
    ],
)
def test_a_wrong_change_is_told_and_changes_nothing(
    queue: Queue, jobs: Jobs, words: tuple[str, ...], sentence: str
) -> None:
    first, other, _ = three(queue)
    before = queue.jobs()
    code, out, error = jobs(*({"JOB": first, "OTHER": other}.get(word, word) for word in words))
    assert (code, out) == (2, "")
    assert sentence in f"argument {one_line(error)}"
    assert queue.jobs() == before

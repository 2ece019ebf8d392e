"""The command line with real worker processes, from an empty cache."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.common.paths import Cache
from pruning_core.engine.export import sparse_file
from pruning_core.engine.models.build import build
from pruning_core.storage.database import pid_exists
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.job_record import job_id
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.storage.worker_record import WorkerRecord
from tests.helpers.refusals import spec_of
from tests.helpers.workers import (
    ROOT,
    TINY_OPTIONS,
    call,
    command,
    end_of,
    planned,
    stop_worker,
    until,
)

COLUMNS = [
    *("strategy", "seed", "iteration", "sparsity_asked", "sparsity_prunable", "sparsity_weights"),
    *("sparsity_model", "accuracy", "accuracy_low", "accuracy_high", "accuracy_drop"),
    *("dense_bytes", "sparse_bytes", "compression_ratio", "parameters", "nonzero"),
    *("epochs", "seconds", "notes", "seeds", "accuracy_mean", "accuracy_sd"),
    *("regrown", "macs", "quantized_from", "processor", "torch"),
    *("validation_accuracy", "validation_images"),
]
SHORT = [*TINY_OPTIONS, "--amounts", "0.3", "--iterations", "1", "--no-equal-budget"]
LONG = [*TINY_OPTIONS, "--amounts", "0.6", "--one-shot-epochs", "5000", "--no-equal-budget"]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cache]:
    """One cache for all tests; its worker, which the first command starts, ends with them."""
    cache = Cache(tmp_path_factory.mktemp("lab") / "cache")
    cache.prepare()
    yield cache
    stop_worker(cache)


def attempts(cache: Cache) -> dict[str, int]:
    return {r["key"]: r["attempts"] for r in Queue(cache.queue)._all("SELECT * FROM stages")}


def detached(cache: Cache, *options: str) -> str:
    """The job of a comparison that runs in the background."""
    done = call(cache, "compare", *options, "--detach")
    assert (done.returncode, done.stderr) == (0, "")
    queued = re.search(r"Job ([0-9a-f]{12}) is queued", done.stdout)
    assert queued, done.stdout
    return queued[1]


def runs_through(cache: Cache, *options: str) -> bool:
    return end_of(Queue(cache.queue), detached(cache, *options)).state == "done"


@pytest.fixture(scope="module")
def out(lab: Cache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a whole comparison, run from an empty cache."""
    folder = tmp_path_factory.mktemp("out") / "new" / "folder"
    done = call(lab, "compare", *TINY_OPTIONS, "--out", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (folder / "printed.txt").write_text(done.stdout)
    return folder


@pytest.fixture(scope="module")
def rows(out: Path) -> list[dict[str, str]]:
    text = (out / "pruning_comparison.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_the_two_tables_are_printed(out: Path) -> None:
    printed = (out / "printed.txt").read_text()
    assert "=== PRUNING STRATEGY COMPARISON SUMMARY ===" in printed
    one_shot, iterative = printed.split("Iterative Pruning Results:")
    assert "One-Shot Pruning Results:\nSparsity (%)    Model Size (MB)" in one_shot
    assert "Iteration    Sparsity (%)    Model Size (MB)" in iterative
    figures = r"\.\d\d +\d\.\d\d +\d+\.\d\d$"
    assert len(re.findall(rf"^ +\d+{figures}", one_shot, re.MULTILINE)) == 2
    iterative, beside = iterative.split("Also measured:")
    assert re.findall(rf"^ +(\d) +\d+{figures}", iterative, re.MULTILINE) == ["0", "1", "2"]
    assert "one-shot, equal budget, 2 epochs" in beside


def test_the_files_are_written(out: Path) -> None:
    written = {path.suffix for path in out.glob("pruning_comparison.*")}
    assert written == {".csv", ".html", ".png"}
    for path in out.glob("pruning_comparison.*"):
        assert f"Wrote {path}\n" in (out / "printed.txt").read_text()
    assert "<html" in (out / "pruning_comparison.html").read_text(encoding="utf-8")


def test_the_csv_has_a_row_for_each_model_and_the_documented_columns(
    rows: list[dict[str, str]],
) -> None:
    assert list(rows[0]) == COLUMNS
    models = [(row["strategy"], row["iteration"], float(row["sparsity_asked"])) for row in rows]
    assert models == [
        ("baseline", "0", 0.0),
        ("one_shot", "0", 0.0),
        ("one_shot", "0", 0.5),
        ("one_shot_equal_budget", "0", 0.8),
        ("iterative", "1", pytest.approx(1 - 0.2**0.5)),
        ("iterative", "2", 0.8),
    ]
    epochs = [int(row["epochs"]) for row in rows]
    assert epochs == [1, 1, 1, 2, 1, 2]


def test_fractions_are_from_0_to_1_and_agree(rows: list[dict[str, str]]) -> None:
    base = float(rows[0]["accuracy"])
    for row in rows:
        low, mean, high = (float(row[f"accuracy{x}"]) for x in ("_low", "", "_high"))
        assert 0 <= low <= mean <= high <= 1
        assert float(row["accuracy_drop"]) == pytest.approx(base - mean)
        ratio = int(row["dense_bytes"]) / int(row["sparse_bytes"])
        assert float(row["compression_ratio"]) == pytest.approx(ratio)
        model = 1 - int(row["nonzero"]) / int(row["parameters"])
        assert float(row["sparsity_model"]) == pytest.approx(model)


def test_sparsities_are_exact_to_the_weight(lab: Cache, rows: list[dict[str, str]]) -> None:
    """`round(amount * n)` weights of every layer, in the CSV and in the published file."""
    store, plan = Store(lab), planned(lab, spec_of(*TINY_OPTIONS))
    inspected = next(stage for stage in plan.stages if stage.kind == "inspect_model")
    sizes = {layer["name"]: layer["size"] for layer in store.read(inspected.key)["layers"]}
    settings = {"name": "mobilenet_v2", "width": 0.35, "stem_stride": 2}
    parameters = dict(build(settings, 10, 32).named_parameters())
    assert {name: parameters[name].numel() for name in sizes} == sizes
    total = sum(sizes.values())
    for row, model in zip(rows, plan.models, strict=True):
        zeros = {name: round(float(row["sparsity_asked"]) * n) for name, n in sizes.items()}
        assert float(row["sparsity_prunable"]) == sum(zeros.values()) / total
        assert row["sparsity_weights"] == row["sparsity_prunable"]
        path = store.file(model.key, "model.sparse")
        assert path.stat().st_size == int(row["sparse_bytes"])
        tensors = sparse_file.load(path)
        assert {name: int((tensors[name] == 0).sum()) for name in sizes} == zeros
        nonzero = sum(int((tensors[name] != 0).sum()) for name in parameters)
        assert nonzero == int(row["nonzero"])
        assert sum(p.numel() for p in parameters.values()) == int(row["parameters"])


def test_the_same_command_again_trains_nothing(
    lab: Cache, out: Path, rows: list[dict[str, str]], tmp_path: Path
) -> None:
    before, jobs = attempts(lab), Queue(lab.queue).jobs()
    done = call(lab, "compare", *TINY_OPTIONS, "--out", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert attempts(lab) == before
    assert len(Queue(lab.queue).jobs()) == len(jobs)
    again, first = (folder / "pruning_comparison.csv" for folder in (tmp_path, out))
    assert again.read_bytes() == first.read_bytes()


NAME = "digits, width 0.35, uniform, 80 %"


def jobs_listed(cache: Cache, *options: str) -> list[str]:
    """The first line of each job in the list; a long name goes on in the next line."""
    lines = call(cache, "jobs", *options).stdout.splitlines()
    return [line for line in lines if not line.startswith(" ")]


def test_detach_runs_in_the_background(lab: Cache, out: Path, tmp_path: Path) -> None:
    options = [*SHORT, "--amounts", "0.31"]
    job = detached(lab, *options, "--out", str(tmp_path / "unused"))
    assert end_of(Queue(lab.queue), job).state == "done"
    assert not (tmp_path / "unused").exists()
    listed = jobs_listed(lab)
    assert len(listed) == len(Queue(lab.queue).jobs())
    assert re.match(rf"{job}  \d{{4}}-\d\d-\d\d \d\d:\d\d  done +100%  {NAME[:27]}", listed[0])
    assert jobs_listed(lab, "--limit", "1") == listed[:1]
    shown = call(lab, "show", job[:5], "--show-spec", "--out", str(tmp_path), "--excel")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith(f"{NAME}: done\n")
    plan = planned(lab, spec_of(*options))
    assert shown.stdout.count("  done") == len(plan.stages)
    assert "Models, by their numbers for --index:\n    0  baseline\n    1  " in shown.stdout
    assert re.findall(r"^  +(\d+)  \D", shown.stdout, re.MULTILINE)[: len(plan.models)] == [
        str(number) for number in range(len(plan.models))
    ]
    assert '"target": 0.8' in shown.stdout
    assert "Iterative Pruning Results:" in shown.stdout
    assert len(pd.read_csv(tmp_path / "pruning_comparison.csv", sep=";", decimal=",")) > 1


def running(lab: Cache, job: str) -> int | None:
    """The process that fine-tunes the job's pruned model for 5,000 epochs."""
    rows = Queue(lab.queue).stages_of(job) if Queue(lab.queue).job(job) else []
    pids = [row.pid for row in rows if row.status == "running" and row.progress.get("fraction")]
    return next(iter(pids), None)


def test_an_interrupt_cancels_the_job(lab: Cache, out: Path, tmp_path: Path) -> None:
    job = job_id(spec_of(*LONG))
    line = command(lab, "compare", *LONG, "--out", str(tmp_path))
    with subprocess.Popen(line, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        pid = until(lambda: running(lab, job), "the training")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert process.returncode == 130
    assert error == "Interrupted: the job is cancelled, finished results are kept.\n"
    assert job_progress(Queue(lab.queue), job).state == "cancelled"
    until(lambda: not pid_exists(pid) or None, "the end of the stage")
    until(lambda: not list(lab.building.iterdir()) or None, "the removal of the unfinished folder")
    assert list(tmp_path.iterdir()) == []


def test_cancel_ends_a_job_and_the_worker_lives_on(lab: Cache, out: Path) -> None:
    job = detached(lab, *LONG)
    pid = until(lambda: running(lab, job), "the training")
    done = call(lab, "cancel", job[:8])
    assert done.returncode == 0
    assert job in done.stdout
    until(lambda: not pid_exists(pid) or None, "the end of the stage")
    assert "cancelled" in call(lab, "show", job).stdout.splitlines()[0]
    assert WorkerRecord(lab.queue).current()


def test_a_failed_run_says_why_and_continues_afterwards(
    lab: Cache, out: Path, tmp_path: Path
) -> None:
    """A folder has the path of the checkpoint of a pruned model."""
    options = [*SHORT, "--amounts", "0.35"]
    models = planned(lab, spec_of(*options)).models
    key = next(model.key for model in models if model.strategy == "one_shot")
    lab.checkpoint(key).mkdir()
    done = call(lab, "compare", *options, "--out", str(tmp_path))
    assert done.returncode == 1
    assert "IsADirectoryError" in done.stderr
    assert str(lab.log(key)) in done.stderr
    lab.checkpoint(key).rmdir()
    assert runs_through(lab, *options)


def test_a_damaged_result_is_found_and_computed_again(lab: Cache, out: Path) -> None:
    assert runs_through(lab, *SHORT)
    models = planned(lab, spec_of(*SHORT)).models
    key = next(model.key for model in models if model.strategy == "one_shot")
    assert call(lab, "cache", "verify").returncode == 0
    path = lab.stage(key) / "model.sparse"
    path.write_bytes(path.read_bytes()[:-1])
    done = call(lab, "cache", "verify")
    assert done.returncode == 1
    assert done.stdout.endswith(" intact, 1 damaged and set aside.\n")
    assert runs_through(lab, *SHORT)
    assert call(lab, "cache", "verify").returncode == 0
    assert path.is_file()


def test_clean_removes_only_what_no_job_uses(lab: Cache, out: Path) -> None:
    """All results of the other jobs are removed, and nothing runs again."""
    assert runs_through(lab, *SHORT)
    queue, store = Queue(lab.queue), Store(lab)
    kept = {stage.key for stage in planned(lab, spec_of(*TINY_OPTIONS)).stages}
    for job in queue.jobs():
        if {row.key for row in queue.stages_of(job.id)} != kept:
            queue.delete(job.id)
    queue.purge()
    (lab.building / f"{'a' * 64}.{'b' * 32}").mkdir()
    extra = set(store.finished()) - kept
    assert extra
    assert f"{len(kept | extra)} stages" in call(lab, "cache", "size").stdout
    done = call(lab, "cache", "clean")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Removed {len(extra)} stages that no job uses: ")
    assert set(store.finished()) == kept
    assert list(lab.building.iterdir()) == []
    assert not lab.damaged.is_dir() or list(lab.damaged.iterdir()) == []
    assert f"{len(kept)} stages" in call(lab, "cache", "size").stdout
    assert not queue.busy()
    before = attempts(lab)
    assert runs_through(lab, *TINY_OPTIONS)
    assert attempts(lab) == before
    assert "0 stages" in call(lab, "cache", "clean").stdout


def test_a_reader_that_goes_away_is_no_error(lab: Cache, out: Path) -> None:
    """As in `jobs | head -1`."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command(lab, "jobs"), cwd=ROOT, stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.stderr == b""


def test_a_second_worker_exits_at_once_and_an_idle_one_after_a_while(
    lab: Cache, out: Path, tmp_path: Path
) -> None:
    second = call(lab, "worker", "--idle-seconds", "600")
    assert second.returncode == 0
    assert "is already the worker" in second.stderr
    idle = call(Cache(tmp_path), "worker", "--idle-seconds", "0.1")
    assert idle.returncode == 0
    assert WorkerRecord(Cache(tmp_path).queue).current() is None

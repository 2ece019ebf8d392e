"""`export`: a finished point's files, copied out with a table; what is wrong in a sentence."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli import export as export_command
from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.results import exported_files
from pruning_core.results.exported_files import (
    available_formats,
    files_frame,
    files_table,
    why_not_offered,
)
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage import bundle
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.refusals import code_of
from tests.helpers.workers import ONE_CUT, finished_run, serve

SPEC = replace(ONE_CUT, one_shot=OneShotSpec((0.5, 0.9), 0))
FILES = ("state_dict", "bitmask_fp32", "bitmask_int8")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return finished_run(tmp_path_factory.mktemp("export"), SPEC)


def export(cache: Cache, out: Path, monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    """The command, the worker in this process."""
    monkeypatch.setattr("pruning_core.cli.progress.Starter.look", lambda self: serve(cache))
    job = Queue(cache.queue).jobs()[0].id
    return main(["export", job, "--cache-dir", str(cache.root), "--out", str(out), *options])


def test_files_and_table_are_written(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ("--formats", ",".join(FILES), "--passport", "bitmask_int8")
    assert export(cache, tmp_path, monkeypatch, *options) == 0
    names = {"model.pth", "model.sparse", "model.int8.sparse", "files.csv", "passport.zip"}
    assert {path.name for path in tmp_path.iterdir()} == names
    table = pd.read_csv(tmp_path / "files.csv").set_index("format")
    assert list(table.index) == list(FILES)
    for name in FILES:
        assert table.loc[name, "bytes"] == (tmp_path / table.loc[name, "file"]).stat().st_size
    assert table.loc["state_dict", "compression_ratio"] == pytest.approx(1, abs=0.05)
    told = capsys.readouterr().out
    assert "Dense .pth" in told
    assert hashlib.sha256((tmp_path / "passport.zip").read_bytes()).hexdigest() in told


def test_images_that_do_not_fit_are_written_beside_the_passport_and_prove_it(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MOST_IMAGE_BYTES", 10)
    options = ("--formats", "bitmask_int8", "--passport", "bitmask_int8")
    assert export(cache, tmp_path, monkeypatch, *options) == 0
    zipfile.ZipFile(tmp_path / "passport.zip").extractall(tmp_path / "packed")
    command = [sys.executable, "verify.py"]
    folder = tmp_path / "packed"
    assert subprocess.run(command, cwd=folder, check=False).returncode == 2
    command += ["--data", "../test_images.npz"]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0


def test_a_point_is_chosen_by_its_number(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    for number in ("0", "1", "-1"):
        options = ("--formats", "bitmask_fp32", "--point", number)
        assert export(cache, tmp_path, monkeypatch, *options) == 0
        sizes.append((tmp_path / "model.sparse").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--point", "7"),
            "there is no point 7. The job's points are: 0 baseline; 1 one-shot 50 %",
        ),
        (("--formats", "zip"), "'zip' is no format; there are state_dict"),
        (("--passport", "lzma"), "invalid choice: 'lzma'"),
    ],
)
def test_what_is_wrong_is_said(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    said: str,
) -> None:
    assert code_of(lambda: export(cache, tmp_path, monkeypatch, *options)) == 2
    assert said in capsys.readouterr().err


def test_a_format_without_its_package_is_left_out_and_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export_command, "find_spec", lambda name: None)
    names, told = available_formats(["onnx", "executorch"])
    assert names == ["onnx"]
    assert "pip install executorch" in told[0]


def test_what_was_damaged_is_made_again(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export(cache, tmp_path, monkeypatch, "--formats", "bitmask_fp32") == 0
    job = Queue(cache.queue).jobs()[0]
    stage = export_stage(Outline.from_json(job.outline).models[-1].key, "bitmask_fp32")
    whole = (tmp_path / "model.sparse").read_bytes()
    (cache.stage(stage.key) / "model.sparse").write_bytes(b"damaged")
    assert not Store(cache).verify(stage.key)
    assert export(cache, tmp_path, monkeypatch, "--formats", "bitmask_fp32") == 0
    assert (tmp_path / "model.sparse").read_bytes() == whole


def test_ratios_are_over_the_dense_baseline_s_file(cache: Cache) -> None:
    """Also of a point whose own dense file is a smaller one: there is one yardstick."""
    store = Store(cache)
    dense, point = Outline.from_json(Queue(cache.queue).jobs()[0].outline).models[:2]
    Queue(cache.queue).add([export_stage(point.key, "bitmask_fp16")])
    serve(cache)
    frame = files_frame(point, dense, store, ["bitmask_fp16"])
    whole = store.read(dense.key)["dense_bytes"]
    assert frame["compression_ratio"].tolist() == [whole / frame["bytes"].iloc[0]]
    assert "times" in files_table(frame)["Smaller"].iloc[0]


@pytest.mark.parametrize(
    ("name", "kept", "offered"),
    [("onnx_int8", 0.86, True), ("onnx_int8", 0.70, False), ("onnx", 0.70, True)],
)
def test_a_file_that_surely_loses_much_is_not_offered(
    name: str, kept: float, offered: bool
) -> None:
    """Of the model's 90 %; an exact file was compared score by score before."""
    row = {"format": name, "accuracy": kept, "accuracy_drop": 0.9 - kept}
    told = why_not_offered({**row, "accuracy_high": kept + 0.02})
    assert (told == "") == offered
    assert offered or "90 % it keeps 70 %" in told


def test_what_is_not_offered_is_told_and_not_copied(
    cache: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(exported_files, "MOST_LOST", -1.0)
    formats = ("--formats", "bitmask_fp32,bitmask_int8")
    assert export(cache, tmp_path, monkeypatch, *formats) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model.sparse", "files.csv"}
    assert "Bit mask + int8 is not offered" in capsys.readouterr().out

"""`export`: the files of a finished model, copied with a table; errors in one sentence."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli.main import main
from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.results import exported_files
from pruning_core.results.exported_files import (
    available_formats,
    files_frame,
    files_table,
    why_not_offered,
)
from pruning_core.storage import bundle
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from pruning_core.worker import execute
from tests.helpers.refusals import code_of
from tests.helpers.workers import serve

FILES = ("state_dict", "bitmask_fp32", "bitmask_int8")
pytestmark = pytest.mark.usefixtures("inline")


def export(cache: Cache, out: Path, *options: str) -> int:
    """The exit code of the command on the only job of a cache."""
    job = Queue(cache.queue).jobs()[0].id
    return main(["export", job, "--cache-dir", str(cache.root), "--out", str(out), *options])


def test_files_and_table_are_written(
    finished: Cache, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--formats", ",".join(FILES), "--bundle", "bitmask_int8")
    assert export(finished, tmp_path, *options) == 0
    names = {"model.pth", "model.sparse", "model.int8.sparse", "files.csv", bundle.BUNDLE_FILE}
    assert {path.name for path in tmp_path.iterdir()} == names
    table = pd.read_csv(tmp_path / "files.csv").set_index("format")
    assert list(table.index) == list(FILES)
    for name in FILES:
        assert table.loc[name, "bytes"] == (tmp_path / table.loc[name, "file"]).stat().st_size
    assert table.loc["state_dict", "compression_ratio"] == pytest.approx(1, abs=0.05)
    printed = capsys.readouterr().out
    assert exported_files.FILE_FORMATS["state_dict"].title in printed
    for path in tmp_path.iterdir():
        assert f"Wrote {path}\n" in printed
    digest = hashlib.sha256((tmp_path / bundle.BUNDLE_FILE).read_bytes()).hexdigest()
    assert digest in printed


def test_large_test_images_are_written_beside_the_bundle_and_verify_it(
    finished: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "MAX_IMAGE_BYTES", 10)
    options = ("--formats", "bitmask_int8", "--bundle", "bitmask_int8")
    assert export(finished, tmp_path, *options) == 0
    zipfile.ZipFile(tmp_path / bundle.BUNDLE_FILE).extractall(tmp_path / "packed")
    command = [sys.executable, "verify.py"]
    folder = tmp_path / "packed"
    assert subprocess.run(command, cwd=folder, check=False).returncode == 2
    command += ["--data", f"../{bundle.IMAGES_FILE}"]
    assert subprocess.run(command, cwd=folder, check=False).returncode == 0


def test_a_model_is_chosen_by_its_number(finished: Cache, tmp_path: Path) -> None:
    sizes = []
    for number in ("0", "1", "-1"):
        options = ("--formats", "bitmask_fp32", "--index", number)
        assert export(finished, tmp_path, *options) == 0
        sizes.append((tmp_path / "model.sparse").stat().st_size)
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--index", "7"),
            "--index: there is no model 7. The models of the job are: 0 baseline; 1 one-shot 50 %; "
            "2 one-shot 90 %.",
        ),
        (("--index", "-4"), "--index: there is no model -4. "),
        (("--formats", "zip"), "--formats: 'zip' is not a file format; choose from state_dict, "),
        (("--formats", ""), "--formats: give at least one value; see "),
        (("--bundle", "lzma"), "--bundle: invalid choice: 'lzma'"),
    ],
)
def test_a_wrong_option_is_refused(
    finished: Cache,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    assert code_of(lambda: export(finished, tmp_path, *options)) == 2
    assert capsys.readouterr().err.startswith(message)


def test_a_stage_that_refuses_its_settings_is_reported_in_a_sentence(
    finished: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The queue holds the error as JSON."""

    def refuse(context: object) -> dict[str, object]:
        raise SpecError("machine", "{here} is another machine.", here="this")

    monkeypatch.setattr(execute, "runner_of", lambda kind: refuse)
    assert "export" in STAGE_KINDS
    assert export(finished, tmp_path, "--formats", "zlib") == 1
    error = capsys.readouterr().err
    assert error == "zlib failed: machine: this is another machine.\n"


def test_a_format_without_its_package_is_left_out_and_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exported_files, "find_spec", lambda name: None)
    names, notes = available_formats(["onnx", "executorch"])
    assert names == ["onnx"]
    assert "pip install executorch" in notes[0]


def test_a_damaged_file_is_made_again(finished: Cache, tmp_path: Path) -> None:
    assert export(finished, tmp_path, "--formats", "bitmask_fp32") == 0
    job = Queue(finished.queue).jobs()[0]
    stage = export_stage(Outline.from_json(job.outline).models[-1].key, "bitmask_fp32")
    intact = (tmp_path / "model.sparse").read_bytes()
    (finished.stage(stage.key) / "model.sparse").write_bytes(b"damaged")
    assert not Store(finished).verify(stage.key)
    assert export(finished, tmp_path, "--formats", "bitmask_fp32") == 0
    assert (tmp_path / "model.sparse").read_bytes() == intact


def test_ratios_are_over_the_dense_file_of_the_baseline(finished: Cache) -> None:
    """Also for a model whose own dense file is smaller, so that all ratios compare."""
    store = Store(finished)
    dense, model = Outline.from_json(Queue(finished.queue).jobs()[0].outline).models[:2]
    Queue(finished.queue).add([export_stage(model.key, "bitmask_fp16")])
    serve(finished)
    frame = files_frame(model, dense, store, ["bitmask_fp16"])
    dense_bytes = store.read(dense.key)["dense_bytes"]
    assert frame["compression_ratio"].tolist() == [dense_bytes / frame["bytes"].iloc[0]]
    assert len(files_table(frame)) == 1


@pytest.mark.parametrize(
    ("name", "accuracy", "offered"),
    [("onnx_int8", 0.86, True), ("onnx_int8", 0.70, False), ("onnx", 0.70, True)],
)
def test_a_file_that_surely_loses_much_accuracy_is_not_offered(
    name: str, accuracy: float, offered: bool
) -> None:
    """Of the model's 90 % on the validation images; an exact file was compared before.

    Its accuracy on the test images decides nothing.
    """
    row = {"format": name, "validation_accuracy": accuracy, "validation_images": 1000}
    row |= {"validation_drop": 0.9 - accuracy, "accuracy": 0.1, "accuracy_high": 0.2}
    reason = why_not_offered(row)
    assert (reason == "") == offered
    assert offered or ("90 %" in reason and "70 %" in reason)


def test_a_file_that_is_not_offered_is_noted_and_not_copied(
    finished: Cache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(exported_files, "MAX_DROP", -1.0)
    formats = ("--formats", "bitmask_fp32,bitmask_int8")
    assert export(finished, tmp_path, *formats) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model.sparse", "files.csv"}
    title = exported_files.FILE_FORMATS["bitmask_int8"].title
    assert f"{title} is not offered" in capsys.readouterr().out

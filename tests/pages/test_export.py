"""The Export page: files are exported, drawn and downloaded; a bundle is created."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.export_page import errors, finished_run, labels, models, page, press, shown
from tests.helpers.workers import serve

QUICK = ("state_dict", "bitmask_fp32", "bitmask_int8")


@pytest.fixture(autouse=True)
def _no_worker(no_worker: None) -> None:
    """The pages start no process."""


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A finished run."""
    return finished_run(tmp_path_factory.mktemp("export"))


def last(cache: Cache) -> str:
    """The stage key of the pruned model."""
    return models(cache)[1].key


def test_without_a_model_it_says_what_next(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert "No model has finished yet. Start a run on Home or Tune." in shown(at)


def test_a_click_queues_every_file(
    ready: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = Cache(Path(shutil.copytree(ready.root, tmp_path / "copy")))
    at = press(page(ready, monkeypatch).run(), "Export all formats")
    assert not at.exception
    queue = Queue(ready.queue)
    rows = {name: queue.stage(export_stage(last(ready), name).key) for name in QUICK}
    assert all(row and row.status == "queued" for row in rows.values())
    assert "Queued; " in shown(at)
    row = queue.claim("token", 99, ["export"])
    assert row is not None
    assert "Exporting Dense .pth; " in shown(at.run())
    assert " left." in shown(at)


def test_files_are_drawn_and_bundled(ready: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(ready.queue)
    queue.add([export_stage(last(ready), name) for name in QUICK])
    serve(ready, STAGE_KINDS)
    at = page(ready, monkeypatch).run()
    assert not at.exception
    assert len(at.get("plotly_chart")) == 1
    names = [button.proto.label for button in at.get("download_button")]
    assert names == ["Dense .pth", "Sparse (bitmask) fp32", "Sparse (bitmask) int8", "Table (CSV)"]
    assert any(label.startswith("Export ") and "more format" in label for label in labels(at))
    at = press(at, "Create bundle")
    assert "Queued." in shown(at)
    serve(ready, STAGE_KINDS)
    at = page(ready, monkeypatch).run()
    assert any("Bundle (" in button.proto.label for button in at.get("download_button"))


def test_a_failed_file_shows_its_reason_and_can_be_exported_again(
    ready: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, stage = Queue(ready.queue), export_stage(last(ready), "bitmask_fp16")
    Store(ready).remove(stage.key)
    queue.forget(stage.key)
    queue.add([stage])
    assert queue.claim("token", 99)
    queue.fail(stage.key, "token", "Traceback\nStageError: The disk said no.")
    at = page(ready, monkeypatch).run()
    assert "Sparse (bitmask) fp16 failed. StageError: The disk said no." in errors(at)
    (label,) = [label for label in labels(at) if label.startswith("Export ")]
    press(at, label)
    row = queue.stage(stage.key)
    assert row is not None
    assert row.status == "queued"


def test_both_models_predict_a_test_image(ready: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(ready, monkeypatch).run().number_input(key="Export.image").set_value(3).run()
    assert not at.exception
    assert "Queued." in shown(at)
    serve(ready, STAGE_KINDS)
    at.run()
    assert not at.exception
    assert {"Dense baseline", "This model"} <= {metric.label for metric in at.metric}
    assert "% confidence" in shown(at)
    assert "eager PyTorch" in shown(at)

"""The Export page: files are exported, drawn and downloaded; a bundle is created."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import Cache
from pruning_core.methods.file_formats import FILE_FORMATS
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.export_page import errors, finished_run, labels, models, page, press, shown
from tests.helpers.pages import put
from tests.helpers.results import exported
from tests.helpers.workers import serve

QUICK = ("state_dict", "bitmask_fp32", "bitmask_int8")


@pytest.fixture(autouse=True)
def _no_worker(no_worker: None) -> None:
    """The pages start no process."""


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A finished run, of which `untouched` is a copy that no test changes."""
    cache = finished_run(tmp_path_factory.mktemp("export"))
    shutil.copytree(cache.root, untouched(cache))
    return cache


def untouched(cache: Cache) -> Path:
    return cache.root.with_name(f"{cache.root.name}-untouched")


def last(cache: Cache) -> str:
    """The stage key of the pruned model."""
    return models(cache)[1].key


def test_without_a_model_it_says_what_next(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert "No results yet. Start a run on Home or Tune." in shown(at)


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
    assert names == [
        "Download .pth",
        "Download .sparse",
        "Download .int8.sparse",
        "Download table (CSV)",
    ]
    assert "Export .onnx" in labels(at)
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
    assert "Export .fp16.sparse" in labels(at)
    (label,) = [label for label in labels(at) if label.startswith("Export ") and "format" in label]
    press(at, label)
    row = queue.stage(stage.key)
    assert row is not None
    assert row.status == "queued"


def table(at: AppTest) -> dict[str, str]:
    """The rows of the table of files, as a reader sees them, by the title of the format."""
    html = [element.proto.body for element in at.get("html")]
    rows = [re.sub("<[^>]+>", "|", body) for body in html if 'class="file-row"' in body]
    cells = [[cell for cell in row.split("|") if cell] for row in rows]
    return {row[0]: "".join(row[1:]) for row in cells}


def test_the_table_has_a_row_for_each_format_that_can_be_downloaded(
    ready: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the file meets the goal, what opens it, and a button that exports this one alone."""
    ready = Cache(Path(shutil.copytree(untouched(ready), tmp_path / "copy")))
    (_, pruned), store, queue = models(ready), Store(ready), Queue(ready.queue)
    validation = {
        name: value for name, value in store.read(pruned.key).items() if "validation" in name
    }
    for name, size in (("bitmask_fp32", 800_000), ("onnx", 2_000_000)):
        key = export_stage(pruned.key, name).key
        put(store, key, "export", exported(size, 0.9) | validation)
    at = page(ready, monkeypatch)
    at.query_params.update({"max_mb": "1", "max_drop": "none", "model": pruned.key})
    rows = table(at.run())
    assert not at.exception
    assert list(rows)[1:] == [f.title for f in FILE_FORMATS.values() if f.download]
    assert "Size: 800 kB" in rows["Sparse (bitmask) fp32"]
    assert "Meets the goal: yes" in rows["Sparse (bitmask) fp32"]
    assert "Meets the goal: no: 1.00 MB too large" in rows["ONNX fp32"]
    assert "Opens in: ONNX Runtime" in rows["ONNX fp32"]
    assert "not exported yet" in rows["Dense .pth"]
    assert "1 of 2 exported files meets the goal of at most 1.00 MB" in shown(at)
    assert [m.value for m in at.metric][:1] == ["met"]
    (numbers,) = [one.proto.popover for one in at.get("popover") if one.proto.popover.label]
    assert numbers.label == "Numbers: file sizes"
    at.session_state["numbers files"] = True  # opened
    (sizes,) = [one.value for one in at.run().dataframe if "File format" in one.value]
    assert dict(zip(sizes["File format"], sizes["Size on disk (MB)"], strict=True)) == {
        "Sparse (bitmask) fp32": 0.8,
        "ONNX fp32": 2.0,
    }
    press(at, "Export .pth")
    waiting = [name for name in FILE_FORMATS if queue.stage(export_stage(pruned.key, name).key)]
    assert waiting == ["state_dict"]
    assert "waiting" in table(at)["Dense .pth"]
    assert "Export .pt2" in labels(at)


def test_the_goal_is_in_the_address_and_decides(
    ready: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before an export the sparse file of the model counts."""
    at = page(ready, monkeypatch)
    at.query_params["max_mb"] = "0.001"
    at.run()
    assert next(m for m in at.metric if m.label == "Goal").value in ("not met", "inconclusive")
    at.text_input(key="Export.max_mb").set_value("").run()
    at.text_input(key="Export.max_drop").set_value("100").run()
    assert next(m for m in at.metric if m.label == "Goal").value == "met"
    assert at.query_params["max_drop"] in ("100", ["100"])
    assert "max_mb" not in at.query_params


def test_the_model_of_the_run_that_meets_the_goal_is_offered(
    ready: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense, pruned = models(ready)
    size = Store(ready).read(pruned.key)["sparse_bytes"]
    at = page(ready, monkeypatch)
    at.query_params.update({"model": dense.key, "max_drop": "100", "max_mb": f"{size / 1e6}"})
    at.run()
    assert next(m for m in at.metric if m.label == "Goal").value == "not met"
    (label,) = [label for label in labels(at) if "meets the goal" in label]
    press(at, label)
    assert not at.exception
    assert at.selectbox(key="Export.model").value == pruned.key
    assert at.query_params["model"] in (pruned.key, [pruned.key])


def test_both_models_predict_a_test_image(ready: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(ready, monkeypatch).run()
    serve(ready, STAGE_KINDS)  # a page that waits for one image asks for the next one later
    at.number_input(key="Export.image").set_value(3).run()
    assert not at.exception
    assert "Queued." in shown(at)
    serve(ready, STAGE_KINDS)
    at.run()
    assert not at.exception
    assert {"Dense baseline", "This model"} <= {metric.label for metric in at.metric}
    assert "% confidence" in shown(at)
    assert "eager PyTorch" in shown(at)

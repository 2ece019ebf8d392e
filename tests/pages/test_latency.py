"""Latency on the Export page: measured as chosen, drawn with its conclusion; own images."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.components import facts, latency
from pruning_core.common.paths import Cache
from pruning_core.planning.stage import Stage
from pruning_core.planning.timing import Conditions, latency_stages, sparse_speedup_stage
from pruning_core.results import exported_files
from pruning_core.results.sparse_speedup import ALL_LAYERS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from tests.helpers.export_page import errors, finished_run, labels, models, page, press, shown
from tests.helpers.latency import measurement
from tests.helpers.pages import put
from tests.helpers.workers import serve
from tests.reports.charts.test_latency import timed

ZEROS = {
    **{"layer": ALL_LAYERS, "rows": 10, "columns": 10, "pixels": 1, "rounds": 40},
    **{"dense_kernel": "torch_mm", "dense_us": 10.0, "kernel": "torch_csr"},
}


@pytest.fixture(autouse=True)
def _no_worker(no_worker: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages start no process, and request a value at the second look."""
    monkeypatch.setattr(facts, "DEBOUNCE_SECONDS", 0.0)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A finished run."""
    return finished_run(tmp_path_factory.mktemp("latency"))


@pytest.fixture
def lab(ready: Cache, tmp_path: Path) -> Cache:
    """A copy of the run, to queue in."""
    return Cache(Path(shutil.copytree(ready.root, tmp_path / "copy")))


def timings(cache: Cache, conditions: Conditions) -> list[Stage]:
    return latency_stages([model.key for model in models(cache)], conditions=conditions)


def queued(cache: Cache, kind: str) -> list[Row]:
    """The queued stages of a kind."""
    keys = Queue(cache.queue)._all("SELECT key FROM stages WHERE kind = ?", kind)
    rows = [Queue(cache.queue).stage(row["key"]) for row in keys]
    return [row for row in rows if row and row.status == "queued"]


def test_the_chosen_conditions_are_measured(lab: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "usable_cores", lambda: 2)
    at = page(lab, monkeypatch).run()
    assert "not measured yet" in [metric.value for metric in at.metric]
    at.multiselect(key="Export.batches").set_value([1, 32]).run()
    at.multiselect(key="Export.threads").set_value([1, 2]).run()
    at.selectbox(key="Export.resolution").set_value(64).run()
    at = press(at, "Measure latency")
    assert "Queued until the machine is idle; " in shown(at)
    wanted = timings(lab, Conditions((1, 32), (1, 2), 64))
    rows = queued(lab, "latency")
    assert {row.key for row in rows} == {stage.key for stage in wanted}


def test_emptied_conditions_measure_what_the_page_says(
    lab: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(lab, monkeypatch).run()
    at.multiselect(key="Export.batches").set_value([]).run()
    at.multiselect(key="Export.threads").set_value([]).run()
    assert "Nothing is chosen, so batch size 1 is measured." in shown(at)
    assert "Nothing is chosen, so 1 thread is measured." in shown(at)
    address = {name: at.query_params[name] for name in ("batches", "threads")}
    assert {"none"} == {v[0] if isinstance(v, list) else v for v in address.values()}
    press(at, "Measure latency")
    wanted = {stage.key for stage in timings(lab, Conditions((1,), (1,), 0))}
    assert {row.key for row in queued(lab, "latency")} == wanted
    again = page(lab, monkeypatch)
    again.query_params.update(address)
    again.run()
    assert again.multiselect(key="Export.batches").value == []
    assert "Nothing is chosen, so 1 thread is measured." in shown(again)


def test_break_even_is_measured_at_a_click(lab: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(lab, monkeypatch).run().selectbox(key="Export.resolution").set_value(64).run()
    at = press(at, "Measure break-even")
    assert "Queued until the machine is idle." in shown(at)
    assert not at.exception
    (row,) = queued(lab, "sparse_speedup")
    assert row.key == sparse_speedup_stage(models(lab)[1].key, 64).key


@pytest.fixture
def measured(lab: Cache) -> Cache:
    """Times by hand: a speed-up of 1.5; the break-even sparsity is 75 to 80 %."""
    dense, pruned = (model.key for model in models(lab))
    rows = [timed(dense, "dense"), timed(pruned, "candidate", ratio=1.5)]
    rows.append(timed(dense, "control", ratio=1.0))
    for stage in timings(lab, Conditions()):
        runtime = stage.settings["runs"][0]["runtime"]
        measured = [row for row in rows if row["runtime"] == runtime]
        result = {**measurement(measured), "notes": ["The clock is coarse."]}
        put(Store(lab), stage.key, stage.kind, result)
    products = [
        {**ZEROS, "sparsity": share, "sparse_us": 10.0 / ratio, "ratio": ratio}
        | {"ratio_low": 0.95 * ratio, "ratio_high": 1.05 * ratio}
        for share, ratio in ((0.5, 0.4), (0.7, 0.8), (0.9, 1.6))
    ]
    stage = sparse_speedup_stage(pruned, 0)
    put(Store(lab), stage.key, stage.kind, measurement(products))
    return lab


def table(at: AppTest) -> list[dict[str, object]]:
    """The table of latencies."""
    frame = next(f.value for f in at.dataframe if "Median (ms)" in f.value.columns)
    return list(frame.to_dict("records"))


def test_times_conclusion_and_break_even_are_drawn(
    measured: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(measured, monkeypatch).run()
    assert not at.exception
    assert not {"Measure latency", "Measure break-even"} & set(labels(at))
    rows = table(at)
    assert [row["Median (ms)"] for row in rows] == [2.0, 2.0, 2.0]
    assert {row["90th percentile (ms)"] for row in rows} == {5.0}
    assert {row["Images/s"] for row in rows} == {500.0}
    assert str(rows[1]["Speed-up vs dense (95 % CI)"]).startswith("1.5")
    said = shown(at)
    assert "Speed: 1.5x faster in ONNX Runtime (95 % CI 1.35 to 1.8)." in said
    assert "Speed: batch size 1, 1 thread." in said
    assert "The clock is coarse." in said
    assert (
        "PyTorch CSR: break-even sparsity about 76.4 % (by the 95 % CIs: 75 % to 77.9 %)." in said
    )
    assert len(at.get("plotly_chart")) >= 3
    assert "this model: 90 %" in " ".join(c.proto.spec for c in at.get("plotly_chart"))


def test_without_executorch_the_page_says_so_and_offers_the_rest(
    lab: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = {"executorch": None}
    monkeypatch.setattr(exported_files, "find_spec", lambda name: missing.get(name, object()))
    at = page(lab, monkeypatch).run()
    said = shown(at)
    assert "ExecuTorch is skipped: the package executorch is not installed" in said
    assert "(pip install executorch)." in said
    press(at, "Export all formats")
    formats = {row.settings["format"] for row in queued(lab, "export")}
    assert "onnx" in formats
    assert "executorch" not in formats


def png(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def uploaded(at: AppTest, name: str, content: bytes) -> AppTest:
    at.file_uploader[-1].set_value((name, content, "image/png")).run()
    return at.run()


def test_both_models_predict_an_uploaded_image(lab: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = uploaded(page(lab, monkeypatch).run(), "red.png", png((60, 40)))
    assert at.number_input(key="Export.image").disabled
    serve(lab)
    at.run()
    assert not at.exception
    assert {"Dense baseline", "This model"} <= {metric.label for metric in at.metric}
    assert shown(at).count("batch size 1, 1 thread)") == 2


def test_a_file_that_is_no_image_is_refused_in_a_sentence(
    lab: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = uploaded(page(lab, monkeypatch).run(), "bad.png", b"no image at all")
    serve(lab)
    at.run()
    assert not at.exception
    assert "Predict failed. Your image: This is not a readable image (" in errors(at)
    assert "Retry" in labels(at)

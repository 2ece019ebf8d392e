"""The Ship page's speed: asked for with what is chosen, drawn with its verdict, and try it."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.components import speed_part
from pruning_core.cli import export
from pruning_core.common.paths import Cache
from pruning_core.planning.stage import Outline, PlannedModel, Stage
from pruning_core.planning.timing import Conditions, crossover_stage, latency_stages
from pruning_core.results.sparse_speedup import ALL_LAYERS
from pruning_core.storage.jobs import Queue
from pruning_core.storage.stage_queue import Row
from pruning_core.storage.store import Store
from tests.helpers.workers import serve
from tests.pages.test_export import page, press, ready, told
from tests.pages.test_pages import put
from tests.reports.charts.test_latency import timed

__all__ = ["ready"]  # a fixture
ZEROS = {
    **{"layer": ALL_LAYERS, "rows": 10, "columns": 10, "pixels": 1, "rounds": 40},
    **{"dense_kernel": "torch_mm", "dense_us": 10.0, "kernel": "torch_csr"},
}


def models(cache: Cache) -> tuple[PlannedModel, PlannedModel]:
    """The dense model of the run, and its last point."""
    points = Outline.from_json(Queue(cache.queue).jobs()[-1].outline).models
    return points[0], points[-1]


@pytest.fixture
def lab(ready: Cache, tmp_path: Path) -> Cache:
    """A copy of the run, to queue in."""
    return Cache(Path(shutil.copytree(ready.root, tmp_path / "copy")))


def timings(cache: Cache, how: Conditions) -> list[Stage]:
    return latency_stages([point.key for point in models(cache)], conditions=how)


def queued(cache: Cache, kind: str) -> list[Row]:
    found = Queue(cache.queue)._all("SELECT key FROM stages WHERE kind = ?", kind)
    rows = [Queue(cache.queue).stage(row["key"]) for row in found]
    return [row for row in rows if row and row.status == "queued"]


def test_what_is_chosen_is_what_is_timed(lab: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_part, "usable_cores", lambda: 2)
    at = page(lab, monkeypatch).run()
    assert "not measured yet" in told(at)
    at.multiselect(key="batches").set_value([1, 32]).run()
    at.multiselect(key="threads").set_value([1, 2]).run()
    at.selectbox(key="pixels").set_value(64).run()
    press(at, "Measure the speed")
    wanted = timings(lab, Conditions((1, 32), (1, 2), 64))
    rows = queued(lab, "latency")
    assert {row.key for row in rows} == {stage.key for stage in wanted}


def test_where_zeros_pay_is_asked_for(lab: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(lab, monkeypatch).run().selectbox(key="pixels").set_value(64).run()
    at = press(at, "Find where zeros pay")
    assert not at.exception
    (row,) = queued(lab, "sparse_speedup")
    assert row.key == crossover_stage(models(lab)[1].key, 64).key


@pytest.fixture
def measured(lab: Cache) -> Cache:
    """Times by hand: 1.5 times as fast in ONNX Runtime; zeros pay from 80 % on."""
    dense, point = (model.key for model in models(lab))
    rows = [timed(dense, "dense"), timed(point, "candidate", ratio=1.5)]
    rows.append(timed(dense, "control", ratio=1.0))
    for stage in timings(lab, Conditions()):
        own = [row for row in rows if stage.settings["runs"][0]["runtime"] == row["runtime"]]
        put(Store(lab), stage.key, stage.kind, {"rows": own, "notes": ["The clock is coarse."]})
    products = [
        {**ZEROS, "sparsity": share, "sparse_us": 10.0 / ratio, "ratio": ratio}
        | {"ratio_low": 0.95 * ratio, "ratio_high": 1.05 * ratio}
        for share, ratio in ((0.5, 0.4), (0.7, 0.8), (0.9, 1.6))
    ]
    stage = crossover_stage(point, 0)
    put(Store(lab), stage.key, stage.kind, {"rows": products, "notes": []})
    return lab


def table(at: AppTest) -> list[dict[str, object]]:
    found = next(f.value for f in at.dataframe if "Median, ms" in f.value.columns)
    return list(found.to_dict("records"))


def test_times_verdict_and_crossover_are_drawn(
    measured: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(measured, monkeypatch).run()
    assert not at.exception
    assert not [b for b in at.button if b.label in ("Measure the speed", "Find where zeros pay")]
    rows = table(at)
    assert [row["Median, ms"] for row in rows] == [2.0, 2.0, 2.0]
    assert {row["90 %, ms"] for row in rows} == {5.0}
    assert {row["Images a second"] for row in rows} == {500.0}
    assert str(rows[1]["Times as fast as dense"]).startswith("1.5")
    said = told(at).replace("\\", "")
    assert "1.5 times faster" in said
    assert "1 image at a time and 1 thread" in said
    assert "The clock is coarse." in said
    assert "Zeros begin to pay at about" in said
    assert len(at.get("plotly_chart")) >= 3
    assert "this model: 90 %" in " ".join(c.proto.spec for c in at.get("plotly_chart"))


def test_without_executorch_the_page_says_so_and_offers_the_rest(
    lab: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        export, "find_spec", lambda name: None if name == "executorch" else object()
    )
    at = page(lab, monkeypatch).run()
    said = told(at).replace("\\", "")
    assert "ExecuTorch is left out: it needs the package executorch" in said
    assert "pip install executorch" in said
    press(at, "Make the files")
    formats = {row.settings["format"] for row in queued(lab, "export")}
    assert "onnx" in formats
    assert "executorch" not in formats


def picture(size: tuple[int, int]) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(made, "PNG")
    return made.getvalue()


def dropped(at: AppTest, name: str, content: bytes) -> AppTest:
    at.get("file_uploader")[-1].set_value((name, content, "image/png")).run()
    return at


def test_an_image_that_is_dropped_is_answered_by_both(
    lab: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = dropped(page(lab, monkeypatch).run(), "red.png", picture((60, 40)))
    assert at.number_input(key="try number").disabled
    serve(lab)
    at.run()
    assert not at.exception
    assert {"Dense", "This model"} <= {metric.label for metric in at.metric}
    assert told(at).count("one image, one thread)") == 2


def test_what_is_dropped_and_no_image_is_refused_in_a_sentence(
    lab: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = dropped(page(lab, monkeypatch).run(), "bad.png", b"no image at all")
    serve(lab)
    at.run()
    assert not at.exception
    assert "not a readable image" in " ".join(error.value for error in at.error)

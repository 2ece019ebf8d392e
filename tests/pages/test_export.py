"""The Ship page: files are made at a click, drawn, downloaded; a passport is packed."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.planning.exports import export_stage
from pruning_core.planning.stage import Outline
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.project import ROOT
from tests.helpers.workers import TINY, serve

SPEC = replace(
    TINY,
    baseline_epochs=1,
    one_shot=OneShotSpec((0.9,), 0),
    iterative=IterativeSpec(enabled=False),
    label="Small",
)
QUICK = ("state_dict", "bitmask_fp32", "bitmask_int8")


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A finished run with a few files of its last point."""
    cache = Cache(tmp_path_factory.mktemp("ship"))
    cache.prepare()
    queue = Queue(cache.queue)
    queue.submit(SPEC, SPEC.label)
    serve(cache)
    return cache


def last(cache: Cache) -> str:
    return Outline.from_json(Queue(cache.queue).jobs()[0].outline).models[-1].key


def page(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    for place in (
        "pruning_core.worker.start.ensure_worker",
        "pages.components.shell.start.start_worker",
    ):
        monkeypatch.setattr(place, lambda *_: "")
    return AppTest.from_file(str(ROOT / "pages" / "5_Ship.py"), default_timeout=120)


def told(at: AppTest) -> str:
    return " ".join(element.value for element in (*at.markdown, *at.caption, *at.info))


def press(at: AppTest, label: str) -> AppTest:
    return next(button for button in at.button if button.label == label).click().run()


def test_without_a_model_it_says_what_next(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert "No model is finished yet" in told(at)


def test_a_click_queues_every_file(
    ready: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = Cache(Path(shutil.copytree(ready.root, tmp_path / "copy")))
    at = press(page(ready, monkeypatch).run(), "Make the files")
    assert not at.exception
    queue = Queue(ready.queue)
    rows = {name: queue.stage(export_stage(last(ready), name).key) for name in QUICK}
    assert all(row and row.status == "queued" for row in rows.values())
    assert "to come" in told(at)


def test_files_are_drawn_and_packed(ready: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = Queue(ready.queue)
    queue.add([export_stage(last(ready), name) for name in QUICK])
    serve(ready)
    at = page(ready, monkeypatch).run()
    assert not at.exception
    assert len(at.get("plotly_chart")) == 1
    names = [button.proto.label for button in at.get("download_button")]
    assert names == ["Dense .pth", "Bit mask + fp32", "Bit mask + int8", "Table (CSV)"]
    at = press(at, "Pack the passport")
    assert "The worker packs it" in told(at)
    serve(ready)
    at = page(ready, monkeypatch).run()
    assert any("Passport (" in button.proto.label for button in at.get("download_button"))


def test_a_failed_file_is_told_and_can_be_made_again(
    ready: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, key = Queue(ready.queue), export_stage(last(ready), "bitmask_fp16").key
    Store(ready).remove(key)
    queue.forget(key)
    queue.add([export_stage(last(ready), "bitmask_fp16")])
    assert queue.claim("token", 99)
    queue.fail(key, "token", "Traceback\nStageError: The disk said no.")
    at = page(ready, monkeypatch).run()
    assert "Bit mask + fp16 failed" in " ".join(error.value for error in at.error)
    assert any(button.label.startswith("Make") for button in at.button)


def test_both_models_answer_a_test_image(ready: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    at = page(ready, monkeypatch).run().number_input(key="try number").set_value(3).run()
    assert "The models look at it" in told(at)
    serve(ready)
    at.run()
    assert not at.exception
    assert {"Dense", "This model"} <= {metric.label for metric in at.metric}
    assert "eager PyTorch" in told(at)

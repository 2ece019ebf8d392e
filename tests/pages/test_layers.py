"""The Layers page: sensitivity analysis, custom sparsity, one layer, the overlap of two models."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.results.sensitivity import read_sensitivity
from pruning_core.settings.data import DataSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec, from_json
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage.job_record import Job, job_id
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers import export_page
from tests.helpers.browser import ARGUMENTS, CHROME, served
from tests.helpers.export_page import errors, labels, press, shown
from tests.helpers.refusals import image_folder
from tests.helpers.workers import TINY, serve

SPEC = replace(
    TINY,
    one_shot=OneShotSpec((0.5,), 0),
    iterative=replace(TINY.iterative, enabled=False),
    sensitivity=SensitivitySpec(sparsities=(0.5, 0.9), images=20),
    baseline_epochs=1,
    label="Small",
)
SLOW = 60_000  # milliseconds
ALLOCATE, RUN, ANALYZE = (
    "Allocate from sensitivity",
    "Run with these sparsities",
    "Run sensitivity analysis",
)


@pytest.fixture(autouse=True)
def _no_worker(no_worker: None) -> None:
    """The pages start no process."""


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A comparison and the sensitivity analysis of its baseline, finished."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.prepare()
    for spec in (SPEC, sensitivity_only(SPEC)):
        Queue(cache.queue).submit(spec, spec.label)
        serve(cache, STAGE_KINDS)
    return cache


def page(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    return export_page.page(cache, monkeypatch, "4_Layers")


def button(at: AppTest, label: str) -> Button:
    return next(one for one in at.button if one.label == label)


def new_job(queue: Queue, before: set[str]) -> Job:
    """The only job that is not in `before`."""
    (job,) = [job for job in queue.jobs(10) if job.id not in before]
    return job


def ids(queue: Queue) -> set[str]:
    return {job.id for job in queue.jobs(10)}


def test_without_a_baseline_it_says_what_next(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert "No results yet. Start a run on Home or Tune." in shown(at)


def test_everything_is_drawn(analyzed: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heat map, sparsity per layer, histogram; the analysis itself is no run to choose."""
    at = page(analyzed, monkeypatch).run()
    assert not at.exception
    assert len(at.get("plotly_chart")) == 3
    assert len(at.selectbox[0].options) == 1
    assert "of 7,050 output channels" in shown(at)
    assert "are all zero." in shown(at)
    assert "Color: accuracy drop on 20 validation images" in shown(at)
    assert ANALYZE not in labels(at)
    tables = len(at.dataframe)
    at.session_state["numbers sensitivity"] = at.session_state["numbers weights"] = True  # opened
    at.run()
    assert not at.exception
    assert len(at.dataframe) == tables + 2


def test_a_suggestion_fills_the_table_and_runs(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, queue = Store(analyzed), Queue(analyzed.queue)
    total = 0.3
    at = page(analyzed, monkeypatch).run()
    at.slider(key="Layers.overall").set_value(100 * total)
    press(at, ALLOCATE)
    assert not at.exception
    # Each layer is rounded to a tenth of a percent.
    assert re.search(r"Overall sparsity (29\.9\d|30|30\.0\d) %\. Runs one-shot only", shown(at))
    before = ids(queue)
    press(at, RUN)
    assert [box.value for box in at.error] == []
    job = new_job(queue, before)
    spec = from_json(job.spec)
    assert spec.pruning.allocation == "custom"
    assert spec.one_shot.amounts == (0.0, pytest.approx(total, abs=1e-3))
    shares = dict(entry.split("=") for entry in spec.pruning.layer_sparsities)
    assert all((1000 * float(share)) % 5 == pytest.approx(0) for share in shares.values())
    sizes = read_sensitivity(sensitivity_only(SPEC), store).groupby("layer")["size"].first()
    removed = sum(float(share) * sizes[name] for name, share in shares.items())
    assert removed / sizes.sum() == pytest.approx(spec.one_shot.amounts[1], abs=1e-6)


def test_a_budget_fills_the_table_and_stays_in_the_address(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(analyzed, monkeypatch)
    at.query_params |= {"allocate": "least_loss", "budget": "bytes", "limit": "0.9 MB"}
    at.run()
    assert not at.exception
    press(at, ALLOCATE)
    assert [box.value for box in at.error] == []
    (message,) = [box.value for box in at.success]
    size = float(message.removeprefix("File size: ").split()[0])
    assert 880 <= size <= 900
    assert at.query_params["limit"] == "0.9 MB"
    at.text_input(key="Layers.limit").set_value("6 apples").run()
    press(at, ALLOCATE)
    assert "File size: '6 apples' is no number above 0, such as 2 MB." in errors(at)
    at.text_input(key="Layers.limit").set_value("1 kB").run()
    press(at, ALLOCATE)
    assert "is not possible with the measured sparsities: they allow at least" in errors(at)


def test_what_was_not_measured_is_not_suggested(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(analyzed, monkeypatch).run()
    at.slider(key="Layers.overall").set_value(99.0)
    press(at, ALLOCATE)
    assert "The overall sparsity 99 % is too high: the measured sparsities" in errors(at)
    assert "Lower it, or add higher values to 'Sparsities (sensitivity)'." in errors(at)


def test_the_worker_computes_the_overlap_of_two_models(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The baseline keeps all weights and the pruned model half of them: the overlap is 50 %."""
    at = page(analyzed, monkeypatch).run()
    at.selectbox(key="Layers.second").select_index(0).run()
    assert "Queued." in shown(at)
    serve(analyzed, STAGE_KINDS)
    at.run()
    assert not at.exception
    assert at.metric[0].value == "50 %"


def test_an_analysis_is_started_here(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    spec: Spec = replace(SPEC, sensitivity=SensitivitySpec(), baseline_epochs=0)
    queue = Queue(cache.queue)
    queue.submit(spec, "Small")
    serve(cache)
    at = page(cache, monkeypatch).run()
    press(at, ANALYZE)
    assert not at.exception
    (job,) = [job for job in queue.jobs(5) if from_json(job.spec).sensitivity.enabled]
    assert from_json(job.spec) == replace(sensitivity_only(spec), label=job.label)


def test_sparsities_are_suggested_from_a_whole_analysis_only(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From half of the layers the overall sparsity would mean something else."""
    queue = Queue(cache.queue)
    spec = replace(SPEC, baseline_epochs=0)
    queue.submit(spec, "Small")
    serve(cache)
    for stage in plan(sensitivity_only(spec), Store(cache)).stages:
        if stage.kind == "sensitivity":
            queue.add([stage])
            serve(cache)
            break
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert len(at.get("plotly_chart")) == 3
    assert button(at, ALLOCATE).disabled
    assert "After a sensitivity analysis with the unit layer, this page can suggest them." in shown(
        at
    )
    assert ANALYZE in labels(at)


def test_a_suggestion_belongs_to_its_run(analyzed: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """That for one model is not shown, and run, for another."""
    queue = Queue(analyzed.queue)
    other = replace(SPEC, seeds=(5,), label="Other")
    queue.submit(other, "Other")
    serve(analyzed, STAGE_KINDS)
    at = page(analyzed, monkeypatch).run()
    names = {option: i for i, option in enumerate(at.selectbox[0].options)}
    at.selectbox[0].select_index(names["Small"]).run()
    at.slider(key="Layers.overall").set_value(30.0)
    press(at, ALLOCATE)
    assert re.search(r"Overall sparsity (29\.9\d|30|30\.0\d) %", shown(at))
    at.selectbox[0].select_index(names["Other"]).run()
    assert "Overall sparsity 0 %" in shown(at)
    assert button(at, RUN).disabled


def test_what_was_measured_is_shown_when_the_files_have_moved(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    queue, folder = Queue(cache.queue), image_folder(tmp_path / "images")
    data = DataSpec(name="images", path=str(folder), image_size=32)
    queue.submit(replace(SPEC, data=data, baseline_epochs=0), "Moved")
    serve(cache, STAGE_KINDS)
    folder.rename(tmp_path / "elsewhere")
    at = page(cache, monkeypatch).run()
    serve(cache)
    at.run()
    assert not at.exception
    assert str(folder.name) in at.warning[0].value
    assert "are all zero." in shown(at)


def test_a_pattern_has_no_analysis_and_the_page_says_so(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning = PruningSpec(granularity="2:4")
    Queue(cache.queue).submit(
        replace(SPEC, pruning=pruning, sensitivity=SensitivitySpec(), baseline_epochs=0), "P"
    )
    serve(cache, STAGE_KINDS)
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert "the sensitivity analysis needs several sparsities" in at.warning[0].value
    assert len(at.get("plotly_chart")) == 2


def test_a_typed_sparsity_is_what_runs(analyzed: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell of the table; every other layer stays dense."""
    queue = Queue(analyzed.queue)
    at = page(analyzed, monkeypatch).run()
    table = at.data_editor[0]
    name, size = table.value["Layer"][3], table.value["Weights"][3]
    at.session_state[str(table.key)] = {
        "edited_rows": {3: {"Sparsity": 40.0}},
        "added_rows": [],
        "deleted_rows": [],
    }
    at.run()
    before = ids(queue)
    press(at, RUN)
    job = new_job(queue, before)
    spec = from_json(job.spec)
    assert spec.pruning.layer_sparsities == (f"{name}=0.4",)
    whole = (
        read_sensitivity(sensitivity_only(SPEC), Store(analyzed))
        .groupby("layer")["size"]
        .first()
        .sum()
    )
    assert spec.one_shot.amounts[1] == pytest.approx(0.4 * size / whole, abs=1e-6)
    queue.delete(job.id)


def test_dependency_groups_can_be_analyzed_from_the_page(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(analyzed, monkeypatch).run()
    at.radio(key="Layers.unit").set_value("dependency_group").run()
    assert not at.exception
    assert button(at, ALLOCATE).disabled
    press(at, ANALYZE)
    (job,) = [job for job in Queue(analyzed.queue).jobs(10) if '"dependency_group"' in job.spec]
    serve(analyzed, STAGE_KINDS)
    at.run()
    assert "Importance: Group magnitude (L2)." in shown(at)
    Queue(analyzed.queue).delete(job.id)


def test_the_address_holds_the_edited_sparsities(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(analyzed, monkeypatch)
    at.query_params["layers"] = "features.0.0.weight=0.25,gone.weight=0.5"
    at.run()
    assert not at.exception
    shares = at.data_editor[0].value
    assert shares.set_index("Layer")["Sparsity"]["features.0.0.weight"] == 25.0
    assert warned(at).count("There is no prunable layer 'gone.weight'.") == 1
    assert at.query_params["layers"] in (["features.0.0.weight=0.25"], "features.0.0.weight=0.25")


def warned(at: AppTest) -> str:
    return " ".join(warning.value for warning in at.warning).replace("\\", "")


@pytest.mark.parametrize("text", ["a", "a=2", "=0.5", "a=x", "a=nan"])
def test_sparsities_that_cannot_be_read_are_named(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    at = page(analyzed, monkeypatch)
    at.query_params["layers"] = text
    at.run()
    assert not at.exception
    assert f"layers '{text}': use layer=share" in warned(at)


def test_the_threshold_starts_at_the_sparsity_of_the_layer(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a dense layer at the target of the run; another model or layer starts it again."""
    at = page(analyzed, monkeypatch).run()
    assert at.slider(key="Layers.sparsity").value == pytest.approx(50, abs=0.2)
    assert "(50 %) are zero and not drawn." in shown(at)
    at.slider(key="Layers.sparsity").set_value(20.0).run()
    assert at.query_params["sparsity"] in ("20", ["20"])
    at.selectbox(key="Layers.model").select_index(0).run()
    assert at.slider(key="Layers.sparsity").value == 50.0
    assert "sparsity removes" in shown(at)
    at.slider(key="Layers.sparsity").set_value(20.0).run()
    at.selectbox(key="Layers.layer").select_index(3).run()
    assert not at.exception
    assert at.slider(key="Layers.sparsity").value == 50.0


def test_one_layer_is_chosen_for_the_whole_page(
    analyzed: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(analyzed, monkeypatch)
    at.query_params["run"] = job_id(SPEC)
    at.run()
    name = str(at.selectbox(key="Layers.layer").options[4])
    at.selectbox(key="Layers.layer").set_value(name).run()
    assert at.query_params["layer"] in (name, [name])
    assert at.session_state["layers table"]["selection"]["rows"] == [4]
    table = at.data_editor[0].value
    assert table.loc[table["Chosen"] == "●", "Layer"].tolist() == [name]
    bars, heat_map = (json.loads(chart.proto.spec) for chart in at.get("plotly_chart")[::2])
    assert len(set(bars["data"][0]["marker"]["color"])) == 2
    assert heat_map["layout"]["shapes"][0]["y0"] == 3.5
    assert f"{name} has" in shown(at)


@pytest.mark.skipif(CHROME is None, reason="no Chrome or Chromium on this machine")
def test_a_click_on_a_bar_chooses_the_layer_and_an_open_list_stays_open(
    analyzed: Cache, tmp_path: Path
) -> None:
    """A list closes when the page scrolls, also where charts above it grow while they load."""
    from playwright.sync_api import expect, sync_playwright

    cache = Cache(Path(shutil.copytree(analyzed.root, tmp_path / "copy")))
    with served(cache) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1280, "height": 900})
        tab.goto(f"{url}/Layers?run={job_id(SPEC)}")
        box = tab.get_by_role("combobox", name="Layer", exact=True)
        box.click(timeout=SLOW)
        expect(tab.locator(".js-plotly-plot")).to_have_count(3, timeout=SLOW)
        expect(tab.locator("[data-test-script-state=notRunning]")).to_be_visible(timeout=SLOW)
        expect(tab.get_by_role("option").first).to_be_visible()
        tab.keyboard.press("Escape")
        bar = tab.locator(".st-key-chart-layers .bars .point").nth(5).bounding_box(timeout=SLOW)
        assert bar
        x, y = bar["x"] + bar["width"] / 2, bar["y"] + bar["height"] - 5
        tab.mouse.move(x, y)
        tab.mouse.click(x, y)
        expect(box).to_have_value("features.2.conv.2.weight", timeout=SLOW)
        tab.wait_for_url("**layer=features.2.conv.2.weight**", timeout=SLOW)
        browser.close()

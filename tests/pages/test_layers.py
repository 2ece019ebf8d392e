"""The Layers page: a scan drawn, shares proposed and run, one layer, two models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.results.sensitivity import read_sensitivity
from pruning_core.settings.data import DataSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec, from_json
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.project import ROOT
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


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A comparison and the scan of its baseline, finished."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.prepare()
    for spec in (SPEC, sensitivity_only(SPEC)):
        Queue(cache.queue).submit(spec, spec.label)
        serve(cache)
    return cache


def page(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    for place in (
        "pruning_core.worker.start.ensure_worker",
        "pages.components.shell.start.start_worker",
    ):
        monkeypatch.setattr(place, lambda *_: "")
    return AppTest.from_file(str(ROOT / "pages" / "4_Layers.py"), default_timeout=120)


def told(at: AppTest) -> str:
    return " ".join(element.value for element in (*at.markdown, *at.caption, *at.info))


def test_without_a_baseline_it_says_what_next(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert "No baseline is finished yet" in told(at)


def test_everything_is_drawn(scanned: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Heat map, sparsity by layer, weights by size; the scan itself is no run to choose."""
    at = page(scanned, monkeypatch).run()
    assert not at.exception
    assert len(at.get("plotly_chart")) == 3
    assert len(at.selectbox[0].options) == 1
    assert "of 7,050 output channels are dead" in told(at)


def test_a_proposal_fills_the_table_and_runs(
    scanned: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, queue = Store(scanned), Queue(scanned.queue)
    total = 0.3
    at = page(scanned, monkeypatch).run()
    at.slider(key="total by hand").set_value(100 * total)
    next(b for b in at.button if b.label == "Propose from the scan").click().run()
    assert not at.exception
    assert "In all 30 % of these weights would go" in told(at)
    before = {job.id for job in queue.jobs(10)}
    next(b for b in at.button if b.label == "Run these shares").click().run()
    assert [box.value for box in at.error] == []
    (made,) = [job for job in queue.jobs(10) if job.id not in before]
    spec = from_json(made.spec)
    assert spec.pruning.allocation == "custom"
    assert spec.one_shot.amounts == (0.0, pytest.approx(total, abs=1e-5))
    shares = dict(entry.split("=") for entry in spec.pruning.layer_sparsities)
    sizes = read_sensitivity(sensitivity_only(SPEC), store).groupby("layer")["size"].first()
    removed = sum(float(share) * sizes[name] for name, share in shares.items())
    assert removed / sizes.sum() == pytest.approx(total, abs=1e-4)


def test_what_was_not_measured_is_not_proposed(
    scanned: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(scanned, monkeypatch).run()
    at.slider(key="total by hand").set_value(99.0)
    next(b for b in at.button if b.label == "Propose from the scan").click().run()
    assert any("Ask for less, or scan higher sparsities" in box.value for box in at.error)


def test_two_models_are_compared_by_the_worker(
    scanned: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The baseline keeps all, its half half: their overlap is one half, near enough."""
    at = page(scanned, monkeypatch).run()
    at.selectbox(key="second").select(0).run()
    assert "The worker compares them." in told(at)
    serve(scanned)
    at.run()
    assert not at.exception
    assert at.metric[0].value == "50 %"


def test_a_scan_is_started_here(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    spec: Spec = replace(SPEC, sensitivity=SensitivitySpec(), baseline_epochs=0)
    queue = Queue(cache.queue)
    queue.submit(spec, "Small")
    serve(cache)
    at = page(cache, monkeypatch).run()
    next(b for b in at.button if b.label == "Scan the layers").click().run()
    assert not at.exception
    (job,) = [job for job in queue.jobs(5) if from_json(job.spec).sensitivity.enabled]
    assert from_json(job.spec) == replace(sensitivity_only(spec), label=job.label)


def test_shares_are_proposed_from_a_whole_scan_only(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From half of the layers the total would mean something else."""
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
    (propose,) = [b for b in at.button if b.label == "Propose from the scan"]
    assert propose.disabled
    assert "After a scan they can be proposed here." in told(at)


def test_shares_belong_to_their_run(scanned: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those proposed for one model are not shown, and run, for another."""
    queue = Queue(scanned.queue)
    other = replace(SPEC, seeds=(5,), label="Other")
    queue.submit(other, "Other")
    serve(scanned)
    at = page(scanned, monkeypatch).run()
    names = {option.split(" (")[0]: i for i, option in enumerate(at.selectbox[0].options)}
    at.selectbox[0].select_index(names["Small"]).run()
    at.slider(key="total by hand").set_value(30.0)
    next(b for b in at.button if b.label == "Propose from the scan").click().run()
    assert "In all 30 %" in told(at)
    at.selectbox[0].select_index(names["Other"]).run()
    assert "In all 0 %" in told(at)
    assert next(b for b in at.button if b.label == "Run these shares").disabled


def test_what_was_measured_is_shown_when_the_files_have_moved(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    queue, folder = Queue(cache.queue), image_folder(tmp_path / "images")
    data = DataSpec(name="images", path=str(folder), image_size=32)
    queue.submit(replace(SPEC, data=data, baseline_epochs=0), "Moved")
    serve(cache)
    folder.rename(tmp_path / "elsewhere")
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert str(folder.name) in at.warning[0].value
    assert "output channels are dead" in told(at)


def test_a_pattern_has_no_scan_and_the_page_says_so(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    pruning = PruningSpec(granularity="2:4")
    Queue(cache.queue).submit(
        replace(SPEC, pruning=pruning, sensitivity=SensitivitySpec(), baseline_epochs=0), "P"
    )
    serve(cache)
    at = page(cache, monkeypatch).run()
    assert not at.exception
    assert "a scan tries several sparsities" in at.warning[0].value
    assert len(at.get("plotly_chart")) == 2


def test_a_typed_share_is_what_runs(scanned: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell of the table; every other layer keeps all."""
    queue = Queue(scanned.queue)
    at = page(scanned, monkeypatch).run()
    table = at.data_editor[0]
    name, size = table.value["layer"][3], table.value["weights"][3]
    at.session_state[table.key] = {
        "edited_rows": {3: {"removed": 40.0}},
        "added_rows": [],
        "deleted_rows": [],
    }
    at.run()
    before = {job.id for job in queue.jobs(10)}
    next(b for b in at.button if b.label == "Run these shares").click().run()
    (made,) = [job for job in queue.jobs(10) if job.id not in before]
    spec = from_json(made.spec)
    assert spec.pruning.layer_sparsities == (f"{name}=0.4",)
    whole = (
        read_sensitivity(sensitivity_only(SPEC), Store(scanned))
        .groupby("layer")["size"]
        .first()
        .sum()
    )
    assert spec.one_shot.amounts[1] == pytest.approx(0.4 * size / whole, abs=1e-6)
    queue.delete(made.id)


def test_coupled_groups_can_be_scanned_from_the_page(
    scanned: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = page(scanned, monkeypatch).run()
    at.radio(key="unit").set_value("dependency_group").run()
    assert not at.exception
    assert next(b for b in at.button if b.label == "Propose from the scan").disabled
    next(b for b in at.button if b.label == "Scan the layers").click().run()
    (made,) = [job for job in Queue(scanned.queue).jobs(10) if '"dependency_group"' in job.spec]
    serve(scanned)
    at.run()
    assert "Each coupled group of channels alone is cut, by Group magnitude (L2)" in told(at)
    Queue(scanned.queue).delete(made.id)

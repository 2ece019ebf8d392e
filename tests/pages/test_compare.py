"""Compare and Home: what they say of several data sets, doubtful baselines, damaged results."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.reports.csv_export import to_csv
from pruning_core.reports.html_report import html_report
from pruning_core.results.tables import model_notes
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.frames import comparison, frame, point
from tests.helpers.inspections import DATA, MODEL, Facts
from tests.helpers.pages import open_page, put, texts
from tests.results.test_models import result

Change = Callable[[Any, dict[str, Any]], None]


@pytest.fixture(autouse=True)
def no_worker(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pages see the test's cache, and start no process."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    monkeypatch.setattr("pruning_core.worker.start.ensure_worker", lambda *_: "")


def run(
    cache: Cache,
    spec: Spec = QUICKSTART,
    label: str = "Quick start",
    change: Change = lambda point, found: None,
) -> str:
    """A finished job whose results `change` may alter, told of each point."""
    queue, store = Queue(cache.queue), Store(cache)
    made = plan(spec, Facts(spec))
    points = {point.key: point for point in made.models}
    for stage in made.stages:
        found: dict[str, Any] = {"inspect_dataset": DATA, "inspect_model": MODEL}.get(
            stage.kind, {"notes": []}
        )
        if point := points.get(stage.key):
            found = result(round(80 * point.asked), 0.9 - 0.3 * point.asked, 2, 4)
            change(point, found)
        put(store, stage.key, stage.kind, found)
    job = queue.submit(spec, label)
    queue.expand(job, made, [stage.key for stage in made.stages])
    return job


def compare(*jobs: str) -> AppTest:
    test = open_page("pages/3_Compare.py", runs=",".join(jobs))
    assert not test.exception
    return test


def unescaped(elements: Iterable[Any]) -> list[str]:
    """What Markdown shows of texts whose signs are escaped."""
    return [element.value.replace("\\", "") for element in elements]


def shorter(spec: Spec, epochs: int) -> Spec:
    return replace(spec, baseline_epochs=epochs)


def at_chance(point: Any, found: dict[str, Any]) -> None:
    if point.strategy == "baseline":
        found |= {"accuracy": 0.11, "accuracy_low": 0.05, "accuracy_high": 0.2}


def other_images(point: Any, found: dict[str, Any]) -> None:
    found |= {"test_digest": "others"}


def test_a_baseline_at_chance_is_said_and_nothing_is_praised(cache: Cache) -> None:
    test = compare(run(cache, change=at_chance))
    (warning,) = unescaped(test.warning)
    assert "no better than chance" in warning
    assert "always naming the largest class gets 10 %" in warning
    assert len(test.metric) == 0
    assert "At most" not in texts(test)
    home = texts(open_page("app.py"))
    assert "no better than chance" in home


def test_each_data_set_has_its_own_answer(cache: Cache) -> None:
    first = run(cache)
    second = run(cache, shorter(QUICKSTART, 7), "Others", other_images)
    test = compare(first, second)
    assert unescaped(test.subheader) == [
        "Digits, 10 test images (run Quick start)",
        "Digits, 10 test images (run Others)",
    ]
    test.slider(key="tolerance").set_value(10.0).run()
    assert len(test.metric) == 12


def test_one_data_set_has_one_answer_that_names_its_run(cache: Cache) -> None:
    test = compare(run(cache), run(cache, shorter(QUICKSTART, 7), "Others"))
    test.slider(key="tolerance").set_value(10.0).run()
    assert not test.subheader
    assert [metric.label for metric in test.metric][-1] == "Run"


def test_a_note_says_which_run_and_point_it_is_of(cache: Cache) -> None:
    def skipped(point: Any, found: dict[str, Any]) -> None:
        if point.strategy == "one_shot" and point.asked == 0.9:
            found["notes"] = ["2 steps were skipped."]

    test = compare(run(cache), run(cache, shorter(QUICKSTART, 7), "Others", skipped))
    assert "Run Others, one-shot at 90 %: 2 steps were skipped." in unescaped(test.info)


def break_points(cache: Cache, job: str, n: int) -> list[str]:
    rows = [row for row in Queue(cache.queue).stages_of(job) if row.kind == "pruned"][:n]
    for row in rows:
        (cache.stage(row.key) / "manifest.json").write_text('{"result": {}}')
    return [row.key for row in rows]


def test_damaged_results_are_said_and_run_again(cache: Cache) -> None:
    job = run(cache)
    keys = break_points(cache, job, 2)
    test = compare(job)
    assert "2 results were damaged" in test.warning[0].value
    assert len(test.dataframe[0].value) == 10
    test.button(key="again").click().run()
    assert not test.exception
    rows = {row.key: row.status for row in Queue(cache.queue).stages_of(job)}
    assert {rows[key] for key in keys} == {"queued"}
    assert list(rows.values()).count("queued") == 2
    assert "damaged" not in "".join(w.value for w in test.warning)


def test_a_damaged_baseline_leaves_a_page_with_a_way_on(cache: Cache) -> None:
    job = run(cache)
    (row,) = [row for row in Queue(cache.queue).stages_of(job) if row.kind == "baseline"]
    (cache.stage(row.key) / "manifest.json").write_bytes(b"\xff\xfe")
    test = compare(job)
    assert "1 result was damaged" in test.warning[0].value
    assert "no finished point" in test.info[0].value
    assert [b.key for b in test.button if b.key == "again"]
    assert not open_page("app.py").exception


def test_a_whole_run_says_nothing_of_damage(cache: Cache) -> None:
    assert not [b for b in compare(run(cache)).button if b.key == "again"]


def test_runs_of_one_label_are_told_apart_by_what_differs(cache: Cache) -> None:
    test = compare(run(cache), run(cache, shorter(QUICKSTART, 7)))
    names = set(test.dataframe[0].value["Run"])
    assert names == {f"baseline_epochs={QUICKSTART.baseline_epochs}", "baseline_epochs=7"}


def test_several_seeds_show_their_spread(cache: Cache) -> None:
    def lucky(point: Any, found: dict[str, Any]) -> None:
        found["accuracy"] += 0.02 * point.seed

    table = compare(run(cache, replace(QUICKSTART, seeds=(0, 1)), change=lucky)).dataframe[0].value
    assert table["Mean ± sd"].tolist()[0] == "91 % ± 1.41"
    assert "Mean ± sd" not in compare(run(cache)).dataframe[0].value


def noted(strategy: str, asked: float, **changes: Any) -> dict[str, Any]:
    return point(strategy, asked, notes=["2 steps were skipped."], **changes)


def test_a_note_says_to_what_it_belongs() -> None:
    everywhere = frame(noted("baseline", 0.0), noted("one_shot", 0.5))
    assert model_notes(everywhere) == ["2 steps were skipped."]
    one = frame(point("baseline"), point("one_shot", 0.5), noted("one_shot", 0.9))
    assert model_notes(one) == ["One-shot at 90 %: 2 steps were skipped."]
    seeds = frame(point("baseline"), noted("baseline", 0.0, seed=1), noted("one_shot", 0.5, seed=1))
    assert model_notes(seeds) == ["Seed 1: 2 steps were skipped."]


def test_a_note_names_its_run_on_every_way_out() -> None:
    points = frame(comparison(), comparison(run="other", run_id="run-2", notes=["Head replaced."]))
    assert model_notes(points) == ["Run other: Head replaced."]
    assert "<li>Run other: Head replaced.</li>" in html_report(points, {}, [])
    back = pd.read_csv(io.StringIO(to_csv(points)))
    assert set(back[back["notes"] == "Head replaced."]["run"]) == {"other"}
    both = frame(
        [*comparison()[:-1], noted("one_shot_equal_budget", 0.9)],
        [noted("baseline", 0.0, run="other", run_id="run-2")],
    )
    said = "Run run, one-shot, same epochs at 90 %; run other: 2 steps were skipped."
    assert model_notes(both) == [said]


def test_many_points_of_a_note_are_counted() -> None:
    rows = [point("baseline"), *(noted("one_shot", i / 10) for i in range(1, 8))]
    assert model_notes(frame(rows))[0].endswith("at 40 % and 3 more points: 2 steps were skipped.")

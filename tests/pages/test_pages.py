"""Every page without a browser: its texts, controls and states."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import choices, live
from pages.components.setting_values import Reading, flat, from_params, nested, params
from pruning_core.common.paths import Cache
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.planning.stage import outline
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import from_dict
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts, FactsWithGroups
from tests.helpers.pages import finished, open_page, texts
from tests.helpers.project import ROOT
from tests.helpers.tune_page import run_button

PAGES = ["app.py", "pages/1_Tune.py", "pages/2_Runs.py", "pages/3_Compare.py"]


pytestmark = pytest.mark.usefixtures("no_worker")


@pytest.mark.parametrize("name", PAGES)
def test_every_page_runs_alone_with_an_empty_cache(name: str) -> None:
    """As after a deep link, before any session opened Home."""
    test = AppTest.from_file(str(ROOT / name), default_timeout=60).run()
    assert not test.exception
    assert len(test.title) == 1


@pytest.mark.parametrize("name", ["pages/2_Runs.py", "pages/3_Compare.py"])
def test_an_empty_state_says_what_comes_next(name: str) -> None:
    assert "Tune" in open_page(name).info[0].value


def test_home_shows_a_card_for_each_preset() -> None:
    test = open_page("app.py")
    assert [h.value for h in test.subheader] == [preset.title for preset in PRESETS.values()]


def test_home_runs_a_preset(cache: Cache) -> None:
    open_page("app.py").button(key="run quickstart").click().run()
    jobs = Queue(cache.queue).jobs()
    assert [job.label for job in jobs] == ["Quick start"]


def test_home_shows_the_latest_results(cache: Cache) -> None:
    finished(cache)
    text = texts(open_page("app.py")).replace("\\", "")
    assert "**Quick start**" in text
    assert [line for line in text.splitlines() if "1 point" in line]


def test_home_shows_the_newest_result_behind_any_number_of_runs_without_one(
    cache: Cache, queue: Queue
) -> None:
    """Runs that share its baseline have something to show, but no pruned model."""
    finished(cache)
    no_one_shot: dict[str, Any] = {"one_shot": {"amounts": []}}
    settings = [{"iterative": {"target": 0.5 + number / 100}} for number in range(6)]
    settings.append({"iterative": {"enabled": False}, "structured": {"enabled": True}})
    for number, changed in enumerate(settings):
        spec = from_dict(no_one_shot | changed)
        stages = plan(spec, FactsWithGroups(spec))
        models = {model.key for model in stages.models if model.target}
        done = [stage.key for stage in stages.stages if stage.key not in models]
        queue.expand(queue.submit(spec, f"Run {number}"), stages, done)
    assert len(queue.started(10)) == 8
    assert [job.label for job in queue.pruned(1)] == ["Quick start"]
    assert pictures(open_page("app.py"))[1].startswith("Test accuracy over sparsity")


def pictures(test: AppTest) -> list[str]:
    """The texts of the pictures of a page."""
    bodies = [element.proto.body for element in test.get("html")]
    return [label for body in bodies for label in re.findall(r'aria-label="([^"]*)"', body)]


def test_home_shows_what_pruning_does_the_schedules_and_the_accuracy_of_a_run(
    cache: Cache,
) -> None:
    finished(cache)
    test = open_page("app.py")
    shown = pictures(test)
    assert "90 % of them are removed" in shown[0]
    kinds = [preset.spec.iterative.enabled for preset in PRESETS.values()]
    schedules = ["Iterative, after each step" if x else "Structured, pruning ratios" for x in kinds]
    assert [text.split(":")[0] for text in shown[1:]] == [
        "Test accuracy over sparsity",
        *[f"Sparsity per pruning step. {text}" for text in schedules],
        "Test accuracy over sparsity",
    ]
    labels = {element.proto.label for element in test.get("page_link")}
    assert {"Quick start", "All runs", "Compare Quick start", "Open Quick start"} <= labels
    assert f"{live.badge('done')}" in texts(test)
    assert texts(test).count("No download.") == len(PRESETS) - 1
    assert "Needs a download first." in texts(test)


def test_home_begins_with_the_presets_until_something_has_run(queue: Queue) -> None:
    test = open_page("app.py")
    headers = [header.value for header in test.header]
    assert headers == ["Start from a preset", "This machine", "Several machines"]
    assert "benchmark --quick` compares training speed" in texts(test)
    queue.submit(QUICKSTART, "Quick start")
    test.run()
    assert [header.value for header in test.header][:2] == ["Latest result", "Running"]
    assert "No results yet. They appear here as models finish." in texts(test)


@pytest.mark.parametrize(
    ("name", "sentence", "link"),
    [
        ("3_Compare", "No finished model yet. See progress on Runs.", "Runs"),
        ("4_Layers", "No model of Second has finished yet.", "View progress of Second"),
        ("5_Export", "No model of Second has finished yet.", "View progress of Second"),
    ],
)
def test_results_are_announced_while_the_first_run_is_active(
    cache: Cache, queue: Queue, name: str, sentence: str, link: str
) -> None:
    """A link to a run that has none yet says so too, beside other runs with results."""
    test = open_page(f"pages/{name}.py")
    assert "No results yet. Start a run on Home or Tune." in texts(test)
    queue.submit(QUICKSTART, "Mine")
    shown = texts(test.run())
    assert "No results yet. They appear here as models finish." in shown
    assert f"Mine {live.badge('planning')}" in shown
    assert "View progress" in {element.proto.label for element in test.get("page_link")}
    finished(cache, QUICKSTART, "Mine")
    shown = texts(test.run())
    assert "No results yet" not in shown
    assert "Choose one or more runs." not in shown
    assert not test.exception
    second = queue.submit(replace(QUICKSTART, seeds=(7,)), "Second")
    linked = open_page(f"pages/{name}.py", run=second, runs=second)
    assert not linked.exception
    assert sentence in texts(linked)
    assert link in {element.proto.label for element in linked.get("page_link")}


def test_tune_fills_its_widgets_from_the_link() -> None:
    test = open_page("pages/1_Tune.py", **{"iterative.target": "0.8", "data.name": "digits"})
    assert test.slider(key="w.iterative.target").value == 80


EXTREMES = {
    "iterative.iterations": "40",
    "iterative.epochs": "30",
    "iterative.target": "0.9995",
    "pruning.min_density": "0.6",
    "one_shot.epochs": "80",
    "baseline_epochs": "2000",
    "data.train_size": "2000000",
}


@pytest.mark.parametrize("name", EXTREMES)
def test_tune_shows_extreme_values_of_a_link_unchanged(name: str) -> None:
    test = open_page("pages/1_Tune.py", **{name: EXTREMES[name]})
    assert not test.exception
    assert test.query_params[name] in (EXTREMES[name], [EXTREMES[name]])


def test_a_changed_preset_loses_its_name(cache: Cache) -> None:
    test = open_page("pages/1_Tune.py")
    test.slider(key="w.iterative.iterations").set_value(3).run()
    test.button(key="run").click().run()
    (job,) = Queue(cache.queue).jobs()
    assert job.label == "digits, uniform"


def test_user_texts_are_not_read_as_markdown(cache: Cache) -> None:
    finished(cache, label="*star* $x$ <b>bold</b>")
    assert "\\*star\\*" in texts(open_page("app.py"))


def test_compare_says_what_failed(cache: Cache) -> None:
    job, queue = finished(cache), Queue(cache.queue)
    key = outline(plan(QUICKSTART, Facts(QUICKSTART))).models[-1].key
    queue.lost(key)
    Store(cache).remove(key)
    row = queue.claim("t", 2)
    assert row is not None
    queue.fail(row.key, "t", "The training diverged.")
    assert "iterative 5 of 5, 90 % failed. The training diverged" in texts(
        open_page("pages/3_Compare.py", runs=job)
    )


@pytest.mark.parametrize(("page", "name"), [("2_Runs", "job"), ("3_Compare", "runs")])
def test_an_unknown_run_is_reported(cache: Cache, page: str, name: str) -> None:
    finished(cache)
    assert "There is no run" in texts(open_page(f"pages/{page}.py", **{name: "zzz"}))


def test_tune_puts_its_settings_into_the_link() -> None:
    test = open_page("pages/1_Tune.py")
    test.slider(key="w.iterative.iterations").set_value(3).run()
    assert not test.exception
    assert test.query_params["iterative.iterations"] in ("3", ["3"])


def test_a_moved_slider_starts_nothing(cache: Cache) -> None:
    test = open_page("pages/1_Tune.py")
    test.slider(key="w.iterative.target").set_value(50.0).run()
    assert Queue(cache.queue).jobs() == []


def test_tune_runs_what_it_shows(cache: Cache) -> None:
    test = open_page("pages/1_Tune.py")
    test.text_input(key="w.one_shot.amounts").set_value("0, 25").run()
    test.button(key="run").click().run()
    (job,) = Queue(cache.queue).jobs()
    assert '"amounts":[0.0,0.25]' in job.spec


@pytest.mark.parametrize("text", ["half", "150", "0, 0", "-3"])
def test_tune_explains_an_error(cache: Cache, text: str) -> None:
    test = open_page("pages/1_Tune.py")
    test.text_input(key="w.one_shot.amounts").set_value(text).run()
    assert any("One-shot sparsity levels: " in error.value for error in test.error)
    assert run_button(test).disabled


@pytest.mark.parametrize("params", [{"nonsense": "1"}, {"iterative.target": "x"}])
def test_a_broken_link_is_reported(params: dict[str, str]) -> None:
    test = open_page("pages/1_Tune.py", **params)
    assert not test.exception
    assert "link" in test.warning[0].value


def test_every_control_has_help() -> None:
    test = open_page("pages/1_Tune.py")
    kinds = [test.slider, test.selectbox, test.number_input, test.checkbox, test.text_input]
    without = [w.label for kind in kinds for w in kind if not w.help]
    assert without == []


def test_runs_shows_a_finished_job(cache: Cache) -> None:
    job = finished(cache)
    test = open_page("pages/2_Runs.py", job=job)
    assert "Finished" in texts(test)
    labels = [button.label for button in test.button]
    assert "Compare" in labels
    assert "Cancel" not in labels


def test_runs_cancels_and_retries(cache: Cache) -> None:
    queue = Queue(cache.queue)
    job = queue.submit(QUICKSTART, "waiting")
    queue.expand(job, plan(QUICKSTART, Facts(QUICKSTART)), ())
    test = open_page("pages/2_Runs.py", job=job)
    next(b for b in test.button if b.label == "Cancel").click().run()
    assert "Cancelled" in texts(test)
    next(b for b in test.button if b.label == "Resume").click().run()
    retried = queue.job(job)
    assert retried is not None
    assert retried.status == "planning"


def test_runs_shows_why_a_job_failed(cache: Cache) -> None:
    queue = Queue(cache.queue)
    job = queue.submit(QUICKSTART, "failing")
    queue.expand(job, plan(QUICKSTART, Facts(QUICKSTART)), ())
    row = queue.claim("t", 2)
    assert row is not None
    queue.fail(row.key, "t", "Traceback\nValueError: the reason")
    assert "the reason" in texts(open_page("pages/2_Runs.py", job=job))


def test_compare_draws_four_charts_findings_and_table(cache: Cache) -> None:
    job = finished(cache)
    test = open_page("pages/3_Compare.py", runs=job)
    assert not test.exception
    assert len(test.get("plotly_chart")) == 5  # and that of the verdict
    assert "Findings" in [h.value for h in test.header]
    (table,) = [one.value for one in test.dataframe if "Sparse file" in one.value]
    assert len(table) == 12
    assert "A note." in texts(test)


@pytest.mark.parametrize("axis", ["epochs", "seconds", "sparsity_weights"])
def test_compare_switches_the_horizontal_axis(cache: Cache, axis: str) -> None:
    test = open_page("pages/3_Compare.py", runs=finished(cache))
    test.selectbox(key="Compare.x").set_value(axis).run()
    assert not test.exception


def test_compare_lays_several_runs_over_each_other(cache: Cache) -> None:
    jobs = [finished(cache), finished(cache, PRESETS["recommended"].spec, "Recommended")]
    test = open_page("pages/3_Compare.py", runs=",".join(jobs))
    assert not test.exception
    (table,) = [one.value for one in test.dataframe if "Sparse file" in one.value]
    assert set(table["Run"]) == {"Quick start", "Recommended"}


def test_choices_survive_link_and_widgets() -> None:
    for preset in PRESETS.values():
        values = flat(to_dict(preset.spec))
        assert from_params(params(preset.spec)) == Reading(values)
        widgets = {name: choices.to_widget(name, value) for name, value in values.items()}
        back = {name: choices.from_widget(name, value) for name, value in widgets.items()}
        assert from_dict(nested(back)) == preset.spec

"""Compare and Home: several data sets, doubtful baselines, damaged results, notes."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from pages.components.chart import cached
from pages.components.matrix import matrix_html
from pruning_core.common.paths import Cache
from pruning_core.planning.estimate import probe
from pruning_core.planning.exports import export_stage, prediction_changes
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Outline
from pruning_core.reports.csv_export import to_csv
from pruning_core.reports.html_report import html_report
from pruning_core.results.difference_matrix import matrix
from pruning_core.results.pairs import BETWEEN_RUNS
from pruning_core.results.tables import model_notes
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.spec import Spec, from_json
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.export_page import press, shown
from tests.helpers.frames import comparison, frame, point
from tests.helpers.inspections import DATA, MODEL, Facts
from tests.helpers.latency import measurement, timed
from tests.helpers.pages import open_page, put, texts
from tests.results.test_models import result

Change = Callable[[Any, dict[str, Any]], None]


@pytest.fixture(autouse=True)
def _no_worker(no_worker: None) -> None:
    """The pages see the test's cache, and start no process."""


def run(
    cache: Cache,
    spec: Spec = QUICKSTART,
    label: str = "Quick start",
    change: Change = lambda model, result: None,
) -> str:
    """The id of a finished job. `change` may alter the result of each model."""
    queue, store = Queue(cache.queue), Store(cache)
    planned = plan(spec, Facts(spec))
    models = {model.key: model for model in planned.models}
    for stage in planned.stages:
        value: dict[str, Any] = {"inspect_dataset": DATA, "inspect_model": MODEL}.get(
            stage.kind, {"notes": []}
        )
        if model := models.get(stage.key):
            value = result(round(80 * model.target), 0.9 - 0.2 * model.target, 2, 4)
            change(model, value)
        put(store, stage.key, stage.kind, value)
    job = queue.submit(spec, label)
    queue.expand(job, planned, [stage.key for stage in planned.stages])
    return job


def compare(*jobs: str) -> AppTest:
    test = open_page("pages/3_Compare.py", runs=",".join(jobs))
    assert not test.exception
    return test


def table_of(test: AppTest) -> pd.DataFrame:
    """The table of all models."""
    return next(one.value for one in test.dataframe if "Sparse file" in one.value)


def unescaped(elements: Iterable[Any]) -> list[str]:
    """What Markdown shows of texts whose signs are escaped."""
    return [element.value.replace("\\", "") for element in elements]


def shorter(spec: Spec, epochs: int) -> Spec:
    return replace(spec, baseline_epochs=epochs)


def at_chance(model: Any, result: dict[str, Any]) -> None:
    if model.strategy == "baseline":
        result |= {"validation_accuracy": 0.11, "validation_images": 100}


def other_images(model: Any, result: dict[str, Any]) -> None:
    result |= {"test_digest": "others"}


def test_a_baseline_at_chance_causes_a_warning_and_no_best_model(cache: Cache) -> None:
    test = compare(run(cache, change=at_chance))
    assert headings(test)[0] == "No reliable answer"
    card = texts(test).replace("\\", "")
    assert "no better than chance" in card
    assert "always predicting the largest class gives 10 %" in card
    assert len(test.metric) == 0
    labels = [button.label for button in test.button]
    assert "Export this model" not in labels
    assert labels.count("Copy link") == 1
    press = next(button for button in test.button if button.label == "Copy link")
    press.click().run()
    assert any("copied-link" in element.proto.body for element in test.get("html"))
    home = texts(open_page("app.py"))
    assert "no better than chance" in home


def headings(test: AppTest) -> list[str]:
    return [header.value for header in test.header]


def test_each_data_set_has_its_verdict(cache: Cache) -> None:
    first = run(cache)
    second = run(cache, shorter(QUICKSTART, 7), "Others", other_images)
    test = compare(first, second)
    test.text_input(key="Compare.max_drop").set_value("10").run()
    assert headings(test)[:2] == ["Best model within the goal"] * 2
    captions = unescaped(test.caption)
    assert "Digits, 10 test images (run Quick start)" in captions
    assert "Digits, 10 test images (run Others)" in captions
    assert len(test.metric) == 8
    labels = [button.label for button in test.button]
    assert len(labels) == len(set(labels))


def test_the_verdict_has_figures_a_chart_and_buttons(cache: Cache) -> None:
    test = compare(run(cache), run(cache, shorter(QUICKSTART, 7), "Others"))
    assert headings(test)[0] == "No model meets the goal"
    assert len(test.metric) == 0
    test.text_input(key="Compare.max_drop").set_value("10").run()
    assert headings(test)[0] == "Best model within the goal"
    labels = [metric.label for metric in test.metric]
    assert labels == ["Sparse file", "Sparsity", "Test accuracy", "Accuracy drop, at most"]
    assert {"Export this model", "See its layers"} <= {button.label for button in test.button}
    assert "(run " in texts(test).replace("\\", "")


@pytest.mark.parametrize(
    ("button", "page"), [("Export this model", "Export"), ("See its layers", "Layers")]
)
def test_the_best_model_is_opened_by_its_address(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, button: str, page: str
) -> None:
    opened: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(
        "pages.components.verdict.switch_page", lambda name, params: opened.append((name, params))
    )
    job = run(cache)
    test = compare(job)
    test.text_input(key="Compare.max_drop").set_value("10").run()
    next(one for one in test.button if one.label == button).click().run()
    assert not test.exception
    ((name, model),) = opened
    assert (name, model["run"]) == (page, job)
    models = Outline.from_json(Queue(cache.queue).jobs()[0].outline).models
    targets = {one.key: one.target for one in models}
    assert round(targets[model["model"]], 3) == 0.369


def test_there_are_at_most_three_findings_and_a_table_of_all_pairs(cache: Cache) -> None:
    test = compare(run(cache), run(cache, shorter(QUICKSTART, 7), "Others"))
    sentences = [text for text in unescaped(test.markdown) if text.startswith("- ")]
    assert [sentence.split()[1] for sentence in sentences[:2]] == ["At", "Training"]
    assert not any("significant" in sentence for sentence in sentences[2:])
    assert any(box.label.startswith("All pairwise comparisons (") for box in test.expander)


def test_the_notes_come_after_the_verdict_and_name_their_run_and_model(cache: Cache) -> None:
    def skipped(model: Any, result: dict[str, Any]) -> None:
        if model.strategy == "one_shot" and model.target == 0.9:
            result["notes"] = ["2 steps were skipped."]

    test = compare(run(cache), run(cache, shorter(QUICKSTART, 7), "Others", skipped))
    (box,) = [box for box in test.expander if "note" in box.label]
    assert 'Run "Others", one-shot at 90 %: 2 steps were skipped.' in box.markdown[0].value


def test_the_reference_and_the_tested_sparsity_are_in_the_address(cache: Cache) -> None:
    job, other = run(cache), run(cache, shorter(QUICKSTART, 7), "Others")
    test = compare(job, other)
    own = "from the fine-tuned dense control of the same run"
    assert own in texts(test).replace("\\", "")
    test.selectbox(key="Compare.reference").set_value(job).run()
    test.selectbox(key="Compare.tested").set_value("all").run()
    test.segmented_control(key="Compare.color").set_value("strategy").run()
    params = dict(test.query_params)
    params = {name: value if isinstance(value, str) else value[0] for name, value in params.items()}
    assert (params["reference"], params["tested"], params["color"]) == (job, "all", "strategy")
    again = open_page("pages/3_Compare.py", **params)
    assert again.selectbox(key="Compare.reference").value == job
    assert "from the same model of run Quick start" in texts(again).replace("\\", "")
    wrong = open_page("pages/3_Compare.py", runs=job, reference="zz", tested="0.123")
    assert "There is no reference 'zz'" in texts(wrong).replace("\\", "")
    assert "There is no target sparsity '0.123'" in texts(wrong).replace("\\", "")


def test_an_option_with_a_new_text_is_sent_to_the_browser_again(cache: Cache) -> None:
    """With a second run the default reference gets another text, which the browser would keep."""
    jobs = [run(cache), run(cache, shorter(QUICKSTART, 2), "Other")]
    test = compare(jobs[0])
    before = test.selectbox(key="Compare.reference")
    test.multiselect(key="Compare.runs").set_value(jobs).run()
    after = test.selectbox(key="Compare.reference")
    assert (before.value, before.options[0]) != (after.value, after.options[0])
    assert after.proto.set_value
    assert after.proto.raw_value == after.options[0]
    test.run()
    assert not test.selectbox(key="Compare.reference").proto.set_value


def damage_models(cache: Cache, job: str, n: int) -> list[str]:
    rows = [row for row in Queue(cache.queue).stages_of(job) if row.kind == "pruned"][:n]
    for row in rows:
        (cache.stage(row.key) / "manifest.json").write_text('{"result": {}}')
    return [row.key for row in rows]


def test_damaged_results_are_shown_and_run_again(cache: Cache) -> None:
    job = run(cache)
    keys = damage_models(cache, job, 2)
    test = compare(job)
    assert "2 damaged results on disk" in test.warning[0].value
    assert len(table_of(test)) == 10
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
    assert "1 damaged result on disk" in test.warning[0].value
    assert "No finished model yet. See progress on Runs." in test.info[0].value
    assert [b.key for b in test.button if b.key == "again"]
    assert not open_page("app.py").exception


def test_an_intact_run_shows_no_damage(cache: Cache) -> None:
    assert not [b for b in compare(run(cache)).button if b.key == "again"]


def test_runs_of_one_label_are_named_by_the_settings_that_differ(cache: Cache) -> None:
    """In the list of runs and on the page alike, whichever of them are chosen."""
    three = [run(cache, shorter(QUICKSTART, n)) for n in (5, 7, 9)]
    names = {
        job: f"Quick start (baseline_epochs={n})" for job, n in zip(three, (5, 7, 9), strict=True)
    }
    test = compare(*three[:2])
    assert set(test.multiselect(key="Compare.runs").options) == set(names.values())
    assert set(table_of(test)["Run"]) == {names[job] for job in three[:2]}
    layers = open_page("pages/4_Layers.py", run=three[0])
    assert set(layers.selectbox(key="Layers.run").options) == set(names.values())
    home = texts(open_page("app.py")).replace("\\", "")
    assert all(name in home for name in names.values())


def test_several_seeds_show_mean_and_standard_deviation(cache: Cache) -> None:
    def lucky(model: Any, result: dict[str, Any]) -> None:
        result["accuracy"] += 0.02 * model.seed

    table = table_of(compare(run(cache, replace(QUICKSTART, seeds=(0, 1)), change=lucky)))
    assert table["Mean ± SD"].tolist()[0] == "91 % ± 1.41"
    assert "Mean ± SD" not in table_of(compare(run(cache)))


def noted(strategy: str, asked: float, **changes: Any) -> dict[str, Any]:
    return point(strategy, asked, notes=["2 steps were skipped."], **changes)


def test_a_note_names_what_it_belongs_to() -> None:
    everywhere = frame(noted("baseline", 0.0), noted("one_shot", 0.5))
    assert model_notes(everywhere) == ["2 steps were skipped."]
    one = frame(point("baseline"), point("one_shot", 0.5), noted("one_shot", 0.9))
    assert model_notes(one) == ["One-shot at 90 %: 2 steps were skipped."]
    seeds = frame(point("baseline"), noted("baseline", 0.0, seed=1), noted("one_shot", 0.5, seed=1))
    assert model_notes(seeds) == ["Seed 1: 2 steps were skipped."]


def test_a_note_names_its_run_on_every_way_out() -> None:
    points = frame(comparison(), comparison(run="other", run_id="run-2", notes=["Head replaced."]))
    assert model_notes(points) == ['Run "other": Head replaced.']
    assert "<li>Run &quot;other&quot;: Head replaced.</li>" in html_report(points, {})
    back = pd.read_csv(io.StringIO(to_csv(points)))
    assert set(back[back["notes"] == "Head replaced."]["run"]) == {"other"}
    both = frame(
        [*comparison()[:-1], noted("one_shot_equal_budget", 0.9)],
        [noted("baseline", 0.0, run="other", run_id="run-2")],
    )
    said = 'Run "run", one-shot, equal budget at 90 %; run "other": 2 steps were skipped.'
    assert model_notes(both) == [said]


def test_many_models_of_a_note_are_counted() -> None:
    rows = [point("baseline"), *(noted("one_shot", i / 10) for i in range(1, 8))]
    assert model_notes(frame(rows))[0].endswith("at 40 % and 3 more models: 2 steps were skipped.")


def test_the_words_of_the_page(cache: Cache) -> None:
    """Titles and labels are the terms of the field."""
    test = compare(run(cache, replace(QUICKSTART, correction=CorrectionSpec(True))))
    assert headings(test) == [
        "No model meets the goal",
        "Findings",
        "Next",
        "Charts",
        "Differences",
        "Latency on this machine",
        "Models one by one",
        "Training-free correction",
        "Table",
        "Downloads",
    ]
    assert test.text_input(key="Compare.max_drop").label == "Max. accuracy drop (points)"
    assert test.selectbox(key="Compare.x").label == "X axis"
    assert "Quantize all to int8" in [button.label for button in test.button]
    assert "Definitions" in [box.label for box in test.expander]


def test_every_model_is_quantized_at_a_click(cache: Cache) -> None:
    job = run(cache)
    press(compare(job), "Quantize all to int8")
    models = Outline.from_json(Queue(cache.queue).jobs()[0].outline).models
    formats = ("bitmask_int8", "onnx_int8")
    stages = [export_stage(model.key, name) for model in models for name in formats]
    rows = [Queue(cache.queue).stage(stage.key) for stage in stages]
    assert all(row and row.status == "queued" for row in rows)
    assert f"Queued; {len(stages)} left." in shown(compare(job))


def changed(cache: Cache, key: str, dense: str) -> None:
    """Publish the changed predictions of a model."""
    picture = base64.b64encode(b"png").decode()
    image = {"number": 3, "label": "<seven>", "dense": ["<seven>", 0.98], "model": ["1", 0.91]}
    value = {
        "classes": [
            {"name": "one", "images": 10, "dense": 10, "model": 9},
            {"name": "<seven>", "images": 10, "dense": 9, "model": 3},
        ],
        "lost": 7,
        "gained": 0,
        "lost_images": [{**image, "png": picture}],
        "gained_images": [],
    }
    put(Store(cache), prediction_changes(dense, key).key, "prediction_changes", value)


def test_the_slider_moves_through_the_models_in_order_of_sparsity(cache: Cache) -> None:
    job = run(cache)
    dense, *models = Outline.from_json(Queue(cache.queue).jobs()[0].outline).models
    by_key = {model.key: model.target for model in models}
    test = compare(job)
    slider = test.select_slider(key="Compare.model")
    assert [by_key[key] for key in by_key if key == slider.value] == [0.9], "the sparsest"
    chosen = next(model for model in models if model.target == 0.5)
    changed(cache, chosen.key, dense.key)
    slider.set_value(chosen.key).run()
    assert not test.exception
    assert test.query_params["model"] in (chosen.key, [chosen.key])
    assert [header.value for header in test.subheader] == [
        "Right with the dense model only (7)",
        "Right with this model only (0)",
        "Classes that lost most accuracy",
    ]
    (images,) = [one.proto.body for one in test.get("html") if 'class="images"' in one.proto.body]
    assert 'alt="Test image 3, true class &lt;seven&gt;"' in images
    assert "dense: &lt;seven&gt; (98 %)" in images
    assert "this: 1 (91 %)" in images
    (table,) = [one.value for one in test.dataframe if "This model" in one.value]
    assert list(table["Class"]) == ["<seven>", "one"]
    assert list(table["Difference (points)"]) == ["\u221260", "\u221210"]


def test_the_accuracy_and_the_latency_of_blocks_stand_side_by_side(cache: Cache) -> None:
    blocks = replace(QUICKSTART.pruning, granularity="block:4", allocation="global")
    jobs = run(cache, label="Weights"), run(cache, replace(QUICKSTART, pruning=blocks), "Blocks")
    at = press(compare(*jobs), "Measure latency")
    queue, store = Queue(cache.queue), Store(cache)
    keys = queue._all("SELECT key FROM stages WHERE kind = 'latency'")
    stages = [row for key in keys if (row := queue.stage(key["key"]))]
    dense, *models = dict.fromkeys(one["point"] for one in stages[0].settings["runs"])
    assert len(models) == 6, "three strategies at 90 %, in two runs"
    for row in stages:
        runtime = row.settings["runs"][0]["runtime"]
        pruned = [
            timed(key, "candidate", ratio=1.0, runtime=runtime, fastest=1.0 + i / 10)
            for i, key in enumerate(models, start=1)
        ]
        rows = [timed(dense, "dense", runtime=runtime, fastest=0.9), *pruned]
        put(store, row.key, row.kind, measurement(rows))
    at.run()
    assert not at.exception
    (table,) = [one.value for one in at.dataframe if "Fastest runtime" in one.value]
    by_name = {row["Model"]: row for row in table.to_dict("records")}
    assert {name.split(",")[0] for name in by_name} == {"Weights", "Blocks"}
    assert {"Weights, one-shot at 90 %", "Blocks, iterative at 90 %"} <= set(by_name)
    speedups = [row["Speed-up vs fastest dense (95 % CI)"] for row in by_name.values()]
    assert [text.split("x")[0] for text in speedups] == ["1.1", "1.2", "1.3", "1.4", "1.5", "1.6"]
    (difference,) = [name for name in table.columns if name.startswith("Difference from ")]
    assert all(row["Accuracy"] and row[difference] for row in by_name.values())


def test_changed_predictions_are_computed_without_a_click_where_the_images_are_few(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = run(cache)
    dense, *models = Outline.from_json(Queue(cache.queue).jobs()[0].outline).models
    key = prediction_changes(dense.key, models[-1].key).key

    def opened() -> AppTest:
        return open_page("pages/3_Compare.py", runs=job, model=models[-1].key)

    with monkeypatch.context() as patch:
        patch.setattr("pages.components.model_slider.PIXELS_AT_ONCE", 0)
        labels = [button.label for button in opened().button]
        assert "Find changed predictions" in labels
        assert Queue(cache.queue).stage(key) is None
    opened()
    row = Queue(cache.queue).stage(key)
    assert row
    assert row.status == "queued"


def test_a_link_to_a_model_opens_its_run(cache: Cache) -> None:
    first, second = run(cache), run(cache, shorter(QUICKSTART, 7), "Others")
    newest = next(job for job in Queue(cache.queue).jobs() if job.id == second)
    models = Outline.from_json(newest.outline).models
    test = open_page("pages/3_Compare.py", runs=f"{first},{second}", model=models[4].key)
    assert test.selectbox(key="Compare.run").value == second
    assert test.select_slider(key="Compare.model").value == models[4].key
    other = open_page("pages/3_Compare.py", runs=first, model=models[4].key)
    assert "There is no model" in texts(other)


def test_a_proposal_runs_or_opens_its_settings(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[str, dict[str, str]]] = []
    monkeypatch.setattr(
        "pages.components.next_runs.switch_page", lambda name, params: opened.append((name, params))
    )
    job = run(cache)
    test = compare(job)
    labels = [button.label for button in test.button]
    assert [label for label in labels if label.startswith("Run ")] == [
        "Run twice the epochs",
        "Run 15 % sparsity",
        "Run global allocation",
    ]
    assert "Time: " in texts(test)
    test.button(key="edit global allocation").click().run()
    assert opened[0][0] == "Tune"
    assert opened[0][1]["pruning.allocation"] == "global"
    test.button(key="run global allocation").click().run()
    assert not test.exception
    page, parameters = opened[1]
    assert page == "Runs"
    (submitted,) = [one for one in Queue(cache.queue).jobs() if one.id == parameters["job"]]
    assert submitted.label == "Quick start, global allocation"
    labels = [button.label for button in compare(job).button]
    assert "Run global allocation" not in labels, "this run exists now"


@pytest.mark.parametrize("kind", ["two runs", "no goal", "two data sets", "at chance"])
def test_something_is_proposed_in_every_case(cache: Cache, kind: str) -> None:
    jobs = [run(cache, change=at_chance) if kind == "at chance" else run(cache)]
    if kind in ("two runs", "two data sets"):
        change = other_images if kind == "two data sets" else lambda model, result: None
        name = "$Others$ *x*"
        jobs.append(run(cache, replace(shorter(QUICKSTART, 7), label=name), name, change))
    test = compare(*jobs)
    if kind == "no goal":
        test.text_input(key="Compare.max_drop").set_value("").run()
        assert headings(test)[0] == "No goal is set"
    assert "Next" in headings(test)
    names = [button.label for button in test.button]
    assert 2 <= len([name for name in names if name.startswith("Run ")]) <= 3
    assert len(set(names)) == len(names)
    assert sum("Time: " in caption for caption in unescaped(test.caption)) >= 2
    if kind == "two runs":
        test.button(key="run 3 seeds").click().run()
        assert not test.exception
        labels = {job.label for job in Queue(cache.queue).jobs() if job.id not in jobs}
        assert labels == {"Quick start, 3 seeds", "$Others$ *x*, 3 seeds"}


def test_a_run_and_the_same_with_more_seeds_are_one_way_of_pruning(cache: Cache) -> None:
    """What the proposal "three seeds" makes: the runs share seed 0."""

    def worse(model: Any, value: dict[str, Any]) -> None:
        lost = {"iterative": 25, "one_shot": 40}.get(model.strategy, 0) * (model.target > 0.8)
        right = 75 - lost - model.seed * (1 + lost // 30)
        packed = np.packbits(np.arange(80) < right).tobytes()
        value |= {"correct": base64.b64encode(packed).decode(), "accuracy": right / 80}
        value["test_images"] = 80

    one = run(cache, label="one seed", change=worse)
    three = run(cache, replace(QUICKSTART, seeds=(0, 1, 2)), "three seeds", worse)
    for jobs in ((one, three), (three, one)):
        shown = texts(compare(*jobs)).replace("\\", "")
        assert "cannot be compared" not in shown
        assert "equal budget) is better than iterative: " in shown
        assert "paired t over 3 seeds" in shown
        assert "of run one seed" not in shown


def test_runs_of_two_methods_say_what_is_compared_between_them(cache: Cache) -> None:
    pruning = replace(QUICKSTART.pruning, allocation="global")
    jobs = run(cache), run(cache, replace(QUICKSTART, pruning=pruning), "global")
    assert texts(compare(*jobs)).count(BETWEEN_RUNS) == 2, "under the findings and the table"
    assert BETWEEN_RUNS not in texts(compare(jobs[0]))


def test_a_time_that_is_not_known_is_measured(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.components.facts.DEBOUNCE_SECONDS", 0)
    test = compare(run(cache))
    test.text_input(key="Compare.max_mb").set_value("0.0001").run().run()
    assert not test.exception
    assert "Time: not measured yet." in texts(test)
    narrower = replace(QUICKSTART, model=replace(QUICKSTART.model, width=0.5))
    trial = probe(narrower, Store(cache))
    assert trial
    row = Queue(cache.queue).stage(trial.key)
    assert row
    assert row.status == "queued"


def test_the_time_of_a_proposal_follows_what_is_stored(cache: Cache) -> None:
    job = run(cache)
    for folder in cache.stages.iterdir():  # as if the run had ended some time ago
        os.utime(folder, (0, 1e9))
    test = compare(job)
    assert "Time: instant" not in texts(test)
    spec = from_json(Queue(cache.queue).jobs()[0].spec)
    longer = replace(
        spec,
        one_shot=replace(spec.one_shot, epochs=2 * spec.one_shot.epochs),
        iterative=replace(spec.iterative, epochs=2 * spec.iterative.epochs),
        structured=replace(spec.structured, epochs=2 * spec.structured.epochs or 1.0),
    )
    for stage in plan(longer, Facts(longer)).stages:
        put(Store(cache), stage.key, stage.kind, result(50, 0.9, 2, 4))
    assert "Time: instant (all results cached)." in texts(test.run())


def test_the_names_of_people_are_text_in_the_matrix() -> None:
    rows = comparison(run="<b>x</b>") + comparison(run="b", run_id="run-2")
    body = matrix_html(matrix(rows, tested=0.9))
    assert "&lt;b&gt;x&lt;/b&gt;" in body
    assert "<b>" not in body
    assert body.count('class="tested"') == 3


def test_a_result_is_made_again_when_its_key_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamlit.session_state", {})
    calls: list[int] = []
    for key in (1, 1, 2, 1):
        assert cached("x", key, partial(_called, calls, key)) == key
    assert calls == [1, 2, 1]


def _called(calls: list[int], key: int) -> int:
    calls.append(key)
    return key

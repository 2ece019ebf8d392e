"""The Tune page as a person uses it: controls, links, own images, errors, the estimate."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import choices
from pages.components.facts import inline
from pruning_core.common.paths import Cache
from pruning_core.planning.estimate import probe
from pruning_core.planning.inspections import inspect_data
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.settings import messages
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import DATA, MODEL
from tests.helpers.tune_page import tune

FLAT = choices.flat(choices.to_dict(QUICKSTART))


pytestmark = pytest.mark.usefixtures("no_worker")


def amounts(text: str) -> AppTest:
    test = tune()
    test.text_input(key="w.one_shot.amounts").set_value(text).run()
    assert not test.exception
    return test


def run_button(test: AppTest) -> Any:
    return next((button for button in test.button if button.key == "run"), None)


def captions(test: AppTest) -> str:
    return "\n".join(caption.value for caption in test.caption)


def metric(test: AppTest, label: str) -> str:
    return str(next(m.value for m in test.metric if m.label == label))


def put(store: Store, key: str, kind: str, found: object) -> None:
    with store.building(key) as folder:
        store.publish(key, folder, kind=kind, parent="", settings={}, result=found)


def inspected(cache: Cache, spec: Spec = QUICKSTART) -> Store:
    """The store after the worker has looked at the data and the model of a spec."""
    store = Store(cache)
    put(store, inspect_data(spec).key, "inspect_dataset", DATA)
    stage = probe(spec, store)
    assert stage
    put(store, stage.key, "inspect_model", MODEL)
    return store


def test_a_control_bears_its_setting_s_title() -> None:
    test = tune(**{"data.name": "images"})
    kinds = [test.slider, test.selectbox, test.number_input, test.checkbox, test.text_input]
    found = {w.key: w.label for kind in kinds for w in kind if w.key.startswith(choices.PREFIX)}
    assert found == {key: messages.title(key.removeprefix(choices.PREFIX)) for key in found}
    hidden = {"baseline_threads", "finetune_threads", "label"}
    assert {key.removeprefix(choices.PREFIX) for key in found} == set(FLAT) - hidden


def test_everything_that_can_be_pressed_or_filled_has_help() -> None:
    test = tune(**{"data.name": "images"})
    kinds = [test.slider, test.selectbox, test.number_input, test.checkbox, test.text_input]
    labels = [w.label for kind in [*kinds, test.button] for w in kind if not w.help]
    other = [*test.get("file_uploader"), *test.get("download_button")]
    labels += [w.label for w in other if not w.proto.help]
    assert labels == []


def test_fractions_are_asked_back() -> None:
    test = amounts("0, 0.3, 0.5")
    assert "One-shot amounts: Amounts are percent: did you mean 0, 30, 50?" in test.error[0].value
    assert run_button(test) is None


@pytest.mark.parametrize("text", ["half", "nan", "1e999", "3O", "x" * 5000, "--", "½"])
def test_garbage_is_echoed_briefly(text: str) -> None:
    test = amounts(text)
    assert "One-shot amounts: " in test.error[0].value
    assert "is not a list of numbers" in test.error[0].value
    assert len(test.error[0].value) < 150


def test_an_amount_of_all_is_refused_in_percent() -> None:
    said = "One-shot amounts: 100 % is not from 0 up to, but not including, 100 %."
    assert said in amounts("50, 100").error[0].value


def test_long_seeds_survive_their_field() -> None:
    test = tune(seeds="[12345678901, 2]")
    assert test.text_input(key="w.seeds").value == "12345678901, 2"
    assert run_button(test) is not None


def test_one_bad_value_in_a_link_spoils_no_other() -> None:
    test = tune(**{"iterative.target": "x", "iterative.iterations": "3", "model.width": "2"})
    (warning,) = test.warning
    assert "Iterative target: 'x'" in warning.value
    assert test.slider(key="w.iterative.iterations").value == 3
    assert test.number_input(key="w.model.width").value == 2.0
    assert test.slider(key="w.iterative.target").value == 90.0
    assert run_button(test) is not None


def test_bad_values_of_a_link_are_named_together_and_until_a_choice_changes() -> None:
    test = tune(
        **{
            "old.setting": "1",
            "one_shot.amounts": "[1.5]",
            "seeds": "[]",
            "lr_schedule_span": "pruning",
        }
    )
    (warning,) = test.run().warning
    for words in ("'old.setting'", "One-shot amounts: 150 %", "Seeds: "):
        assert words in inline(warning.value).replace("\\", "")
    assert test.selectbox(key="w.lr_schedule_span").value == "pruning"
    test.slider(key="w.iterative.iterations").set_value(4).run()
    assert not test.warning


def test_own_images_without_a_path_are_a_calm_start() -> None:
    test = tune()
    test.selectbox(key="w.data.name").set_value("images").run()
    assert not test.error
    assert "Upload a .zip or give a folder" in test.info[0].value
    assert run_button(test).disabled
    assert test.query_params["data.name"] in ("images", ["images"])
    linked = tune(**{"data.name": "images", "iterative.iterations": "3"})
    assert linked.selectbox(key="w.data.name").value == "images"
    assert not linked.warning


def test_own_images_go_on_with_a_path(tmp_path: Path) -> None:
    test = tune(**{"data.name": "images"})
    test.text_input(key="w.data.path").set_value(f" {tmp_path} ").run()
    assert not test.info
    assert not run_button(test).disabled
    assert test.query_params["data.path"] in (str(tmp_path), [str(tmp_path)])


def test_a_choice_beside_a_wrong_one_is_kept() -> None:
    test = amounts("half")
    test.slider(key="w.iterative.iterations").set_value(3).run()
    assert test.error
    assert test.query_params["iterative.iterations"] in ("3", ["3"])


def fail_inspections(cache: Cache, error: str, field: str) -> None:
    queue = Queue(cache.queue)
    while row := queue.claim("t", 2):
        queue.fail(row.key, "t", error, field)


def test_an_unknown_model_is_told_with_its_neighbours(cache: Cache) -> None:
    message = "'resnet19' is not a torchvision classification model. Did you mean resnet18?"
    test = tune(**{"model.name": "resnet19"})
    fail_inspections(cache, message, "model.name")
    test.run()
    assert f"Model: {message}" in test.error[0].value
    assert "Change Model" in captions(test)
    assert run_button(test) is None


def test_a_failed_inspection_can_be_asked_for_again(cache: Cache) -> None:
    test = tune()
    fail_inspections(cache, "Traceback\nOSError: the disk is full", "")
    test.run()
    assert "OSError: the disk is full" in test.error[0].value
    next(button for button in test.button if button.label == "Look again").click().run()
    assert not test.error
    assert Queue(cache.queue).claim("t", 2)


def test_what_a_run_waits_for_is_retried_there(cache: Cache) -> None:
    queue = Queue(cache.queue)
    queue.expand(queue.submit(QUICKSTART, "held"), plan(QUICKSTART, Store(cache)), ())
    fail_inspections(cache, "it is gone.", "data.path")
    test = tune()
    assert "press Retry" in captions(test)
    assert "Look again" not in [button.label for button in test.button]


def test_the_cost_is_measured_then_told_then_nothing(cache: Cache) -> None:
    assert metric(tune(), "Time on this machine") == "measuring"
    store = inspected(cache)
    assert metric(tune(), "Time on this machine").startswith("about ")
    for stage in plan(QUICKSTART, store).stages:
        put(store, stage.key, stage.kind, {"seconds": 1.0})
    test = tune()
    assert metric(test, "Time on this machine") == "opens at once"
    assert metric(test, "Already in the cache") == "15 of 15 stages"


def test_a_model_can_be_typed() -> None:
    test = tune(**{"model.name": "resnet19"})
    assert test.selectbox(key="w.model.name").value == "resnet19"


def test_another_optimizer_brings_its_usual_rate() -> None:
    test = tune()
    test.selectbox(key="w.finetune.optimizer").set_value("adam").run()
    assert test.number_input(key="w.finetune.lr").value == 0.001
    assert test.query_params["finetune.lr"] in ("0.001", ["0.001"])


def test_without_iterative_pruning_its_controls_rest() -> None:
    test = tune()
    test.checkbox(key="w.iterative.enabled").uncheck().run()
    resting = {slider.key for slider in test.slider if slider.disabled}
    names = ("target", "iterations", "epochs", "final_epochs")
    resting = {key for key in resting if not key.startswith("w.structured.")}
    assert resting - {"w.pruning.min_density"} == {f"w.iterative.{name}" for name in names}


def test_what_another_choice_does_not_read_rests() -> None:
    test = tune()
    boxes = {box.key: box for box in [*test.selectbox, *test.text_input]}
    read = ("w.pruning.layer_sparsities", "w.pruning.filter_norm", "w.pruning.filter_dim")
    assert [boxes[key].disabled for key in read] == [True] * 3
    linked = tune(**{"pruning.allocation": "custom", "pruning.layer_sparsities": '["*=0.9"]'})
    assert not linked.text_input(key="w.pruning.layer_sparsities").disabled
    linked = tune(**{"pruning.granularity": "filter", "pruning.filter_norm": "3"})
    assert linked.selectbox(key="w.pruning.filter_norm").value == "3"
    assert not linked.selectbox(key="w.pruning.filter_dim").disabled
    assert not linked.selectbox(key="w.pruning.filter_norm").disabled
    linked = tune(**{"pruning.granularity": "filter", "pruning.criterion": "taylor"})
    assert linked.selectbox(key="w.pruning.filter_norm").disabled
    for scope, rests in (("uniform", True), ("lamp", False)):
        linked = tune(**{"pruning.allocation": scope})
        assert linked.slider(key="w.pruning.min_density").disabled == rests
    for schedule, rests in (("cubic", True), ("rigl", False)):
        linked = tune(**{"iterative.schedule": schedule})
        assert linked.number_input(key="w.pruning.calibration_images").disabled == rests


def test_a_pattern_asks_for_its_one_cut() -> None:
    test = tune(**{"pruning.allocation": "global"})
    test.selectbox(key="w.pruning.granularity").set_value("2:4").run()
    assert not test.error
    assert test.text_input(key="w.one_shot.amounts").value == "0, 50 %"
    assert not test.checkbox(key="w.iterative.enabled").value
    assert test.selectbox(key="w.pruning.allocation").value == "uniform"
    assert test.query_params["pruning.granularity"] in ("2:4", ["2:4"])
    assert run_button(test) is not None
    test.text_input(key="w.one_shot.amounts").set_value("0, 60").run()
    assert (
        "Goes as one piece: '2 of every 4 inputs (2:4)' is one cut that removes 50%"
        in inline_of(test)
    )
    assert run_button(test) is None


def test_layers_that_a_pattern_does_not_fit_are_named_before_the_run(cache: Cache) -> None:
    inspected(cache)
    test = tune()
    assert "Not cut to" not in captions(test)
    test.selectbox(key="w.pruning.granularity").set_value("2:4").run()
    assert "Not cut to 2:4" in captions(test).replace("\\", "")
    assert "stem.weight" in captions(test)


def inline_of(test: AppTest) -> str:
    return str(test.error[0].value).replace("\\", "")


def test_what_is_spared_is_counted_and_what_matches_nothing_refused(cache: Cache) -> None:
    inspected(cache)
    test = tune(**{"pruning.exclude": '["stem"]'})
    assert "Pruned: 1 of 2 layers, 990 weights; the others are spared." in captions(test)
    test.text_input(key="w.pruning.exclude").set_value("stem, bodi.weight").run()
    assert "Spared layers: 'bodi.weight' matches no layer" in inline_of(test)
    assert "Did you mean body.weight or stem.weight?" in inline_of(test)
    assert run_button(test) is None


def test_an_empty_size_takes_all() -> None:
    test = tune(**{"data.train_size": "500"})
    assert test.number_input(key="w.data.train_size").value == 500
    test.number_input(key="w.data.train_size").set_value(None).run()
    assert not test.exception
    assert "data.train_size" not in test.query_params


def test_a_spec_file_that_is_none_changes_nothing() -> None:
    test = tune(**{"iterative.iterations": "3"})
    upload = test.get("file_uploader")[-1]
    upload.set_value(("mine.json", b'{"seeds": [-1]}', "application/json")).run()
    assert "mine.json is not used" in test.error[0].value
    assert "Seeds: " in test.error[0].value
    assert test.slider(key="w.iterative.iterations").value == 3
    assert test.run().error


def test_a_spec_file_replaces_the_choices() -> None:
    test = tune(**{"iterative.iterations": "3"})
    text = json.dumps(choices.to_dict(PRESETS["recommended"].spec)).encode()
    test.get("file_uploader")[-1].set_value(("it.json", text, "application/json")).run()
    wanted = PRESETS["recommended"].spec.iterative.iterations
    assert test.slider(key="w.iterative.iterations").value == wanted != 3
    assert test.selectbox(key="w.pruning.allocation").value == "global"


@contextmanager
def streamlit_log() -> Iterator[list[str]]:
    """What Streamlit logs as a warning or worse, but for the lack of a server in a test."""
    found: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "ScriptRunContext" not in record.getMessage():
                found.append(record.getMessage())

    handler = Keep(logging.WARNING)
    loggers = [n for n in logging.root.manager.loggerDict if n.startswith("streamlit")]
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    yield found
    for name in loggers:
        logging.getLogger(name).removeHandler(handler)


def test_using_the_page_prints_no_warning() -> None:
    with streamlit_log() as logged, warnings.catch_warnings():
        warnings.simplefilter("error")
        test = tune(**{"iterative.target": "0.9995", "model.weights": "pretrained"})
        test.selectbox(key="w.finetune.optimizer").set_value("adam").run()
        test.selectbox(key="w.data.name").set_value("images").run()
        test.selectbox(key="w.data.name").set_value("cifar10").run()
        test.slider(key="w.iterative.iterations").set_value(3).run()
    assert not test.exception
    assert logged == []


def test_images_for_the_criterion_are_asked_where_it_looks_at_any() -> None:
    test = tune()
    criterion = test.selectbox(key="w.pruning.criterion")
    assert {"Error change (Taylor)", "Flow (SynFlow)"} <= set(criterion.options)
    assert test.number_input(key="w.pruning.calibration_images").disabled
    criterion.set_value("taylor").run()
    assert not test.number_input(key="w.pruning.calibration_images").disabled


def test_movement_without_training_is_refused_in_the_page_s_words(cache: Cache) -> None:
    inspected(cache)
    test = tune(**{"pruning.criterion": "movement", "baseline_epochs": "0"})
    assert "Criterion: 'Movement' adds up" in test.error[0].value
    assert "Baseline epochs at 0" in test.error[0].value
    assert run_button(test) is None

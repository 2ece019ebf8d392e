"""The Tune page as a person uses it: widgets, links, own images, errors, the estimate."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from pages.components import choices, dataset, facts, page_store
from pages.components.setting_sections import TABS
from pages.components.setting_values import flat
from pruning_core.common import files
from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.estimate import probe
from pruning_core.planning.inspections import inspect_model
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import PRESETS, QUICKSTART
from pruning_core.planning.stage import Stage
from pruning_core.settings import messages
from pruning_core.settings.serialization import to_dict
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import MODEL
from tests.helpers.pages import put, texts
from tests.helpers.refusals import image_folder
from tests.helpers.results import result
from tests.helpers.tune_page import (
    captions,
    choose,
    error_text,
    fail_inspections,
    find_widget,
    inspected,
    metric,
    press,
    ran,
    run_button,
    tune,
    uploaders,
    widget,
    widgets,
)
from tests.helpers.workers import serve

FLAT = flat(to_dict(QUICKSTART))
AMOUNTS = "one_shot.amounts"

pytestmark = pytest.mark.usefixtures("no_worker")


def with_amounts(text: str) -> AppTest:
    return choose(tune(), AMOUNTS, text)


def test_every_setting_has_a_widget_with_its_title() -> None:
    link = {
        "data.name": "images",
        "model.weights": "mine.pt",
        "iterative.final_epochs": "1",
        "recovery.distillation_weight": "0.5",
        "correction.enabled": "true",
        "structured.enabled": "true",
        "sensitivity.enabled": "true",
    }
    variants: list[dict[str, str]] = [
        {"pruning.granularity": "filter", "pruning.allocation": "global"},
        {"pruning.criterion": "taylor", "recovery.method": "weight_rewinding"},
        {"pruning.allocation": "custom", "pruning.layer_sparsities": '["*=0.9"]'},
        {
            "iterative.schedule": "custom",
            "iterative.custom_schedule": "[0.9]",
            "iterative.iterations": "1",
        },
    ]
    labels: dict[str, str] = {}
    for more in variants:
        test = tune(**{**link, **more})
        if not labels:
            press(test, "Read them")
        for tab in TABS:
            test.session_state["Tune.tab"] = tab
            drawn = [w for w in widgets(ran(test)) if w.key.startswith(choices.PREFIX)]
            labels |= {w.key.removeprefix(choices.PREFIX): w.label for w in drawn}
    assert labels == {name: messages.title(name) for name in labels}
    # The name of the run has its own key.
    assert set(labels) == set(FLAT) - {"label"}


def test_the_tabs_stay_one_widget() -> None:
    """A click on a tab whose widget has been replaced meanwhile would be lost."""
    test, identities = tune(), set()
    for position, tab in enumerate(TABS):
        test.session_state["Tune.tab"] = tab
        (block,) = ran(test).get("tab_container")
        assert block.proto.tab_container.default_tab_index == position
        identities.add(block.proto.id)
    assert len(identities) == 1


def test_every_widget_and_button_has_help() -> None:
    test = tune(**{"data.name": "images"})
    labels = [w.label for w in [*widgets(test), *test.button] if not w.help]
    files: list[Any] = [*uploaders(test), *test.get("download_button")]
    labels += [w.label for w in files if not w.proto.help]
    assert labels == []


def test_help_is_not_read_as_markdown() -> None:
    help_text = widget(tune(**{"data.name": "images"}), "data.path").help
    assert "train/class/\\*" in help_text


def test_shares_instead_of_percent_are_questioned() -> None:
    test = with_amounts("0, 0.3, 0.5")
    assert (
        "One-shot sparsity levels: the values are percent: did you mean 0, 30, 50? To prune less "
        "than 1 %, add the sign: 0.3 %, 0.5 %." in error_text(test)
    )
    assert run_button(test).disabled


@pytest.mark.parametrize("text", ["half", "nan", "1e999", "3O", "x" * 5000, "--", "½"])
def test_unreadable_text_is_quoted_briefly(text: str) -> None:
    test = with_amounts(text)
    assert "One-shot sparsity levels: " in error_text(test)
    assert "is not a list of numbers" in error_text(test)
    assert len(error_text(test)) < 200


def test_a_sparsity_of_all_weights_is_refused_in_percent() -> None:
    error = error_text(with_amounts("50, 100"))
    assert "One-shot sparsity levels: 100 % is " in error
    assert "100 %" in error.partition(" is ")[2]


def test_an_error_keeps_the_chart_and_disables_run() -> None:
    test = with_amounts("half")
    assert len(test.get("plotly_chart")) == 1
    assert run_button(test).disabled
    assert "The link still holds the last valid settings." in captions(test)
    choose(test, AMOUNTS, "0, 50")
    assert not run_button(test).disabled


def test_long_seeds_survive_their_text_field() -> None:
    test = tune(seeds="[12345678901, 2]")
    assert widget(test, "seeds").value == "12345678901, 2"
    assert not run_button(test).disabled


def test_one_bad_value_in_a_link_changes_no_other() -> None:
    test = tune(**{"iterative.target": "x", "iterative.iterations": "3", "model.width": "2"})
    (warning,) = test.warning
    assert "Part of this link is not valid: Target sparsity: 'x' cannot be read." in warning.value
    assert widget(test, "iterative.iterations").value == 3
    assert widget(test, "model.width").value == 2.0
    assert widget(test, "iterative.target").value == 90.0
    assert not run_button(test).disabled


def test_bad_values_of_a_link_are_listed_until_a_setting_changes() -> None:
    test = tune(
        **{
            "old.setting": "1",
            AMOUNTS: "[1.5]",
            "seeds": "[]",
            "lr_schedule_span": "pruning",
        }
    )
    (warning,) = test.run().warning
    for words in ("- old.setting: ", "- One-shot sparsity levels: 150 % is", "- Seeds: "):
        assert words in warning.value
    assert widget(test, "lr_schedule_span").value == "pruning"
    assert not choose(test, "iterative.iterations", 4).warning


def test_own_images_without_a_path_are_no_error() -> None:
    test = choose(tune(), "data.name", "images")
    assert not test.error
    assert "Upload a .zip file, or enter the path of a folder." in test.info[0].value
    assert run_button(test).disabled
    assert test.query_params["data.name"] in ("images", ["images"])
    linked = tune(**{"data.name": "images", "iterative.iterations": "3"})
    assert widget(linked, "data.name").value == "images"
    assert not linked.warning


def test_own_images_run_with_a_path(tmp_path: Path) -> None:
    test = choose(tune(**{"data.name": "images"}), "data.path", f" {tmp_path} ")
    assert not test.info
    assert not run_button(test).disabled
    assert test.query_params["data.path"] in (str(tmp_path), [str(tmp_path)])


PATHS = {"data.path": {"data.name": "images"}, "model.weights": {"baseline_epochs": "0"}}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_of_a_link_waits_for_a_click(
    name: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is read and nothing is queued before it."""
    path = tmp_path / name  # no such file: reading it ends in an error
    link = {**PATHS[name], name: str(path)}

    def untouched(*_: object) -> None:
        raise AssertionError("a page must not ask for inspections yet")

    with monkeypatch.context() as patch:
        patch.setattr(facts, "request", untouched)
        test = ran(tune(**link))
    assert not test.error
    assert test.text_input[0].value == str(path)
    assert not Queue(cache.queue).busy()

    without = press(test, "Open without them")
    assert not without.warning
    assert str(path) not in json.dumps(without.query_params, default=str)
    for setting, text in PATHS[name].items():
        assert str(widget(without, setting).value) == text

    again = press(tune(**link), "Read them")
    serve(cache)
    assert str(path) in error_text(ran(again))
    assert str(path) in error_text(tune(**link)), "a confirmed path is known to the next session"


def test_a_path_that_a_run_has_used_needs_no_click(cache: Cache, tmp_path: Path) -> None:
    data = replace(QUICKSTART.data, name="images", path=str(tmp_path / "used"))
    Queue(cache.queue).submit(replace(QUICKSTART, data=data), "run")
    test = tune(**{"data.name": "images", "data.path": data.path})
    serve(cache)
    assert data.path in error_text(ran(test))


def test_a_page_lists_no_files_itself(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large folder would block it: the worker lists the files, and later lists them again."""
    folder = image_folder(tmp_path / "images")
    Image.new("RGB", (64, 32)).save(folder / "train/cat/0.png")

    def drawn(test: AppTest) -> AppTest:
        with monkeypatch.context() as patch:
            patch.setattr(files, "fingerprint", None)
            patch.setattr(os, "walk", None)
            patch.setattr(facts, "DEBOUNCE_SECONDS", 0.0)
            return ran(test)

    link = {"data.name": "images", "data.path": str(folder)}
    test = drawn(press(tune(**link), "Read them"))
    queued = Queue(cache.queue).claim("t", 2)
    assert queued is not None
    assert (queued.kind, queued.settings["path"]) == ("list_files", str(folder))
    Queue(cache.queue).release(queued.key, "t")
    for _ in range(2):
        serve(cache)
        drawn(test)
    shown = captions(test)
    assert "2 classes, 24 training images, 8 test images." in shown
    assert "Order of the classes: 0 = cat, 1 = dög." in shown
    assert "Images that are not square: 1. Center crop:" in shown
    (folder / "train/cat/new.png").write_bytes((folder / "train/cat/1.png").read_bytes())
    monkeypatch.setattr(page_store, "LISTING_SECONDS", 0.0)
    for _ in range(3):
        drawn(test)
        serve(cache)
    assert "25 training images" in captions(drawn(test))


def inspect_folder(cache: Cache, folder: Path) -> AppTest:
    """The page with the images of a folder, after the worker has inspected them."""
    test = press(tune(**{"data.name": "images", "data.path": str(folder)}), "Read them")
    return inspected_page(test, cache)


def inspected_page(test: AppTest, cache: Cache) -> AppTest:
    """The page after the worker has done all that it asks for."""
    while Queue(cache.queue).busy():
        serve(cache)
        ran(ran(test))  # what it asks for next may have to rest for a run
    return test


def test_the_page_shows_the_classes_and_examples_as_the_model_sees_them(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "DEBOUNCE_SECONDS", 0.0)
    folder = image_folder(tmp_path / "images")
    test = inspect_folder(cache, folder)
    assert "Each class has 12 training and 4 test images." in captions(test)
    *_, images = test.get("image")
    assert [image.caption for image in images.proto.imgs] == ["cat"] * 5 + ["dög"] * 5
    assert images.proto.imgs[0].alt == "train/cat/0.png, class cat"
    assert "model input, from the training images (32 x 32 pixels, center crop)" in captions(test)
    for number in range(14):
        (folder / f"train/class {number}").mkdir()
        (folder / f"test/class {number}").mkdir()
        for part in ("train", "test"):
            for copy in range(2 + number % 2):
                target = folder / part / f"class {number}" / f"{copy}.png"
                target.write_bytes((folder / "test/cat/1.png").read_bytes())
    monkeypatch.setattr(page_store, "LISTING_SECONDS", 0.0)
    ran(test)
    serve(cache)
    monkeypatch.setattr(page_store, "LISTING_SECONDS", 60.0)
    shown = captions(inspected_page(ran(test), cache))
    assert "0 = cat, 1 = class 0, " in shown
    assert "..., 15 = dög." in shown
    assert "Training + test images: cat: 12 + 4, class 0: 2 + 2, class 1: 3 + 3" in shown
    assert " and 4 more." in shown
    table = next(frame.value for frame in test.dataframe if "Class" in frame.value)
    assert list(table["Class"])[-1] == "dög"
    assert table["Training images"].sum() == 24 + 35


def test_broken_images_are_listed_and_can_be_left_out(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "DEBOUNCE_SECONDS", 0.0)
    folder = image_folder(tmp_path / "images")
    names = [f"train/cat/{i}.png" for i in range(4)]
    for name in names:
        (folder / name).write_bytes(b"<html>404</html>")
    test = inspect_folder(cache, folder)
    assert run_button(test).disabled
    assert "4 images cannot be read. Leave out, replace or remove the files" in error_text(test)
    assert "**4 images cannot be read:**" in texts(test)
    assert "- train/cat/2.png: it is a web page" in texts(test)
    assert "All 4 images" not in str(test.expander)
    monkeypatch.setattr(dataset, "BROKEN_SHOWN", 3)
    assert "- train/cat/3.png" not in texts(ran(test))
    table = next(frame.value for frame in test.dataframe if "Reason" in frame.value)
    assert list(table["File"]) == names
    for name in names[2:]:
        (folder / name).write_bytes((folder / "train/cat/5.png").read_bytes())
    inspected_page(press(test, "Check again"), cache)
    assert "2 images cannot be read. Leave out, " in error_text(test)
    inspected_page(press(test, "Leave out these 2 images"), cache)
    assert not test.error
    assert not run_button(test).disabled
    assert test.query_params["data.leave_out_broken"] in ("true", ["true"])
    assert "22 training images, 8 test images." in captions(test)
    note = "Images that cannot be read, left out: 2 (train/cat/0.png, train/cat/1.png)."
    assert note in captions(test)


def test_a_folder_that_does_not_exist_can_be_checked_again(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "DEBOUNCE_SECONDS", 0.0)
    folder = tmp_path / "images"
    test = press(tune(**{"data.name": "images", "data.path": str(folder)}), "Read them")
    serve(cache)
    assert f"{folder} does not exist" in error_text(ran(test))
    assert run_button(test).disabled
    image_folder(folder)
    next(button for button in test.button if button.label == "Check again").click()
    for _ in range(2):
        ran(test)
        serve(cache)
    assert "24 training images" in captions(ran(test))


def test_an_upload_of_the_right_size_and_other_content_is_replaced(cache: Cache) -> None:
    content = b"PK\x05\x06" + bytes(18)
    path = cache.upload(hashlib.sha256(content).hexdigest(), "mine.zip")
    path.parent.mkdir(parents=True)
    path.write_bytes(bytes(len(content)))
    test = tune(**{"data.name": "images"})
    uploaders(test)[0].set_value(("mine.zip", content, "application/zip"))
    ran(test)
    assert path.read_bytes() == content
    assert test.query_params["data.path"] in (str(path), [str(path)])


def test_an_upload_has_its_own_name_everywhere(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the page, in errors and as a choice; its digest nowhere."""
    monkeypatch.setattr(facts, "DEBOUNCE_SECONDS", 0.0)
    content, weights = b"no zip at all", b"no checkpoint"
    test = tune(**{"data.name": "images"})
    uploaders(test)[0].set_value(("cats & dogs.zip", content, "application/zip"))
    uploaders(ran(test))[1].set_value(("nets/best.pth", weights, "application/zip"))
    ran(test)
    for _ in range(2):
        serve(cache)
        ran(test)
    shown = "\n".join([texts(test), str(widget(test, "model.weights"))]).replace("\\", "")
    assert "Image folder or .zip: **cats & dogs.zip** (uploaded)" in shown
    assert "cats & dogs.zip is neither a folder nor a whole .zip file" in shown
    assert "best.pth" in widget(test, "model.weights").options
    for digest in (hashlib.sha256(part).hexdigest() for part in (content, weights)):
        assert digest not in shown
    press(test, "Remove the uploaded file")
    assert widget(test, "data.path").value == ""
    assert "cats & dogs.zip" not in texts(test)


def test_a_setting_beside_a_wrong_one_is_kept() -> None:
    test = choose(with_amounts("half"), "iterative.iterations", 3)
    assert test.error
    assert test.query_params["iterative.iterations"] in ("3", ["3"])


def test_an_unknown_model_is_refused_with_similar_names(cache: Cache) -> None:
    reason = "'{name}' is not a torchvision classification model. Did you mean resnet18?"
    test = tune(**{"model.name": "resnet19"})
    fail_inspections(cache, SpecError("model.name", reason, name="resnet19"))
    test.run()
    assert f"Model: {reason.format(name='resnet19')}" in error_text(test)
    assert "This cannot run yet. Change Model." in error_text(test)
    assert run_button(test).disabled


def test_an_error_of_the_worker_has_the_page_s_title_and_units(cache: Cache) -> None:
    test = tune(**{"pruning.allocation": "global"})
    error = SpecError(
        "pruning.min_density",
        "with {allocation} at most {most} can be pruned. Change {target}.",
        allocation=Choice("pruning.allocation", "global"),
        most=Share(0.9425),
        target=Ref("iterative.target"),
    )
    fail_inspections(cache, error)
    test.run()
    assert error_text(test).endswith(
        "Minimum density per layer: with 'Global' at most 94.25 % can be pruned. Change 'Target "
        "sparsity'."
    )
    test.session_state["Tune.tab"] = "Advanced"
    assert error_text(ran(test)).endswith("Change 'Target sparsity'. See the tab Pruning.")


def test_a_failed_inspection_can_be_requested_again(cache: Cache) -> None:
    test = tune()
    fail_inspections(cache, "Traceback\nOSError: the disk is full")
    test.run()
    assert "OSError: the disk is full" in error_text(test)
    assert run_button(test).disabled
    next(button for button in test.button if button.label == "Check again").click().run()
    assert not test.error
    assert Queue(cache.queue).claim("t", 2)


def test_only_the_value_at_which_a_slider_rests_is_inspected(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However slowly the page draws the values of a slider that is dragged."""
    clock = [1000.0]
    monkeypatch.setattr(facts.time, "monotonic", lambda: clock[0])
    store, queue = inspected(cache), Queue(cache.queue)
    test = tune()
    for number in range(30):
        clock[0] += 2.0
        test = choose(test, "model.width", 0.5 + number / 100)
    first, last = (
        inspect_model(replace(QUICKSTART, model=replace(QUICKSTART.model, width=width)), 10).key
        for width in (0.5, 0.79)
    )
    assert [row["key"] for row in queue._all("SELECT key FROM stages")] == [first]
    clock[0] += facts.DEBOUNCE_SECONDS
    test.run()
    assert {row["key"] for row in queue._all("SELECT key FROM stages")} == {first, last}
    put(store, last, "inspect_model", MODEL)
    choose(test.run(), "model.width", 0.6)
    assert len(queue._all("SELECT key FROM stages")) == 3, "the values before are finished"


def test_an_inspection_of_a_failed_run_is_retried_there(cache: Cache) -> None:
    queue = Queue(cache.queue)
    queue.expand(queue.submit(QUICKSTART, "held"), plan(QUICKSTART, Store(cache)), ())
    fail_inspections(cache, SpecError("data.path", "it does not exist."))
    test = tune()
    assert "press Retry on Runs" in captions(test)
    assert "Check again" not in [button.label for button in test.button]


def test_the_cost_is_measured_then_estimated_then_nothing(cache: Cache) -> None:
    assert metric(tune(), "Time") == "measuring"
    store = inspected(cache)
    assert re.fullmatch(r"\d.* to \d+ (s|min)", metric(tune(), "Time"))
    for stage in plan(QUICKSTART, store).stages:
        put(store, stage.key, stage.kind, result(0, 0.9, 1, 1))
    test = tune()
    assert not metric(test, "Time").startswith(("about", "measuring"))
    assert "Already computed: 15 of 15 stages." in captions(test)


def test_the_speed_is_measured_again_when_the_machine_was_busy_and_nothing_runs(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "DEBOUNCE_SECONDS", 0.0)
    store, queue = inspected(cache, {**MODEL, "core_share": 0.4}), Queue(cache.queue)
    queue.add([Stage("dataset", "", {"digest": "x"})])
    (row,) = queue._all("SELECT key FROM stages")
    queue.claim("t", 2)
    wide = metric(ran(tune()), "Time")
    assert [r["key"] for r in queue._all("SELECT key FROM stages")] == [row["key"]]
    queue.finish(row["key"], "t")
    test = ran(tune())
    again = probe(QUICKSTART, store)
    assert again
    (asked,) = queue._all("SELECT key FROM stages WHERE status = 'queued'")
    assert asked["key"] == again.key
    assert "Checking the data set and model" in captions(test)
    assert not run_button(test).disabled, "the run need not wait for it"
    put(store, again.key, "inspect_model", {**MODEL, "core_share": 0.99})
    assert metric(tune(), "Time") != wide


def test_a_model_can_be_typed() -> None:
    test = tune(**{"model.name": "resnet19"})
    assert widget(test, "model.name").value == "resnet19"


def test_another_optimizer_sets_its_usual_learning_rate() -> None:
    test = choose(tune(), "finetune.optimizer", "adam")
    assert widget(test, "finetune.lr").value == 0.001
    assert test.query_params["finetune.lr"] in ("0.001", ["0.001"])


def test_a_learning_rate_below_the_step_of_its_widget_is_kept() -> None:
    test = choose(tune(), "finetune.lr", 0.00005)
    assert widget(test, "finetune.lr").value == 0.00005
    assert test.query_params["finetune.lr"] in ("5e-05", ["5e-05"])


def test_without_iterative_pruning_its_settings_are_not_drawn() -> None:
    test = choose(tune(), "iterative.enabled", False)
    names = [name for name in FLAT if name.startswith("iterative.")]
    drawn = [name for name in names if find_widget(test, name)]
    assert drawn == ["iterative.enabled"]
    test = choose(test, "iterative.enabled", True)
    assert widget(test, "iterative.iterations").value == 5, "the values are kept"


@pytest.mark.parametrize(
    ("name", "link", "hidden"),
    [
        ("pruning.layer_sparsities", {}, True),
        (
            "pruning.layer_sparsities",
            {"pruning.allocation": "custom", "pruning.layer_sparsities": '["*=0.9"]'},
            False,
        ),
        ("pruning.filter_norm", {}, True),
        ("pruning.filter_norm", {"pruning.granularity": "filter"}, False),
        (
            "pruning.filter_norm",
            {"pruning.granularity": "filter", "pruning.criterion": "taylor"},
            True,
        ),
        # RigL joins the gradients of a filter by the norm, whatever the criterion.
        (
            "pruning.filter_norm",
            {
                "pruning.granularity": "filter",
                "pruning.criterion": "taylor",
                "iterative.schedule": "rigl",
            },
            False,
        ),
        ("pruning.filter_dim", {}, True),
        ("pruning.filter_dim", {"pruning.granularity": "filter"}, False),
        ("pruning.min_density", {"pruning.allocation": "uniform"}, True),
        ("pruning.min_density", {"pruning.allocation": "lamp"}, False),
        ("pruning.calibration_images", {"iterative.schedule": "cubic"}, True),
        ("pruning.calibration_images", {"iterative.schedule": "rigl"}, False),
        ("pruning.calibration_images", {"pruning.criterion": "taylor"}, False),
        ("structured.channel_importance", {}, True),
        ("structured.channel_importance", {"structured.enabled": "true"}, False),
        # The sensitivity analysis of dependency groups scores channels, too.
        (
            "structured.channel_importance",
            {"sensitivity.enabled": "true", "sensitivity.unit": "dependency_group"},
            False,
        ),
        (
            "structured.channel_importance",
            {"sensitivity.enabled": "true", "sensitivity.unit": "layer"},
            True,
        ),
        (
            "pruning.calibration_images",
            {
                "sensitivity.enabled": "true",
                "sensitivity.unit": "dependency_group",
                "structured.channel_importance": "taylor",
            },
            False,
        ),
        (
            "pruning.calibration_images",
            {"sensitivity.enabled": "true", "structured.channel_importance": "taylor"},
            True,
        ),
        # These enter keys also where they are not used.
        ("baseline.momentum", {"tab": "Advanced"}, False),
        ("baseline.momentum", {"tab": "Advanced", "baseline_epochs": "0"}, True),
        (
            "pruning.criterion",
            {
                "one_shot.amounts": "[0.0]",
                "iterative.enabled": "false",
                "structured.enabled": "true",
            },
            True,
        ),
        ("pruning.criterion", {"one_shot.amounts": "[0.0]"}, False),
    ],
)
def test_a_setting_without_effect_is_not_drawn(
    name: str, link: dict[str, str], hidden: bool
) -> None:
    assert (find_widget(tune(**link), name) is None) == hidden


def test_a_choice_that_is_not_valid_yet_enables_what_it_needs() -> None:
    test = choose(tune(), "pruning.allocation", "custom")
    assert "Custom per-layer sparsity: " in error_text(test)
    assert find_widget(test, "pruning.layer_sparsities")
    choose(test, "pruning.layer_sparsities", "features.*=90 %")
    assert not test.error
    assert test.query_params["pruning.layer_sparsities"]


def test_a_wrong_value_without_effect_is_no_error() -> None:
    test = tune(**{"structured.enabled": "true"})
    assert choose(test, "structured.ratios", "120").error
    assert not choose(test, "structured.enabled", False).error
    assert not run_button(test).disabled
    choose(test, "structured.enabled", True)
    assert not test.error, "the last valid value is back"


def test_an_n_m_pattern_sets_its_one_pruning_step() -> None:
    test = choose(tune(**{"pruning.allocation": "global"}), "pruning.granularity", "2:4")
    assert not test.error
    assert widget(test, AMOUNTS).value == "0, 50 %"
    assert not widget(test, "iterative.enabled").value
    assert widget(test, "pruning.allocation").value == "uniform"
    assert test.query_params["pruning.granularity"] in ("2:4", ["2:4"])
    assert not run_button(test).disabled
    choose(test, AMOUNTS, "0, 60")
    assert "Granularity: '2:4 semi-structured (N:M)' prunes 50 %" in error_text(test)
    assert run_button(test).disabled


def test_another_granularity_restores_what_a_pattern_replaced() -> None:
    test = choose(tune(), "pruning.granularity", "2:4")
    choose(test, "pruning.granularity", "kernel")
    assert widget(test, AMOUNTS).value == "0, 30, 50, 70, 90 %"
    assert widget(test, "iterative.enabled").value


def test_layers_that_a_granularity_does_not_fit_are_named_before_the_run(cache: Cache) -> None:
    inspected(cache)
    test = tune()
    assert "stem.weight" not in captions(test)
    choose(test, "pruning.granularity", "2:4")
    assert "multiple of 4: stem.weight, body.weight" in captions(test)
    choose(test, "pruning.granularity", "block:4")
    assert "do not divide by 4: stem.weight, body.weight" in captions(test)


def test_excluded_layers_are_counted_and_an_entry_without_a_match_refused(cache: Cache) -> None:
    inspected(cache)
    test = tune(**{"pruning.exclude": '["stem"]'})
    assert "Prunable: 1 of 2 layers, 990 weights. The other layers stay dense." in captions(test)
    choose(test, "pruning.exclude", "stem, bodi.weight")
    assert "Excluded layers: 'bodi.weight' matches no layer" in error_text(test)
    assert "Did you mean body.weight or stem.weight?" in error_text(test)
    assert run_button(test).disabled


def test_an_empty_number_of_images_means_all() -> None:
    test = tune(**{"data.train_size": "500"})
    assert widget(test, "data.train_size").value == "500"
    choose(test, "data.train_size", "")
    assert "data.train_size" not in test.query_params


def test_a_file_that_is_no_settings_file_changes_nothing() -> None:
    test = tune(**{"iterative.iterations": "3"})
    uploaders(test)[-1].set_value(("mine.json", b'{"seeds": [-1]}', "application/json")).run()
    assert "mine.json was not imported" in error_text(test)
    assert "Seeds: " in error_text(test)
    assert widget(test, "iterative.iterations").value == 3
    assert test.run().error


def take_away(test: AppTest) -> None:
    uploaders(test)[-1].set_value(None)


@pytest.mark.parametrize(
    "act",
    [
        lambda test: widget(test, "seeds").set_value("0, 1"),
        lambda test: widget(test, "seeds").set_value("no number"),
        lambda test: test.text_input(key="Tune.max_mb").set_value("1"),
        lambda test: test.text_input(key="run name").set_value("Mine"),
        lambda test: next(b for b in test.button if b.label == "Reset").click(),
        take_away,
    ],
    ids=["setting", "wrong setting", "goal", "name", "reset", "file taken away"],
)
def test_the_error_of_an_import_ends_with_the_next_change(act: Callable[[AppTest], object]) -> None:
    test = tune()
    uploaders(test)[-1].set_value(("mine.json", b"{", "application/json")).run()
    assert "mine.json was not imported" in error_text(ran(test))
    act(test)
    assert "was not imported" not in error_text(ran(test))


def test_the_error_of_an_import_ends_with_the_visit() -> None:
    test = tune()
    uploaders(test)[-1].set_value(("mine.json", b"{", "application/json")).run()
    test.switch_page("pages/6_Guide.py").run()
    assert "was not imported" not in error_text(test.switch_page("pages/1_Tune.py").run())


def test_a_settings_file_replaces_all_settings() -> None:
    test = tune(**{"iterative.iterations": "3"})
    text = json.dumps(to_dict(PRESETS["recommended"].spec)).encode()
    uploaders(test)[-1].set_value(("it.json", text, "application/json")).run()
    iterations = PRESETS["recommended"].spec.iterative.iterations
    assert widget(test, "iterative.iterations").value == iterations != 3
    assert widget(test, "pruning.allocation").value == "global"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("iterative.iterations", "0", "it must be at least 1 and at most 100. The page shows '5'"),
        ("iterative.target", "2", "below 100 %. The page shows '90 %' instead."),
        ("seeds", "x", "'x' cannot be read. The page shows '0' instead."),
        (
            "pruning.allocation",
            "xx",
            "custom, budget. The page shows 'Uniform' instead.",
        ),
        ("data.train_size", "-1", "it must be at least 0. The page shows 'all' instead."),
        ("nothing", "1", "nothing: there is no setting of this name. It is not used."),
    ],
)
def test_a_wrong_setting_in_a_link_says_what_is_shown_instead(
    name: str, text: str, problem: str
) -> None:
    (warning,) = tune(**{name: text}).warning
    assert problem in warning.value.replace("\\", "")


def test_the_link_line_counts_changes_and_resets_them() -> None:
    test = tune(**{"iterative.iterations": "3", "seeds": "[1]"})
    assert "2 settings changed from Quick start." in captions(test)
    next(button for button in test.button if button.label == "Reset").click().run()
    assert not test.exception
    assert widget(test, "iterative.iterations").value == 5
    assert "The settings are those of Quick start." in captions(test)


@contextmanager
def streamlit_log() -> Iterator[list[str]]:
    """Streamlit's warnings and errors, but for the lack of a server in a test."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "ScriptRunContext" not in record.getMessage():
                lines.append(record.getMessage())

    handler = Keep(logging.WARNING)
    loggers = [n for n in logging.root.manager.loggerDict if n.startswith("streamlit")]
    for name in loggers:
        logging.getLogger(name).addHandler(handler)
    yield lines
    for name in loggers:
        logging.getLogger(name).removeHandler(handler)


def test_using_the_page_prints_no_warning() -> None:
    with streamlit_log() as logged, warnings.catch_warnings():
        warnings.simplefilter("error")
        test = tune(**{"iterative.target": "0.9995", "model.weights": "pretrained"})
        choose(test, "finetune.optimizer", "adam")
        choose(test, "data.name", "images")
        choose(test, "data.name", "cifar10")
        choose(test, "iterative.iterations", 3)
    assert logged == []


def test_every_criterion_is_offered_by_its_title() -> None:
    options = set(widget(tune(), "pruning.criterion").options)
    assert {"First-order Taylor", "SynFlow", "Wanda", "Optimal Brain Damage (OBD)"} <= options


def test_movement_without_training_is_refused_in_the_page_s_words(cache: Cache) -> None:
    inspected(cache)
    test = tune(**{"pruning.criterion": "movement", "baseline_epochs": "0"})
    assert "Pruning criterion: 'Movement' accumulates" in error_text(test)
    assert "'Baseline epochs' is 0" in error_text(test)
    assert run_button(test).disabled


def preview_traces(test: AppTest) -> list[dict[str, Any]]:
    figure: dict[str, Any] = json.loads(test.get("plotly_chart")[0].proto.spec)
    return list(figure["data"])


def test_a_change_is_shown_beside_the_state_before_it(cache: Cache) -> None:
    inspected(cache)
    test = tune()
    assert not [t for t in preview_traces(test) if "before the last change" in t["name"]]
    choose(test, "iterative.iterations", 6)
    epochs = next(m for m in test.metric if m.label == "Total epochs")
    assert (epochs.value, epochs.delta) == ("46", "+4")
    previous = [t for t in preview_traces(test) if t["name"] == "before the last change"]
    assert previous[5]["y"][1] == pytest.approx(36.9043, abs=1e-4)
    assert [t for t in preview_traces(ran(test)) if "before the last change" in t["name"]]
    choose(test, "iterative.target", 80.0)
    nonzero = next(m for m in test.metric if m.label == "Non-zero weights")
    assert (nonzero.value, nonzero.delta) == ("10 %", "")


def test_a_size_of_the_goal_is_drawn_as_the_sparsity_that_it_needs(cache: Cache) -> None:
    inspected(cache)
    test = tune(max_mb="0.002")
    figure = json.loads(test.get("plotly_chart")[0].proto.spec)
    texts = [annotation["text"] for annotation in figure["layout"]["annotations"]]
    assert any(text.startswith("2.00 kB needs<br>about ") for text in texts), texts
    test.text_input(key="Tune.max_mb").set_value("0.000002")
    sentences = [box.value.replace("\\", "") for box in ran(test).info]
    assert "No sparsity reaches 2 bytes" in sentences[0]
    test.text_input(key="Tune.max_mb").set_value("small")
    assert "'small': use 0, or a number from 0.000001 to" in error_text(ran(test))
    assert not run_button(test).disabled, "the goal changes no run"


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("n" * 201, "Name of the run: this text has 201 characters; give at most 200."),
        ("two\nlines", "Name of the run: it has a line break at place 4."),
        ("\x1b[31mred", "Name of the run: it has the control character U+001B at place 1."),
        ("\u200b", "Name of the run: it has no character that can be seen."),
    ],
)
def test_a_link_with_a_name_that_cannot_be_one_is_told_at_its_field(
    queue: Queue, name: str, sentence: str
) -> None:
    test = tune(name=name)
    errors = [error.value.replace("\\", "") for error in test.error]
    assert any(error.startswith(sentence) for error in errors), errors
    assert "This cannot run yet. Change Name of the run." in errors
    assert run_button(test).disabled
    test.text_input(key=choices.RUN_NAME).set_value(" My $x$ run ")
    ran(test)
    run_button(test).click()
    ran(test)
    assert [job.label for job in queue.jobs()] == ["My $x$ run"]

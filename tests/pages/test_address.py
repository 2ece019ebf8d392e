"""The address of a page: what it restores, what it leaves out, and what it says of a bad link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import address
from pages.components.goal import read_limit
from pruning_core.common.paths import Cache
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Outline
from pruning_core.storage.jobs import Queue
from tests.helpers.pages import finished, open_page, texts

pytestmark = pytest.mark.usefixtures("no_worker")
PAGES = ("1_Tune", "2_Runs", "3_Compare", "4_Layers", "5_Export")


def params(test: AppTest) -> dict[str, str]:
    """The address that the browser would show."""
    given = test.query_params
    return {name: v[0] if isinstance(v, list) else v for name, v in given.items()}


def test_a_link_restores_all_that_compare_shows(cache: Cache) -> None:
    job = finished(cache)
    model = Outline.from_json(Queue(cache.queue).jobs()[0].outline).models[3].key
    link = {"runs": job, "max_drop": "2.5", "x": "epochs", "image": "svg"}
    link |= {"run": job, "model": model}
    test = open_page("pages/3_Compare.py", **link)
    assert test.select_slider(key="Compare.model").value == model
    assert test.text_input(key="Compare.max_drop").value == "2.5"
    assert test.selectbox(key="Compare.x").value == "epochs"
    assert params(test) == link
    test.text_input(key="Compare.max_drop").set_value("1").run()
    assert params(test) == {n: v for n, v in link.items() if n != "max_drop"}, "the default"
    test.multiselect(key="Compare.runs").set_value([]).run()
    assert params(test)["runs"] == "none", "an empty choice is not the newest run"
    test = open_page("pages/3_Compare.py", runs="none")
    assert test.multiselect(key="Compare.runs").value == []
    assert [box.value for box in test.info] == ["Choose one or more runs."]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_that_is_opened_writes_one_address(
    cache: Cache, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second one could be taken for the address of the page that is left."""
    finished(cache, replace(QUICKSTART, seeds=(0, 1)))
    finished(cache, replace(QUICKSTART, seeds=(2,)), "Other")
    written: list[dict[str, str]] = []
    monkeypatch.setattr(address, "write_address", _recorded(written))
    open_page(f"pages/{page}.py")
    assert len(written) == 1


def _recorded(written: list[dict[str, str]]) -> Callable[[dict[str, str]], None]:
    write = address.write_address

    def write_and_record(parameters: dict[str, str]) -> None:
        written.append(parameters)
        write(parameters)

    return write_and_record


def test_the_address_names_the_model_that_export_shows(cache: Cache) -> None:
    job = finished(cache)
    test = open_page("pages/5_Export.py")
    key = (
        test.selectbox(key="Export.model").select_index(1).run().selectbox(key="Export.model").value
    )
    assert params(test)["run"] == job
    assert params(test)["model"] == key
    assert open_page("pages/5_Export.py", **params(test)).selectbox(key="Export.model").value == key


@pytest.mark.parametrize(
    ("page", "name", "text", "problem"),
    [
        ("2_Runs", "page", "-1", "page '-1': use a number from 1 to"),
        ("2_Runs", "page", "9", "The list has no page 9. The page shows page 1 instead."),
        ("3_Compare", "x", "weight", "x 'weight': use one of sparsity"),
        (
            "3_Compare",
            "reference",
            "zz",
            "There is no reference 'zz'. There are 13 to choose from.",
        ),
        ("3_Compare", "color", "strategy", "does not apply: only several runs have colors"),
        (
            "4_Layers",
            "model",
            "abc",
            "There is no model 'abc'. There are 12 to choose from. The page shows iterative 5 of "
            "5, 90 % instead.",
        ),
        (
            "4_Layers",
            "unit",
            "cell",
            "There is no unit 'cell'. Use one of Layer, Dependency group (coupled layers). The "
            "page shows Layer instead.",
        ),
        ("4_Layers", "layer", "conv", "layer 'conv' does not apply: this model has no layer stat"),
        ("4_Layers", "sparsity", "12", "sparsity '12' does not apply: this model has no layer"),
        ("4_Layers", "sparsity", "100", "sparsity '100': use a number from 0 to 99.9. The page"),
        ("5_Export", "run", "zzz", "There is no run 'zzz'. The page shows 'Quick start' instead."),
        (
            "5_Export",
            "image",
            "99999",
            "There is no test image 99999. The test set has 10 images, with the numbers 0 to 9. "
            "The page shows image 0 instead.",
        ),
        ("5_Export", "image", "-1", "There is no test image -1. The test set has 10 images"),
        ("5_Export", "image", "1.5", "image '1.5': use a whole number from 0 on. The page shows"),
        ("5_Export", "threads", "1,x", "threads '1,x': use some of 1"),
        (
            "5_Export",
            "also",
            "abc",
            "There is no other model 'abc' to benchmark. The run has 10 other finished models. It "
            "is not used.",
        ),
        ("5_Export", "bundle", "zip", "bundle 'zip': use one of "),
        ("5_Export", "bundle", "onnx", "bundle 'onnx' does not apply: no file of this model"),
        ("2_Runs", "seed", "7", "There is no seed '7'. Use one of seed 0. The page shows seed 0"),
    ],
)
def test_what_is_wrong_in_a_link_is_named_until_a_choice_changes(
    cache: Cache, page: str, name: str, text: str, problem: str
) -> None:
    finished(cache)
    test = open_page(f"pages/{page}.py", **{name: text})
    assert not test.exception
    shown = texts(test).replace("\\", "")
    assert problem in shown
    (warning,) = [str(box.value) for box in test.warning if "this link" in box.value]
    assert warning.replace("\\", "").startswith("Part of this link is not valid. ")
    assert warning.replace("\\", "").endswith((" instead.", " It is not used.")), "in one sentence"
    assert text not in params(test).values()
    assert problem in texts(test.run()).replace("\\", ""), "it stays while nothing changes"


@pytest.mark.parametrize(("name", "text"), [("max_drop", "101"), ("max_mb", "a b")])
@pytest.mark.parametrize("page", ["1_Tune", "2_Runs", "3_Compare", "5_Export"])
def test_a_wrong_limit_stays_in_its_field_and_in_the_address(
    cache: Cache, page: str, name: str, text: str
) -> None:
    """Typed, or in a link: the field says what is wrong, and the link says the same."""
    finished(cache)
    typed = open_page(f"pages/{page}.py")
    key = f"{page[2:]}.{name}"
    typed.text_input(key=key).set_value(text).run()
    linked = open_page(f"pages/{page}.py", **params(typed))
    for test in (typed, linked, linked.run()):
        assert not test.exception
        assert test.text_input(key=key).value == text
        assert params(test)[name] == text
        (error,) = [str(box.value) for box in test.error]
        assert error.replace("\\", "").startswith(f"'{text}': use 0, or a number from")
        assert error.endswith("This limit is not used.")
    # The fields of Runs are in a popover.
    assert ("use 0, or a number" in " ".join(w.value for w in linked.warning)) == ("Runs" in page)
    linked.text_input(key=key).set_value("2").run()
    assert not linked.error
    assert params(linked)[name] == "2"


@pytest.mark.parametrize(
    ("page", "link", "problem"),
    [
        ("pages/4_Layers.py", {"layer": "fc"}, "layer 'fc' does not apply: no run has results"),
        ("pages/5_Export.py", {"image": "3"}, "image '3' does not apply: no run has results"),
        ("pages/3_Compare.py", {"max_mb": "1" * 41}, "use at most 40 characters"),
        ("app.py", {"max_drop": "abc"}, "max_drop 'abc': use 0, or a number from 0.01 to 100"),
        ("pages/4_Layers.py", {"run": "nothing"}, "There is no run 'nothing'."),
        ("pages/5_Export.py", {"run": "nothing", "max_mb": "1,000"}, "max_mb '1,000': use 0, or"),
        ("pages/2_Runs.py", {"search": "x" * 400}, "use at most 300 characters"),
    ],
)
def test_a_wrong_link_is_told_where_no_run_exists(
    page: str, link: dict[str, str], problem: str
) -> None:
    test = open_page(page, **link)
    assert not test.exception
    assert problem in " ".join(box.value.replace("\\", "") for box in test.warning)


@pytest.mark.parametrize(
    ("page", "name"),
    [("2_Runs", "job"), ("3_Compare", "runs"), ("4_Layers", "run"), ("5_Export", "run")],
)
def test_a_link_to_a_deleted_run_says_so_on_every_page(cache: Cache, page: str, name: str) -> None:
    job = finished(cache)
    Queue(cache.queue).delete(job)
    (warning,) = open_page(f"pages/{page}.py", **{name: job}).warning
    assert (
        "The run 'Quick start' was deleted. To restore it, choose Show: Deleted runs in the "
        "filters of Runs."
    ) in warning.value.replace("\\", "")


@pytest.mark.parametrize(
    ("text", "value"), [("", None), ("none", None), ("0", 0.0), ("2,5", 2.5), (" 1000 ", 1000.0)]
)
def test_limits_of_a_goal_are_read(text: str, value: float | None) -> None:
    assert read_limit(text, (0.01, 1e6)) == value


@pytest.mark.parametrize("text", ["1,000", "1_0", "-1", "nan", "0.001", "2e6", "small"])
def test_ambiguous_and_impossible_limits_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"use 0, or a number from 0\.01 to 1000000"):
        read_limit(text, (0.01, 1e6))


def test_parameters_of_another_page_are_dropped(cache: Cache) -> None:
    job = finished(cache)
    test = open_page("pages/2_Runs.py", job=job, image="svg", layer="x")
    assert set(params(test)) == {"job"}
    assert "not valid" not in texts(test)


def test_an_old_address_of_the_same_visit_is_no_new_link(cache: Cache) -> None:
    """After two quick moves the browser may still send the address of the first."""
    finished(cache)
    test = open_page("pages/3_Compare.py")
    test.text_input(key="Compare.max_drop").set_value("2").run()
    old = params(test)
    test.text_input(key="Compare.max_drop").set_value("3").run()
    for name, value in old.items():
        test.query_params[name] = value
    test.run()
    assert test.text_input(key="Compare.max_drop").value == "3"
    assert params(test)["max_drop"] == "3"
    test.query_params["max_drop"] = "4"
    assert test.run().text_input(key="Compare.max_drop").value == "4", "a new link counts"


def test_numbers_are_read_as_they_are_written() -> None:
    for default, text in ((1.0, "2.5"), (3, "7")):
        parameter = address.number("n", default, 0, 10)
        assert parameter.text(parameter.read(text)) == text
    with pytest.raises(ValueError, match="use a number from 0 to 10"):
        address.number("n", 3, 0, 10).read("2.5")

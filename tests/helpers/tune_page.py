"""The Tune page in a test."""

from __future__ import annotations

from typing import Any

from streamlit.testing.v1 import AppTest

from pages.components.setting_sections import tab_of
from pages.components.settings_form import key
from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache
from pruning_core.planning.estimate import probe
from pruning_core.planning.inspection_types import InspectDatasetResult
from pruning_core.planning.inspections import example_images, inspect_data
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage_types import restored
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import DATA, MODEL
from tests.helpers.pages import open_page, put


def tune(**params: str) -> AppTest:
    """The page as a link with these parameters opens it."""
    test = open_page("pages/1_Tune.py", **params)
    assert not test.exception
    return test


def ran(test: AppTest) -> AppTest:
    """The page drawn again, without an exception."""
    test.run()
    assert not test.exception
    return test


def widgets(test: AppTest) -> list[Any]:
    """All widgets that may hold a setting, those without a key too."""
    kinds = (test.slider, test.selectbox, test.number_input, test.checkbox, test.text_input)
    return [widget for kind in kinds for widget in kind]


def uploaders(test: AppTest) -> list[Any]:
    return list(test.get("file_uploader"))


def widget(test: AppTest, name: str) -> Any:
    """The widget of a setting, by the setting's dotted name; its tab is opened."""
    drawn = find_widget(test, name)
    assert drawn is not None, f"{name} is not drawn"
    return drawn


def find_widget(test: AppTest, name: str) -> Any | None:
    """As `widget`; None where the setting is not drawn, because it has no effect."""
    tab = tab_of(name)
    if tab and test.session_state["Tune.tab"] != tab:
        test.session_state["Tune.tab"] = tab
        ran(test)
    return next((w for w in widgets(test) if w.key == key(name)), None)


def choose(test: AppTest, name: str, value: Any) -> AppTest:
    """The page after its user gave the widget of a setting a value."""
    widget(test, name).set_value(value)
    return ran(test)


def press(test: AppTest, label: str) -> AppTest:
    """The page after a click on a button."""
    next(button for button in test.button if button.label == label).click()
    return ran(test)


def run_button(test: AppTest) -> Any:
    return next(button for button in test.button if button.key == "run")


def captions(test: AppTest) -> str:
    return "\n".join(caption.value for caption in test.caption)


def error_text(test: AppTest) -> str:
    """The errors of the page, without the escapes of Markdown."""
    return "\n".join(str(error.value) for error in test.error).replace("\\", "")


def metric(test: AppTest, label: str) -> str:
    return str(next(m.value for m in test.metric if m.label == label))


def inspected(cache: Cache, model: dict[str, Any] = MODEL, spec: Spec = QUICKSTART) -> Store:
    """The store after the inspections of the data and the model of a spec; no example images."""
    store = Store(cache)
    put(store, inspect_data(spec, store).key, "inspect_dataset", DATA)
    examples = example_images(spec, restored(InspectDatasetResult, DATA))
    put(store, examples.key, "example_images", {"labels": [], "names": []})
    stage = probe(spec, store)
    assert stage
    put(store, stage.key, "inspect_model", model)
    return store


def fail_inspections(cache: Cache, error: SpecError | str) -> None:
    """Fail everything that is queued, with a wrong setting or with a traceback."""
    text, field = (error.to_json(), error.field) if isinstance(error, SpecError) else (error, "")
    queue = Queue(cache.queue)
    while row := queue.claim("t", 2):
        queue.fail(row.key, "t", text, field)

"""Back, Forward and links in Chromium: the faults that once lost a choice, each in a fixed walk."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from pruning_core.common.paths import Cache
from pruning_core.storage.jobs import Queue
from pruning_core.storage.worker_record import WorkerRecord
from tests.helpers.browser import ARGUMENTS, CHROME, served
from tests.helpers.workers import until
from tests.walks.controls import choose, open_list
from tests.walks.suite import runs
from tests.walks.walk import RECORDER, SEEN, SLOW, stop_without_lock

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.skipif(not CHROME, reason="no Chrome or Chromium")
LINK = (
    "iterative.target=0.6&iterative.iterations=7&iterative.epochs=3.5&one_shot.epochs=4&"
    "baseline_epochs=9&model.width=0.35&data.image_size=48"
)
SHOWN = {
    "Target sparsity": "60",
    "Pruning steps": "7",
    "Fine-tuning epochs per step": "3.5",
    "Fine-tuning epochs (one-shot)": "4",
    "Baseline epochs": "9",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache with two finished runs."""
    return runs(tmp_path_factory.mktemp("history") / "cache")


@pytest.fixture(scope="module")
def server(cache: Cache) -> Iterator[str]:
    with served(cache) as url:
        yield url


@pytest.fixture
def page() -> Iterator[Page]:
    """A tab that records all values that the controls show."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        opened = browser.new_page(viewport={"width": 1280, "height": 900})
        opened.add_init_script(RECORDER)
        opened.set_default_timeout(SLOW)
        yield opened
        browser.close()


def settled(page: Page, title: str) -> None:
    """Wait until the page with this heading is drawn."""
    page.get_by_role("heading", level=1, name=title, exact=True).wait_for()
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')


def go(page: Page, name: str) -> None:
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()


def shows(page: Page, label: str, value: str) -> bool:
    """Whether a control shows a value, now or within the time limit."""
    from playwright.sync_api import expect

    control = page.locator(f'input[aria-label="{label}"]').first
    try:
        expect(control).to_have_value(value, timeout=SLOW)
    except AssertionError as error:
        print(error)  # the value that the control shows
        return False
    return True


def opens_run(page: Page, label: str) -> bool:
    """Whether Runs shows this run, now or within the time limit."""
    heading = page.get_by_role("heading", level=2, name=label)
    heading.wait_for()
    return heading.is_visible()


def test_a_link_shows_its_values_alone_while_the_inspections_are_slow(
    server: str, cache: Cache, page: Page
) -> None:
    page.goto(server)  # starts the worker
    settled(page, "Pruning Lab")
    worker = until(WorkerRecord(cache.queue).current, "the worker")
    stop_without_lock(worker["pid"], cache)
    try:
        for reload in (False, True):
            if reload:
                page.reload()
            else:
                page.goto(f"{server}/Tune?{LINK}")
            settled(page, "Set up a comparison")
            page.get_by_text("Checking the data set and model").first.wait_for()
            for label, value in SHOWN.items():
                assert shows(page, label, value)
            seen = page.evaluate(SEEN)
            assert {label: seen[label] for label in SHOWN} == {k: [v] for k, v in SHOWN.items()}
    finally:
        os.kill(worker["pid"], signal.SIGCONT)
    page.get_by_text("Already computed").wait_for()
    seen = page.evaluate(SEEN)
    assert {label: seen[label] for label in SHOWN} == {k: [v] for k, v in SHOWN.items()}


def test_back_returns_to_the_choices_of_tune_in_one_step(server: str, page: Page) -> None:
    page.goto(f"{server}/Guide")
    settled(page, "Guide")
    go(page, "Tune")
    settled(page, "Set up a comparison")
    slider = page.get_by_role("slider", name="Pruning steps").first
    for _ in range(3):
        slider.press("ArrowRight")
    assert shows(page, "Pruning steps", "8")
    name = page.get_by_label("Name of the run", exact=True)
    name.fill("Mine")
    name.press("Enter")
    page.wait_for_url("**name=Mine**")
    go(page, "Runs")
    settled(page, "Runs")
    page.go_back()
    settled(page, "Set up a comparison")
    assert shows(page, "Pruning steps", "8")
    assert shows(page, "Name of the run", "Mine")
    page.go_back()
    settled(page, "Guide")
    page.go_forward()
    settled(page, "Set up a comparison")
    assert shows(page, "Pruning steps", "8")


def test_back_returns_to_the_goal_that_the_next_page_shares(server: str, page: Page) -> None:
    page.goto(f"{server}/Tune")
    settled(page, "Set up a comparison")
    size = page.get_by_label("Max. size (MB)", exact=True)
    size.fill("0.5")
    size.press("Enter")
    page.wait_for_url("**/Tune?max_mb=0.5")
    go(page, "Runs")
    settled(page, "Runs")
    page.go_back()
    settled(page, "Set up a comparison")
    assert page.url.endswith("/Tune?max_mb=0.5")
    assert shows(page, "Max. size (MB)", "0.5")


@pytest.mark.parametrize("ending", ["Enter", ""])
def test_a_setting_in_a_tab_survives_a_look_at_another_tab(
    server: str, page: Page, ending: str
) -> None:
    page.goto(f"{server}/Tune")
    settled(page, "Set up a comparison")

    def open_tab(name: str, label: str) -> Locator:
        page.get_by_role("tab", name=name, exact=True).click()
        field = page.get_by_label(label, exact=True).first
        field.wait_for()
        settled(page, "Set up a comparison")
        return field

    for value in ("0.5", "0.7"):
        momentum = open_tab("Fine-tuning", "Momentum")
        momentum.fill(value)
        if ending:  # else the click on the tab is what ends the edit
            momentum.press(ending)
        open_tab("Advanced", "Split seed")
        page.wait_for_url(f"**finetune.momentum={value}**")
        open_tab("Fine-tuning", "Momentum")
        assert shows(page, "Momentum", value)
        assert f"finetune.momentum={value}" in page.url


def select_first(page: Page, label: str) -> str:
    """Choose the first option of a select box. Returns it."""
    text = open_list(page, label).first.inner_text().strip()
    choose(page, label, text)
    return text


def test_back_returns_to_the_run_and_to_the_choices_of_each_page(
    server: str, cache: Cache, page: Page
) -> None:
    newest, oldest = Queue(cache.queue).jobs(2)
    page.goto(f"{server}/Runs?job={oldest.id}")
    settled(page, "Runs")
    assert opens_run(page, oldest.label)
    page.goto(f"{server}/Compare?runs={newest.id}")
    settled(page, "Compare")
    drop = page.get_by_label("Max. accuracy drop (points)", exact=True)
    drop.fill("2.5")
    drop.press("Enter")
    page.wait_for_url("**max_drop=2.5**")
    choose(page, "X axis", "Fine-tuning epochs")
    page.wait_for_url("**x=epochs**")
    for name in ("Export", "Layers"):
        go(page, name)
        settled(page, name)
        before = page.url
        chosen = select_first(page, "Model")
        page.wait_for_function("before => location.href !== before", arg=before)
        assert shows(page, "Model", chosen)
        page.reload()
        settled(page, name)
        assert shows(page, "Model", chosen)
    for name, label, value in (
        ("Export", "Model", chosen),
        ("Compare", "Max. accuracy drop (points)", "2.5"),
    ):
        page.go_back()
        settled(page, name)
        assert shows(page, label, value)
    assert shows(page, "X axis", "Fine-tuning epochs")
    page.go_back()
    settled(page, "Runs")
    assert opens_run(page, oldest.label)


@pytest.mark.parametrize(
    "link", ["Runs?job=nothing", "Compare?runs=nothing", "Layers?run=nothing", "Export?run=nothing"]
)
def test_a_wrong_id_is_told(server: str, page: Page, link: str) -> None:
    page.goto(f"{server}/{link}")
    message = page.get_by_text("There is no run 'nothing'").first
    message.wait_for()
    assert message.is_visible()

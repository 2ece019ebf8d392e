"""Accessibility in Chromium: axe-core on all pages, landmarks, names, and Run by keyboard.

npm install axe-core
AXE_CORE=node_modules/axe-core/axe.min.js pytest tests/pages/test_accessibility.py
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pages.components.links import PAGES
from pruning_core.common.paths import Cache
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage.jobs import Queue
from pruning_core.storage.worker_record import WorkerRecord
from pruning_core.worker import start
from tests.helpers.browser import ARGUMENTS, CHROME, served
from tests.helpers.queues import claim, submit
from tests.helpers.workers import ONE_CUT, finished_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(os.environ.get("AXE_CORE", ""))
SLOW = 240_000
SETTLING = 120_000
MOST_TABS = 25
WIDTHS = (1280, 400)
pytestmark = pytest.mark.skipif(not CHROME, reason="no Chrome or Chromium")
# Findings of axe-core that stop people: https://github.com/dequelabs/axe-core
FINDINGS = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter(one => ["serious", "critical"].includes(one.impact))
    .map(one => `${one.id}: ${one.nodes.slice(0, 3).map(node => node.html.slice(0, 120))}`)"""
# Again after a second, up to ten times: what is drawn again is dimmed meanwhile.
SETTLED_FINDINGS = f"""async () => {{
    let findings = [];
    for (let tries = 0; tries < 10; tries++) {{
        findings = await ({FINDINGS})();
        if (!findings.length) break;
        await new Promise(done => setTimeout(done, 1000));
    }}
    return findings;
}}"""
# axe-core reads the contrast of no text that one has to scroll to.
HEIGHT = """() => document.querySelector('[data-testid="stMain"]').scrollHeight"""
OPEN_ALL = """() => document.querySelectorAll("details:not([open]) > summary")
    .forEach(one => one.click())"""
HEADINGS = """() => [...document.querySelectorAll("h1, h2, h3, h4")]
    .filter(one => one.checkVisibility()).map(one => Number(one.tagName[1]))"""
BUTTONS = """() => [...document.querySelectorAll('[data-testid="stMain"] button')]
    .filter(one => one.checkVisibility() && !one.closest('[data-stale="true"]'))
    .map(one => (one.ariaLabel || one.innerText).trim())"""
# Whether no two buttons have one name; while a part is drawn anew it may stand in the page twice.
DISTINCT = f"""() => {{
    const names = ({BUTTONS})().filter(Boolean);
    return new Set(names).size === names.length;
}}"""
# Whether each chart has a text; a chart that is drawn gets it a moment later.
CHARTS = """() => [...document.querySelectorAll('[data-testid="stPlotlyChart"]')]
    .every(one => one.ariaLabel ?? one.querySelector("[aria-label]")?.ariaLabel)"""
# The names of what the tab key visits, in its order.
STOPS = """() => [...document.querySelectorAll(
        "a[href], button:enabled, input:enabled, textarea:enabled, summary, [tabindex]")]
    .filter(one => one.tabIndex >= 0 && one.checkVisibility())
    .map(one => (one.ariaLabel || one.innerText || one.tagName).trim())"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache with two finished runs, which share their baseline; "A run" is the newest."""
    folder = tmp_path_factory.mktemp("accessibility") / "cache"
    finished_run(folder, replace(ONE_CUT, one_shot=OneShotSpec((0.0, 0.9), 1.0)), "More epochs")
    return finished_run(folder, ONE_CUT, "A run")


@pytest.fixture(scope="module")
def several_runs(cache: Cache) -> str:
    """Compare with both runs: a matrix, a table of differences, a legend, a color control."""
    return f"Compare?runs={','.join(job.id for job in Queue(cache.queue).started(2))}"


@pytest.fixture(scope="module")
def server(cache: Cache) -> Iterator[str]:
    with served(cache) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        yield launched
        launched.close()


def opened(browser: Browser, url: str, name: str, scheme: str = "light", width: int = 1280) -> Page:
    """A page that has been drawn to its end."""
    path = "" if name == "Home" else name
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]
    page.set_default_timeout(SLOW)
    page.goto(f"{url}/{path}")
    page.wait_for_selector("h1")
    # These pages draw themselves again when both models have run.
    if name.startswith("Compare"):
        page.get_by_role("heading", name="Right with the dense model only").wait_for()
    if name == "Export":
        page.get_by_role("button", name="Fullscreen: predictions of This model").wait_for()
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    return page


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: see the top of this module")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    server: str, browser: Browser, several_runs: str, scheme: str
) -> None:
    """On a wide and on a narrow screen as tall as the page, with all expanders open."""
    found: dict[str, list[str]] = {}
    for name in (*PAGES, several_runs):
        page = opened(browser, server, name, scheme)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        page.evaluate(OPEN_ALL)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.set_viewport_size({"width": width, "height": page.evaluate(HEIGHT)})
            if findings := page.evaluate(SETTLED_FINDINGS):
                found[f"{name}, {width} px"] = findings
        page.close()
    assert found == {}


def test_pages_have_landmarks_headings_in_order_and_buttons_of_their_own_name(
    server: str, browser: Browser, several_runs: str
) -> None:
    from playwright.sync_api import TimeoutError, expect

    for name in (*PAGES, several_runs):
        page = opened(browser, server, name)
        navigation = page.get_by_role("navigation", name="Pages")
        link = navigation.get_by_role("link", name=name.partition("?")[0], exact=True)
        expect(link).to_have_attribute("aria-current", "page", timeout=SLOW)
        assert navigation.locator("[aria-current]").count() == 1, name
        levels = page.evaluate(HEADINGS)
        assert levels[0] == 1, name
        assert all(after - before <= 1 for before, after in pairwise(levels))
        with suppress(TimeoutError):  # then the repeated names are listed below
            page.wait_for_function(DISTINCT, timeout=SETTLING)
        repeated = [text for text, n in Counter(page.evaluate(BUTTONS)).items() if text and n > 1]
        assert repeated == [], name
        page.wait_for_function(CHARTS)
        page.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Iterator[tuple[Queue, str, str]]:
    """A queue with a job that no worker computes, the id of the job, and a server that shows it."""
    cache = Cache(tmp_path / "cache")
    cache.prepare()
    queue, record = Queue(cache.queue), WorkerRecord(cache.queue)
    record.register("t", start.code_digest())  # this process, so that the pages start none
    job, _ = submit(queue)
    with served(cache) as url:
        try:
            yield queue, job, url
        finally:
            record.unregister("t")


def test_what_changes_is_read_out_the_focus_is_visible_and_the_guide_adds_no_entry(
    waiting: tuple[Queue, str, str], browser: Browser
) -> None:
    from playwright.sync_api import expect

    queue, job, url = waiting
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(SLOW)
    page.goto(f"{url}/Runs?job={job}")
    stages = len(queue.stages_of(job))
    progress = page.get_by_role("status").filter(has_text="stages")
    expect(progress).to_contain_text(f"0 of {stages} stages", timeout=SLOW)
    active = page.locator(".st-key-activity[role=status]")
    expect(active).to_contain_text("1 waiting", timeout=SLOW)
    # A region is read out when it changes, and not when it is replaced.
    page.evaluate(
        "() => { for (const one of document.querySelectorAll('[role=status]'))"
        " one.dataset.before = 'yes'; }"
    )
    queue.finish(claim(queue), "t")
    key = claim(queue)
    expect(progress).to_contain_text(f"1 of {stages} stages", timeout=SLOW)
    expect(active).to_contain_text("1 running", timeout=SLOW)
    for region in (progress, active):
        expect(region).to_have_attribute("data-before", "yes")
    queue.fail(key, "t", "Traceback\nStageError: The disk said no.")
    expect(page.get_by_role("status").filter(has_text="run has failed.")).not_to_have_count(
        0, timeout=SLOW
    )
    error = page.get_by_role("alert").filter(has_text="The disk said no.")
    expect(error).to_be_visible(timeout=SLOW)

    links = page.get_by_role("navigation", name="Pages").get_by_role("link")
    current = links.and_(page.locator("[aria-current=page]"))
    style = "one => { const {outlineStyle, outlineWidth, backgroundColor} = getComputedStyle(one);"
    style += " return [outlineStyle, outlineWidth, backgroundColor]; }"
    calm = current.evaluate(style)
    links.first.focus()
    page.keyboard.press("Tab")  # the browser shows the focus to those who use the keyboard
    focused = page.locator(":focus").evaluate(style)
    assert page.locator(":focus").get_attribute("aria-current") is None
    assert focused[:2] == ["solid", "3px"]
    assert calm[0] == "none"
    assert focused != calm
    page.keyboard.press("Tab")
    assert page.locator(":focus").evaluate(style) == [*focused[:2], calm[2]]

    entries = page.evaluate("history.length")
    page.goto(f"{url}/Guide?topic=latency&image=svg&layer=x")
    page.wait_for_url("**/Guide?topic=latency")
    assert page.evaluate("history.length") == entries + 1
    page.get_by_role("link", name="Metrics", exact=True).click()
    page.wait_for_url("**/Guide?topic=metrics")
    assert page.evaluate("history.length") == entries + 2
    page.close()


def test_run_is_reached_by_the_keyboard(server: str, browser: Browser) -> None:
    page = opened(browser, server, "Tune")
    page.get_by_text("Already computed").wait_for()
    for label in (
        "Run",
        "Reset",
    ):  # the browser loads the code of a kind of element when it needs it
        page.get_by_role("button", name=label, exact=True).wait_for()
    page.get_by_role("link", name="Guide", exact=True).wait_for()
    page.get_by_label("Seeds", exact=True).first.wait_for()
    stops: list[str] = page.evaluate(STOPS)
    assert "Run" in stops
    assert stops.index("Run") < MOST_TABS
    page.close()

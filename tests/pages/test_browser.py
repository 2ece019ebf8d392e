"""A real browser: deep link, tune, run, watch, compare, download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import pandas as pd
import pytest

from pruning_core.common.paths import Cache
from pruning_core.planning.presets import QUICKSTART
from pruning_core.storage.jobs import Queue
from tests.helpers.browser import ARGUMENTS, CHROME, log_of, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SLOW = 240_000
NARROW = 400
PAGES = {"Tune": "Set up a comparison", "Runs": "Runs", "Compare": "Compare"}
TINY = {
    "data.train_size": 240,
    "data.test_size": 100,
    "model.width": 0.35,
    "baseline_epochs": 2,
    "baseline_replicas": 1,
    "one_shot.amounts": "[0.0, 0.5]",
    "one_shot.epochs": 1,
    "iterative.epochs": 1,
}

pytestmark = pytest.mark.skipif(CHROME is None, reason="no Chrome or Chromium on this machine")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """The cache of the server, which is empty at first."""
    empty = Cache(tmp_path_factory.mktemp("browser"))
    empty.prepare()
    return empty


@pytest.fixture(scope="module")
def server(cache: Cache) -> Iterator[str]:
    """A server of its own."""
    with served(cache) as url:
        yield url


def test_from_a_link_to_a_download(server: str, cache: Cache, tmp_path: Path) -> None:
    from playwright.sync_api import Page, expect, sync_playwright

    outside: list[str] = []

    def copy_link(page: Page) -> None:
        """The page says that the link is copied only where the browser has done it."""
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        button, said = page.get_by_role("button", name="Copy link"), page.locator("#copied-link")
        button.click()
        expect(said).to_have_text("Link copied.", timeout=SLOW)
        assert page.evaluate("navigator.clipboard.readText()") == page.url
        page.evaluate(
            "() => { navigator.clipboard.writeText = () => Promise.reject();"
            " document.execCommand = () => false; }"
        )
        button.click()
        expect(said).to_contain_text("The browser did not copy the link.", timeout=SLOW)
        expect(said.get_by_role("textbox")).to_have_value(page.url, timeout=SLOW)

    def tune(page: Page) -> None:
        page.goto(f"{server}/Tune?{urlencode(TINY)}")
        expect(page.get_by_role("heading", name=PAGES["Tune"])).to_be_visible(timeout=SLOW)
        slider = page.get_by_role("slider", name="Pruning steps").first
        expect(page.locator(".st-key-figures").get_by_text("about").first).to_be_visible(
            timeout=SLOW
        )
        for iterations in (4, 3, 2):
            slider.press("ArrowLeft")
            page.wait_for_url(f"**iterative.iterations={iterations}&**", timeout=SLOW)
        copy_link(page)
        page.get_by_role("button", name="Run", exact=True).click()

    def watch(page: Page) -> None:
        expect(page.get_by_role("heading", name="Runs")).to_be_visible(timeout=SLOW)
        run = page.get_by_role("heading", level=2)
        expect(run.get_by_text("Finished", exact=True)).to_be_visible(timeout=SLOW)
        page.get_by_role("button", name="Compare").click()

    def compare(page: Page) -> pd.DataFrame:
        expect(page.get_by_role("heading", name="Findings")).to_be_visible(timeout=SLOW)
        expect(page.locator(".js-plotly-plot")).to_have_count(4, timeout=SLOW)
        image_format, camera = page.get_by_text("Image format"), page.locator(".modebar-btn")
        for width, visible in ((NARROW, False), (1280, True)):
            page.set_viewport_size({"width": width, "height": 900})
            expect(image_format.first).to_be_visible(visible=visible, timeout=SLOW)
            expect(camera.first).to_be_visible(visible=visible, timeout=SLOW)
        with page.expect_download() as waiting:
            page.get_by_role("button", name="CSV", exact=True).click()
        waiting.value.save_as(tmp_path / "points.csv")
        return pd.read_csv(tmp_path / "points.csv")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda r: outside.append(r.url) if foreign(r.url) else None)
        other = browser.new_page()
        other.goto(f"{server}/Compare")
        expect(other.get_by_text("Start a run on Home or Tune.")).to_be_visible(timeout=SLOW)
        tune(page)
        watch(page)
        # It was opened before there was a result, and was not touched since.
        expect(other.get_by_role("heading", name="Findings").first).to_be_visible(timeout=SLOW)
        other.close()
        frame = compare(page)
        widths = narrow_widths(browser, server)
        browser.close()
    assert widths == dict.fromkeys(PAGES, NARROW)
    log = log_of(cache).read_text().lower()
    assert [word for word in ("warning", "deprecat", "traceback") if word in log] == []
    assert frame["strategy"].value_counts().to_dict() == {
        "one_shot": 2,
        "iterative": 2,
        "baseline": 1,
        "one_shot_equal_budget": 1,
    }
    assert outside == []
    zeros = frame["sparsity_model"] * frame["parameters"]
    assert zeros.round(4).tolist() == (frame["parameters"] - frame["nonzero"]).tolist()
    assert frame["sparsity_asked"].max() == pytest.approx(0.9)


def test_a_narrow_screen_keeps_the_effect_of_a_slider_and_run_visible(server: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": NARROW, "height": 800})
        page.goto(f"{server}/Tune")
        run = page.get_by_role("button", name="Run", exact=True)
        expect(run).to_be_in_viewport(timeout=SLOW)
        slider = page.get_by_role("slider", name="Pruning steps").first
        slider.press("ArrowRight")
        summary = page.locator(".st-key-summary").first
        expect(summary).to_contain_text("46 epochs", timeout=SLOW)
        control = page.get_by_role("group", name="Pruning steps")
        for part in (control, summary, summary.locator("img"), run):
            expect(part).to_be_in_viewport(ratio=0.5, timeout=SLOW)
        width = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert width <= NARROW


RESTS = """() => document.querySelector('[data-testid="stApp"]')
    ?.getAttribute('data-test-script-state') === 'notRunning'"""


def test_runs_are_opened_selected_and_sorted_in_the_table(server: str, cache: Cache) -> None:
    """With the mouse and with the keyboard; the state is in the address."""
    from playwright.sync_api import expect, sync_playwright

    queue = Queue(cache.queue)
    jobs = {}
    # A name is drawn as it was typed, also where Streamlit would make an icon or a sign of it.
    special = "Alpha :material/home: :smile: <-> a -> b -- $x$ &amp; [c](d) **e** listed"
    for seed, name in enumerate((special, "Gamma listed", "Beta listed")):
        jobs[name[0]] = queue.submit(replace(QUICKSTART, seeds=(90 + seed,)), name)
        queue.cancel(jobs[name[0]])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"{server}/Runs?search=listed")
        table = page.locator(".st-key-runs [data-testid=stDataFrame]")

        def opened(name: str, url: str) -> None:
            label = special if name == "Alpha" else f"{name} listed"
            heading = page.get_by_role("heading", name=f"{label} Cancelled", level=2)
            expect(heading).to_be_visible(timeout=SLOW)
            page.wait_for_url(url, timeout=SLOW)
            page.wait_for_function(RESTS, timeout=SLOW)

        def click(x: int, row: int) -> None:
            table.click(position={"x": x, "y": 35 * (row + 1.5)})

        opened("Beta", f"**job={jobs['B']}**")
        click(150, 1)
        opened("Gamma", f"**job={jobs['G']}**")
        page.reload()
        opened("Gamma", f"**job={jobs['G']}**")
        expect(table.locator("tbody tr")).to_have_count(len(jobs), timeout=SLOW)
        page.get_by_role("button", name="Clear filters").press("Tab")
        # The first cell of the table gets the focus, and then the row of the opened run.
        expect(table.locator("[id^=glide-cell-1-1]")).to_be_focused(timeout=SLOW)
        page.keyboard.press("Tab")
        expect(table.locator("[id^=glide-cell-2-1]")).to_be_focused(timeout=SLOW)
        opened("Gamma", f"**job={jobs['G']}**")
        click(15, 0)
        page.wait_for_url(f"**selected={jobs['B']}&**", timeout=SLOW)
        click(15, 2)
        page.wait_for_url(f"**selected={jobs['B']}%2C{jobs['A']}&**", timeout=SLOW)
        click(150, -1)  # the title of the column Name
        page.wait_for_url("**sort=name**", timeout=SLOW)
        expect(table.locator("tbody tr").first).to_contain_text("Alpha", timeout=SLOW)
        click(150, 0)
        opened("Alpha", f"**job={jobs['A']}**")
        page.keyboard.press("ArrowDown")
        opened("Beta", f"**job={jobs['B']}**")
        page.keyboard.press("Shift+Space")
        page.wait_for_url(f"**selected={jobs['A']}&**", timeout=SLOW)
        page.reload()
        opened("Beta", f"**selected={jobs['A']}&search=listed&sort=name**")
        page.get_by_role("button", name="Delete selected").click()
        expect(page.get_by_text(f"Deleted the run {special}.")).to_be_visible(timeout=SLOW)
        page.get_by_role("button", name="Undo").click()
        opened("Alpha", f"**job={jobs['A']}**")
        browser.close()
    assert {job.id for job in queue.jobs()} >= set(jobs.values())


CONNECT = """url => new Promise(done => {
    const socket = new WebSocket(url, "streamlit");
    socket.onopen = () => done("open");
    socket.onerror = () => done("refused");
})"""


def test_another_page_cannot_use_the_app(server: str, cache: Cache) -> None:
    """Not under a name that leads to this machine, not in a frame, not by a connection."""
    from playwright.sync_api import sync_playwright

    port = urlsplit(server).port
    stream = f"ws://localhost:{port}/_stcore/stream"
    link = f"{server}/Tune?{urlencode({'data.train_size': 111})}"
    rules = ["--host-resolver-rules=MAP evil.example 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=[*ARGUMENTS, *rules])
        page = browser.new_page()
        answer = page.goto(f"http://evil.example:{port}/Tune")
        assert answer is not None
        assert answer.status == 403
        assert page.evaluate(CONNECT, stream) == "refused"
        assert page.evaluate(CONNECT, stream.replace("localhost", "evil.example")) == "refused"
        with page.expect_response(link) as framed:
            page.set_content(f'<iframe src="{link}"></iframe>')
        assert framed.value.status == 403
        page.goto(server)
        assert page.evaluate(CONNECT, stream) == "open"
        browser.close()
    hints = Queue(cache.queue)._all("SELECT settings FROM stages WHERE settings LIKE '%111%'")
    assert hints == []


def narrow_widths(browser: Browser, server: str) -> dict[str, int]:
    """The width of each page with results on the screen of a phone."""
    from playwright.sync_api import expect

    page = browser.new_page(viewport={"width": NARROW, "height": 800})
    widths = {}
    for name, heading in PAGES.items():
        page.goto(f"{server}/{name}")
        title = page.get_by_role("heading", name=heading, exact=True, level=1)
        expect(title).to_be_visible(timeout=SLOW)
        expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=SLOW)
        widths[name] = int(page.evaluate("document.documentElement.scrollWidth"))
    return widths


def foreign(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "localhost"

"""The Tune page on a telephone's screen."""

from __future__ import annotations

import pytest

from tests.pages.test_browser import ARGUMENTS, CHROME, SLOW, server

__all__ = ["server"]  # a fixture


@pytest.mark.skipif(CHROME is None, reason="no Chrome or Chromium on this machine")
def test_a_narrow_screen_keeps_the_outlook_and_run_in_sight(server: str) -> None:
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROME, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 400, "height": 800})
        page.goto(f"{server}/Tune")
        run = page.get_by_role("button", name="Run", exact=True)
        expect(run).to_be_in_viewport(timeout=SLOW)
        expect(page.locator(".js-plotly-plot")).to_be_in_viewport(timeout=SLOW)
        page.get_by_role("textbox", name="One-shot amounts").scroll_into_view_if_needed()
        expect(run).to_be_in_viewport()
        wide = page.evaluate("document.documentElement.scrollWidth")
        browser.close()
    assert wide <= 400

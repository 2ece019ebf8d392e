"""Random walks in a browser: each page shows its state after Back, Forward, reload and links."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pruning_core.settings.fields import fields_of
from pruning_core.settings.spec import Spec
from tests.helpers.browser import CHROME
from tests.walks.controls import CONTROLS, TAB
from tests.walks.suite import runs, walk


@pytest.mark.skipif(CHROME is None, reason="no Chrome or Chromium on this machine")
@pytest.mark.skipif("WALKS" not in os.environ, reason="slow: set WALKS=1 to walk in a browser")
def test_walks_find_every_page_as_it_was_left(tmp_path: Path) -> None:
    """`python -m tests.walks.suite` makes more walks."""
    counts, _, violations = walk(runs(tmp_path / "cache"), walks=2, steps=8, seed=0)
    assert not violations
    assert counts["set"] > 0


def test_the_controls_in_tabs_are_settings() -> None:
    """A walk passes over a control that is not on the page, so a wrong label would hide itself."""
    titles = {field.title for field in fields_of(Spec).values()}
    labels = {label for one in CONTROLS["Tune"] for label in (one.label, *one.implied)}
    in_tabs = {label.removeprefix(TAB) for label in labels if label.startswith(TAB)}
    assert in_tabs <= titles

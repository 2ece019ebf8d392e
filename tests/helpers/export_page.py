"""The Export page in a test, and a small finished run to export from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from pruning_core.planning.stage import Outline, PlannedModel
from pruning_core.storage.jobs import Queue
from tests.helpers import workers
from tests.helpers.project import ROOT
from tests.helpers.workers import ONE_CUT

SPEC = replace(ONE_CUT, label="Small")


def finished_run(folder: Path) -> Cache:
    """A cache with the finished run of `SPEC`."""
    return workers.finished_run(folder, SPEC, SPEC.label)


def models(cache: Cache) -> tuple[PlannedModel, PlannedModel]:
    """The dense baseline and the pruned model of the run."""
    planned = Outline.from_json(Queue(cache.queue).jobs()[-1].outline).models
    return planned[0], planned[-1]


def page(cache: Cache, monkeypatch: pytest.MonkeyPatch, name: str = "5_Export") -> AppTest:
    """A page over a cache, not run yet."""
    monkeypatch.setenv(CACHE_VARIABLE, str(cache.root))
    return AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=120)


def shown(at: AppTest) -> str:
    """The texts of the page as a reader sees them, those beside progress bars included."""
    elements = (*at.markdown, *at.caption, *at.info)
    bars = [bar.proto.text for bar in at.get("progress")]
    return " ".join([*(element.value for element in elements), *bars]).replace("\\", "")


def errors(at: AppTest) -> str:
    """The errors of the page."""
    return " ".join(error.value for error in at.error).replace("\\", "")


def labels(at: AppTest) -> list[str]:
    """The labels of the buttons on the page."""
    return [button.label for button in at.button]


def press(at: AppTest, label: str) -> AppTest:
    """Press the button with this label."""
    return next(button for button in at.button if button.label == label).click().run()

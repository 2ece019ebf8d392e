"""Widgets follow from the fields: a setting that is added appears by itself, unchanged."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pages.components import choices
from pages.components.setting_values import DEFAULTS
from pruning_core.common.paths import Cache
from pruning_core.methods.criteria import CRITERIA
from tests.helpers.project import ROOT
from tests.helpers.tune_page import tune, widget
from tests.helpers.workers import stop_worker

NEW_SETTING = """
    repeats: float = setting(
        0.5,
        "Repeats",
        help="A setting of a test_, with *stars*.",
        unit=SHARE,
        above=0,
        maximum=1,
        neutral=0.5,
        read_when=SENSITIVITY,
    )

    def __post_init__"""
DRAW = """
import json
from tests.helpers.tune_page import find_widget, tune, widget

test = tune(**{"sensitivity.enabled": "true"})
drawn = widget(test, "sensitivity.repeats")
print(json.dumps([drawn.label, drawn.value, drawn.min, drawn.max, drawn.help]))
drawn.set_value(75).run()
print(json.dumps([str(test.query_params["sensitivity.repeats"]), len(test.exception)]))
print(json.dumps([find_widget(tune(), "sensitivity.repeats") is None]))
"""


def test_a_new_setting_appears_on_tune(tmp_path: Path, cache: Cache, no_worker: None) -> None:
    for name in ("pages", "pruning_core", "tests"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", tmp_path)
    module = tmp_path / "pruning_core" / "settings" / "sensitivity.py"
    source = module.read_text(encoding="utf-8")
    module.write_text(source.replace("\n    def __post_init__", NEW_SETTING, 1), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", DRAW], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    stop_worker(cache)  # the page in the other process has started one
    assert done.returncode == 0, done.stderr
    drawn, changed, without = map(json.loads, done.stdout.splitlines())
    assert drawn[:2] == ["Repeats", 50.0]
    assert drawn[2:4] == [pytest.approx(0.0001), 100.0]
    assert drawn[4] == "In percent. A setting of a test\\_, with \\*stars\\*."
    assert "0.75" in changed[0]
    assert changed[1] == 0
    assert without == [True]


@pytest.mark.usefixtures("no_worker")
@pytest.mark.parametrize("own_images", [False, True])
def test_no_widget_changes_a_setting_by_being_drawn(own_images: bool) -> None:
    link = {"data.name": "images"} if own_images else {}
    # A changed preset loses its name.
    values = {**DEFAULTS, **({**link, "label": ""} if own_images else {})}
    test = tune(**link)
    for _ in range(2):
        assert test.session_state[choices.VALUES] == values
        assert dict(test.query_params) in (link, {name: [value] for name, value in link.items()})
        test.run()


@pytest.mark.usefixtures("no_worker")
def test_a_choice_has_its_title_and_its_help() -> None:
    test = tune()
    weights = widget(test, "model.weights")
    assert weights.options == ["Random (train from scratch)", "ImageNet-pretrained (torchvision)"]
    assert widget(test, "model.stem_stride").options[0] == "2 (original)"
    help_text = widget(test, "pruning.criterion").help
    for method in CRITERIA.values():
        assert f"**{method.title}**" in help_text
        assert f"[{method.paper}]({method.url})" in help_text

"""A method or a setting is added by one entry and one function, and appears everywhere.

The test adds one of each kind to a temporary copy of the tree, and finds them in the help of the
command line, on the pages, in the Guide, and in a run.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pruning_core.common.paths import Cache
from tests.helpers.project import ROOT
from tests.helpers.workers import stop_worker

CRITERION = """
        Criterion(
            "added_criterion",
            "Added criterion",
            "The squared value of the weight.",
            implementation="pruning_core.engine.criteria.added:squared",
        ),
"""
CRITERION_FUNCTION = """
def squared(evidence):
    return {name: weight.detach() ** 2 for name, weight in evidence.weights.items()}
"""
SCHEDULE = """
        SparsitySchedule(
            "added_schedule", "Added schedule", "The square of the linear one.", targets=squared
        ),
"""
SCHEDULE_FUNCTION = """
def squared(target, steps):
    return [target * (i / steps) ** 2 for i in range(1, steps)] + [target]


"""
RECOVERY = """
        RecoveryMethod(
            "added_recovery",
            "Added recovery",
            "Go on from the weights as they are.",
            implementation="pruning_core.engine.training.added:as_they_are",
        ),
"""
RECOVERY_FUNCTION = """
def as_they_are(sources):
    return None
"""
FORMAT = """
        FileFormat(
            "added_format",
            "Added format",
            "A state_dict of another name.",
            implementation="pruning_core.engine.export.added:added",
            suffix="added",
        ),
"""
FORMAT_FUNCTION = """
from pruning_core.engine.export.tensor_files import state_dict as added
"""
SETTING = """
    added_setting: float = setting(
        0.0, "Added setting", help="A setting that was added.", minimum=0, maximum=1, neutral=0.0
    )
"""
RUN = shlex.split(
    "compare --preset quickstart --width 0.25 --train-size 60 --test-size 20 --baseline-epochs 1"
    " --amounts 0.5 --epochs 0.5 --iterations 2 --no-equal-budget --criterion added_criterion"
    " --schedule added_schedule --added-setting 0.5"
)
PAGE = """
import json
from streamlit.testing.v1 import AppTest

from pages.components.setting_sections import TABS

titles, labels = [], []
for tab in TABS:
    tune = AppTest.from_file("pages/1_Tune.py", default_timeout=120)
    tune.query_params["tab"] = tab
    assert not tune.run().exception, tune.exception
    titles += [option for box in tune.selectbox for option in box.options]
    labels += [w.label for kind in (tune.number_input, tune.slider, tune.text_input) for w in kind]
export = AppTest.from_file("pages/5_Export.py", default_timeout=120).run()
assert not export.exception, export.exception
files = " ".join(text.value for text in export.markdown)
from pages.components.guide_text import topics

guide = "\\n".join(section.markdown for topic in topics().values() for section in topic.sections)
print(json.dumps({"titles": titles, "labels": labels, "files": files, "guide": guide}))
"""


def insert(path: Path, before: str, text: str) -> None:
    """Put a text before the first place where `before` stands."""
    content = path.read_text(encoding="utf-8")
    place = content.index(before)
    path.write_text(content[:place] + text + content[place:], encoding="utf-8")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the product with one method of each kind and one setting added."""
    root = tmp_path_factory.mktemp("extended")
    for name in ("pruning_core", "pages", ".streamlit"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "app.py", root)
    core = root / "pruning_core"
    insert(core / "methods" / "criteria.py", '        Criterion(\n            "random"', CRITERION)
    (core / "engine" / "criteria" / "added.py").write_text(CRITERION_FUNCTION)
    schedules = core / "methods" / "sparsity_schedules.py"
    insert(schedules, '        SparsitySchedule(\n            "linear"', SCHEDULE)
    insert(schedules, "@dataclass(frozen=True)", SCHEDULE_FUNCTION)
    methods = core / "methods"
    insert(methods / "recovery.py", '        RecoveryMethod(\n            "lr_rew', RECOVERY)
    (core / "engine" / "training" / "added.py").write_text(RECOVERY_FUNCTION)
    insert(methods / "file_formats.py", '        FileFormat(\n            "lzma"', FORMAT)
    (core / "engine" / "export" / "added.py").write_text(FORMAT_FUNCTION)
    insert(core / "settings" / "training.py", "    def __post_init__", f"{SETTING}\n")
    yield root
    stop_worker(Cache(root / "cache"))


def python(tree: Path, *arguments: str) -> str:
    environment = {**os.environ, "PRUNING_LAB_CACHE": str(tree / "cache")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=tree, capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_command_line_offers_them(tree: Path) -> None:
    help_text = python(tree, "-m", "pruning_core", "compare", "--help")
    for name in ("added_criterion", "added_schedule", "added_recovery", "--added-setting"):
        assert name in help_text
    assert "added_format" in python(tree, "-m", "pruning_core", "export", "--help")


@pytest.fixture(scope="module")
def ran(tree: Path) -> Path:
    """The tree after two runs and an export with what was added."""
    python(tree, "-m", "pruning_core", *RUN, "--out", str(tree / "out"))
    fine_tuned = [*RUN, "--no-iterative", "--recovery", "added_recovery"]
    python(tree, "-m", "pruning_core", *fine_tuned, "--out", str(tree / "out"))
    (job, *_) = python(tree, "-m", "pruning_core", "jobs").split()
    options = (job, "--formats", "added_format", "--out", str(tree / "files"))
    python(tree, "-m", "pruning_core", "export", *options)
    return tree


def test_a_run_uses_them(ran: Path) -> None:
    settings = [
        json.loads(path.read_text())["settings"]
        for path in (ran / "cache" / "stages").glob("*/*/manifest.json")
        if json.loads(path.read_text())["kind"] == "pruned"
    ]
    assert {s["pruning"]["criterion"] for s in settings} == {"added_criterion"}
    assert {s["train"]["added_setting"] for s in settings} == {0.5}
    assert {s["recovery"]["method"] for s in settings} == {"fine_tuning", "added_recovery"}
    assert {float(s["target"]) for s in settings} >= {0.9 / 4, 0.9}
    assert list((ran / "files").glob("*.added"))


def test_the_pages_and_the_guide_show_them(ran: Path) -> None:
    shown = json.loads(python(ran, "-c", PAGE).strip().splitlines()[-1])
    for title in ("Added criterion", "Added schedule", "Added recovery"):
        assert title in shown["titles"]
    assert "Added format" in shown["files"]
    assert {"Added setting", "Baseline added setting"} <= set(shown["labels"])
    for text in ("Added criterion", "Added schedule", "Added recovery", "Added format"):
        assert text in shown["guide"]
    assert "--added-setting" in shown["guide"]

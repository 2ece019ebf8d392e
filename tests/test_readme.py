"""What the README tells people to type works, and what it names exists."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pruning_core.cli.main import main, parser
from pruning_core.common.paths import Cache
from pruning_core.planning.presets import QUICKSTART
from pruning_core.storage.jobs import Queue
from tests.helpers.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PREFIX = "python -m pruning_core "
MAX_LINES = 200


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def lines() -> list[str]:
    return [line for block in blocks("bash") for line in block.strip().splitlines()]


COMMAND_LINES = [line.removeprefix(PREFIX) for line in lines() if line.startswith(PREFIX)]


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= MAX_LINES


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_parses(line: str) -> None:
    assert parser().parse_args(shlex.split(line)).command == line.split()[0]


def test_a_command_without_a_run_works(cache: Cache) -> None:
    assert main(["jobs", "--cache-dir", str(cache.root)]) == 0


def test_a_command_on_a_job_works(
    cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Queue(cache.queue).submit(QUICKSTART, "Quick start")
    for command in ("show", "cancel"):
        assert f"`{command} JOB`" in README
        assert main([command, job[:4], "--cache-dir", str(cache.root)]) == 0


def test_the_other_commands_name_files_that_exist() -> None:
    others = [line for line in lines() if not line.startswith(PREFIX)]
    named = [word for line in others for word in line.split() if word.endswith((".txt", ".py"))]
    assert sorted(set(named)) == ["app.py", "requirements.txt", "tests/requirements.txt"]
    assert all((ROOT / name).is_file() for name in named)


def test_every_command_is_named() -> None:
    (choices,) = (
        action.choices
        for action in parser()._actions
        if isinstance(action.choices, dict) and "compare" in action.choices
    )
    assert choices
    for name in choices:
        assert re.search(rf"pruning_core {name}\b|`{name}( JOB)?`", README), name


def test_the_layout_names_every_package() -> None:
    core = ROOT / "pruning_core"
    packages = [path.name for path in core.iterdir() if (path / "__init__.py").is_file()]
    (layout,) = blocks("text")
    named = re.findall(r"^  (\w+)/", layout, re.MULTILINE)
    assert sorted(named) == sorted(packages)


def test_the_files_to_extend_exist() -> None:
    section = README.split("## How to extend")[1].split("\n## ")[0]
    named = re.findall(r"`((?:methods|engine|settings)/[\w/.]*)`", section)
    assert len(named) > 15
    assert all((ROOT / "pruning_core" / name).exists() for name in named)


def test_every_requirement_has_its_reason() -> None:
    for file in ("requirements.txt", "tests/requirements.txt"):
        for line in (ROOT / file).read_text().splitlines():
            name = re.split(r"[><=\[]", line)[0].removesuffix("-xdist")
            assert name.lower() in README.lower()


def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    images, labels = torch.rand(32, 3, 8, 8), torch.arange(32) % 4
    loader = DataLoader(TensorDataset(images, labels), batch_size=16)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))
    space = {"model": model, "train_loader": loader, "test_loader": loader}
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), space)
    result, results = space["pruned"], space["results"]
    assert isinstance(result, dict)
    assert isinstance(results, list)
    assert result["amount"] == 0.7
    assert [row["iteration"] for row in results] == [0, 1, 2, 3, 4, 5]
    assert results[0]["sparsity"] < 1
    assert (tmp_path / "pruning_comparison.png").is_file()


def test_the_pictures_exist() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / name).is_file() for name in pictures)

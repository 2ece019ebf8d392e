"""What the README tells people to type works, and what there is stands in the README."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from pruning_core.cli.option_table import OPTIONS
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from pruning_core.cli.main import COMMANDS, main, parser
from pruning_core.common.paths import Cache
from pruning_core.engine.benchmark import accuracy
from pruning_core.planning.presets import QUICKSTART
from pruning_core.storage.jobs import Queue
from tests.helpers.project import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PREFIX = "python -m pruning_core "
QUICK = {"jobs", "cache", "worker"}
OF_A_JOB = {"show", "cancel"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def lines() -> list[str]:
    return [line for block in blocks("bash") for line in block.strip().splitlines()]


COMMAND_LINES = [line.removeprefix(PREFIX) for line in lines() if line.startswith(PREFIX)]


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_is_understood(line: str) -> None:
    assert parser().parse_args(shlex.split(line)).command in COMMANDS


@pytest.mark.parametrize("line", [x for x in COMMAND_LINES if x.split()[0] in QUICK])
def test_a_quick_command_runs(line: str, cache: Cache) -> None:
    line = line.replace("--idle-seconds 60", "--idle-seconds 0.1")
    assert main([*shlex.split(line), "--cache-dir", str(cache.root)]) == 0


@pytest.mark.parametrize("line", [x for x in COMMAND_LINES if x.split()[0] in OF_A_JOB])
def test_a_command_on_a_job_runs(
    line: str, cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = Queue(cache.queue).submit(QUICKSTART, "Quick start")
    words = shlex.split(line)
    words[1] = job[:4]
    assert main([*words, "--cache-dir", str(cache.root)]) == 0


def test_the_command_for_the_table_of_accuracies_is_understood() -> None:
    start = "python -m pruning_core.engine.benchmark.accuracy "
    (line,) = [line for line in lines() if line.startswith(start)]
    options = accuracy.command_line().parse_args(shlex.split(line.removeprefix(start)))
    assert options.seeds == "0,1,2"


def test_the_other_commands_name_files_that_exist() -> None:
    others = [line for line in lines() if not line.startswith(PREFIX)]
    named = [word for line in others for word in line.split() if word.endswith((".txt", ".py"))]
    assert sorted(set(named)) == ["app.py", "requirements.txt", "tests/requirements.txt"]
    assert all((ROOT / name).is_file() for name in named)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_stands_in_the_readme(name: str) -> None:
    assert any(line.split()[0] == name for line in COMMAND_LINES)


@pytest.mark.parametrize("flag", [option.flag for option in OPTIONS])
def test_every_option_stands_in_the_readme(flag: str) -> None:
    assert f"`{flag} " in README


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
    assert space["result"]["amount"] == 0.7
    assert len(space["results"]) == 5
    assert (tmp_path / "comparison.html").is_file()


def test_the_pictures_exist() -> None:
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert pictures
    assert all((ROOT / name).is_file() for name in pictures)

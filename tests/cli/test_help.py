"""What `--help` prints: every option in its section, every choice by its name."""

from __future__ import annotations

import re

import pytest

from pruning_core.cli.main import main, parser
from pruning_core.cli.options import options
from pruning_core.methods.commands import COMMANDS
from pruning_core.settings.fields import fields_of
from pruning_core.settings.spec import Spec

OF_THE_ISSUE = """
--preset --spec --dataset --data --model --width --stem-stride --weights --image-size
--train-size --test-size --batch-size --lr --optimizer --baseline-epochs --amounts --target
--iterations --epochs --schedule --criterion --allocation --layers --seed --device --cache-dir
--out --detach
"""


def shown_help(capsys: pytest.CaptureFixture[str], command: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_options_of_the_issue_are_all_there(capsys: pytest.CaptureFixture[str]) -> None:
    flags = set(re.findall(r"--[a-z-]+", shown_help(capsys, "compare")))
    assert set(OF_THE_ISSUE.split()) - flags == set()


def test_the_help_names_every_option_and_every_choice(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown_help(capsys, "compare")
    words = set(re.findall(r"[\w:]+", text))
    for option in options():
        assert re.search(rf"^  {option.flag}\b", text, re.MULTILINE), option.flag
        if option.choices:
            assert set(option.choices) <= words, option.flag
    assert "%%" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_help_groups_the_options_by_sections(capsys: pytest.CaptureFixture[str]) -> None:
    """The settings of the whole run are last; a shared option is beside the setting it names."""
    text = shown_help(capsys, "compare")
    titles = [line[:-1] for line in text.splitlines() if re.match(r"[A-Z].*:$", line)]
    sections = {field.section.title for field in fields_of(Spec).values()}
    assert set(titles) == sections
    assert len(titles) == len(sections)
    assert titles[-1] == "Run"
    finetuning = text[text.index("Fine-tuning:\n") : text.index("Recovery:\n")]
    assert "--batch-size N" in finetuning
    assert "Also sets --baseline-batch-size." in " ".join(finetuning.split())
    baseline = text[text.index("Baseline training:\n") : text.index("Pruning:\n")]
    assert "--baseline-epochs N" in baseline
    one_number = "One number sets all three channels."
    assert " ".join(text.split()).count(one_number) == 2


def test_options_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["compare", "--amount", "0.5"])
    assert "unrecognized arguments: --amount 0.5" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_has_a_help_text(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    text = shown_help(capsys, command)
    assert text.startswith(f"usage: python -m pruning_core {command} ")
    flags = re.findall(r"^  (--[a-z-]+.*)$", text, re.MULTILINE)
    assert flags
    for line, following in zip(text.splitlines(), text.splitlines()[1:], strict=False):
        if line.startswith("  --"):
            assert re.search(r"\S {2,}\S", line) or following.startswith(" " * 10), line


def test_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    names = "compare sensitivity search export latency benchmark jobs show cancel cache cluster"
    assert list(COMMANDS) == [*names.split(), "worker"]
    with pytest.raises(SystemExit):
        main(["--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert all(f"{name} {command.help}" in printed for name, command in COMMANDS.items())

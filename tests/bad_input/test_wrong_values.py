"""Wrong options are refused before any training, in one line that names the option."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pruning_core.cli.options import Option, options
from tests.helpers.refusals import Refuse, one_line
from tests.helpers.workers import ROOT

WORDS: list[tuple[str, list[str], str]] = [
    # the option of the message, the arguments, and words of the message
    ("--amounts", ["--amounts", "1"], "1 is out of range: it must be at least 0 and below 1"),
    (
        "--amounts",
        ["--amounts", "0.3,1.5"],
        "1.5 is out of range: it must be at least 0 and below 1",
    ),
    ("--amounts", ["--amounts", "90"], "90 is out of range: it must be at least 0 and below 1"),
    (
        "--amounts",
        ["--amounts=-0.1,0.5"],
        "-0.1 is out of range: it must be at least 0 and below 1",
    ),
    ("--amounts", ["--amounts", "-0.1,0.5"], "--name=VALUE"),
    ("--amounts", ["--amounts", "nan"], "nan is not a number"),
    ("--amounts", ["--amounts", "0.3,abc"], "'abc' is not a number"),
    ("--amounts", ["--amounts", "0.3;0.5"], "'0.3;0.5' is not a number"),
    ("--amounts", ["--amounts", "0.3,,0.5"], "'' is not a number"),
    ("--amounts", ["--amounts", "0.5,0.5"], "twice"),
    ("--amounts", ["--amounts", "0.5,0.5000000001"], "twice"),
    (
        "--amounts",
        ["--amounts", "0.99999999"],
        "1 is out of range: it must be at least 0 and below 1",
    ),
    ("--target", ["--target", "0"], "0 is out of range: it must be above 0 and below 1"),
    ("--target", ["--target", "1"], "1 is out of range: it must be above 0 and below 1"),
    ("--target", ["--target", "nan"], "nan is not a number"),
    ("--target", ["--target", "inf"], "inf is not a number"),
    ("--target", ["--target", "x" * 5000], "is not a number"),
    ("--target", ["--target", ""], "'' is not a number"),
    (
        "--iterations",
        ["--iterations", "0"],
        "0 is out of range: it must be at least 1 and at most 100",
    ),
    ("--iterations", ["--iterations", "-1"], "-1 is out of range"),
    ("--iterations", ["--iterations", "2.5"], "'2.5' is not a whole number"),
    ("--iterations", ["--iterations", "9" * 5000], "is not a whole number"),
    ("--iterations", ["--iterations"], "expected one argument"),
    ("--iterations", ["--iterations=--"], "'--' is not a"),
    ("--epochs", ["--epochs", "-1"], "-1 is out of range: it must be at least 0 and at most 10"),
    (
        "--epochs",
        ["--epochs", "1000000000000"],
        "out of range: it must be at least 0 and at most 10",
    ),
    (
        "--baseline-epochs",
        ["--baseline-epochs", "99999"],
        "out of range: it must be at least 0 and at most 10",
    ),
    ("--one-shot-epochs", ["--one-shot-epochs", "-1"], "-1 is out of range"),
    ("--one-shot-epochs", ["--one-shot-epochs", "many"], "'many' is not a number"),
    ("--epochs", ["--epochs", "0.0001"], "0.0001 is too small; give 0, or 0.001 or more"),
    ("--final-epochs", ["--final-epochs", "-0.5"], "-0.5 is out of range: it must be at least 0"),
    ("--custom-schedule", ["--custom-schedule", "0.8,0.5"], "0.5 comes after 0.8"),
    (
        "--custom-schedule",
        ["--custom-schedule", "0.8,1"],
        "1 is out of range: it must be at least 0 and below 1",
    ),
    ("--custom-schedule", ["--custom-schedule", "a"], "'a' is not a number"),
    (
        "--custom-schedule",
        ["--custom-schedule", "0.5,0.8", "--schedule", "cubic"],
        "not to cubic",
    ),
    (
        "--target",
        ["--custom-schedule", "0.5,0.8", "--target", "0.9"],
        "0.9 is not the last sparsity in --custom-schedule, which is 0.8",
    ),
    (
        "--iterations",
        ["--custom-schedule", "0.5,0.8", "--iterations", "3"],
        "3 is not the number of",
    ),
    ("--custom-schedule", ["--schedule", "custom"], "needs at least one sparsity"),
    ("--iterations", ["--schedule", "rigl", "--iterations", "1"], "needs at least 2 steps, not 1"),
    ("--epochs", ["--schedule", "dense_sparse_dense", "--epochs", "0"], "must be trained"),
    (
        "--recovery",
        ["--schedule", "rigl", "--recovery", "weight_rewinding"],
        "so the weights that rigl regrew would lose their training",
    ),
    ("--criterion", ["--schedule", "rigl", "--criterion", "snip"], "scores the dense baseline"),
    ("--allocation", ["--criterion", "movement", "--allocation", "lamp"], "can be negative"),
    (
        "--lr-schedule-span",
        ["--lr-schedule-span", "run", "--lr-schedule", "step", "--final-epochs", "1"],
        "does not fall",
    ),
    (
        "--train-size",
        ["--train-size", "1438"],
        "1,438 is too high: there are 1,437 training images",
    ),
    ("--train-size", ["--train-size", "9" * 30], "is too large; give"),
    (
        "--train-size",
        ["--train-size", "19"],
        "19 is too low: at least 20 training images are needed",
    ),
    ("--train-size", ["--train-size", "-5"], "-5 is out of range: it must be at least 0"),
    ("--test-size", ["--test-size", "361"], "361 is too high: there are 360 test images"),
    ("--test-size", ["--test-size", "9"], "9 is too low: at least 10 test images are needed"),
    ("--image-size", ["--image-size", "27"], "at least 28 and at most 224"),
    ("--image-size", ["--image-size", "225"], "at least 28 and at most 224"),
    (
        "--image-size",
        ["--image-size", "30", "--model", "vit_b_16", "--width", "1"],
        "patches of 16",
    ),
    ("--batch-size", ["--batch-size", "1"], "at least 2 and at most 4"),
    ("--lr", ["--lr", "0"], "0 is out of range: it must be above 0 and at most 10"),
    ("--lr", ["--lr", "-1"], "-1 is out of range"),
    ("--lr", ["--lr", "1e-9"], "1e-09 is too close to 0"),
    ("--baseline-lr", ["--baseline-lr", "11"], "11 is out of range"),
    ("--rewind-epoch", ["--rewind-epoch", "3"], "fine_tuning does not rewind"),
    ("--rewind-epoch", ["--recovery=lr_rewinding", "--rewind-epoch=99"], "nothing of its learning"),
    (
        "--recovery",
        ["--recovery", "lr_rewinding", "--baseline-epochs", "0"],
        "but the baseline has 0 epochs",
    ),
    (
        "--optimizer",
        ["--recovery=weight_rewinding", "--optimizer=adamw"],
        "which are for sgd, not for adamw",
    ),
    (
        "--lr-schedule-span",
        ["--recovery", "random_reinit", "--lr-schedule-span", "pruning"],
        "after each pruning step",
    ),
    ("--distillation-weight", ["--distillation-weight", "2"], "at least 0 and at most 1"),
    (
        "--distillation-weight",
        ["--distillation-weight=1", "--baseline-epochs=0"],
        "untrained baseline",
    ),
    ("--distillation-temperature", ["--distillation-temperature", "0"], "it must be above 0"),
    ("--warmup", ["--warmup", "1"], "1 is out of range: it must be at least 0 and below 1"),
    (
        "--label-smoothing",
        ["--label-smoothing", "-1"],
        "-1 is out of range: it must be at least 0 and below 1",
    ),
    ("--width", ["--width", "0"], "at least 0.1 and at most 4"),
    ("--width", ["--width", "0.5", "--model", "resnet18"], "resnet18 has only width 1, not 0.5"),
    ("--stem-stride", ["--stem-stride", "3"], "3 is not one of 2, 1"),
    ("--mean", ["--mean", "0.5,0.5"], "give three numbers, one for each color channel"),
    ("--mean", ["--mean", "nan"], "nan is not a number"),
    ("--mean", ["--mean", "a,b,c"], "'a' is not a number"),
    ("--std", ["--std", "0"], "above 0"),
    ("--std", ["--std", "0.5,0.5,-1"], "-1 is out of range"),
    ("--std", ["--std", ""], "give three numbers, one for each color channel"),
    ("--seed", ["--seed", "-1"], "-1 is out of range: it must be at least 0"),
    ("--seed", ["--seed", "1,1"], "twice"),
    ("--seed", ["--seed", ""], "at least one seed"),
    ("--seed", ["--seed", "1e3"], "'1e3' is not a whole number"),
    ("--seed", ["--seed", "9" * 25], "out of range: it must be at least 0"),
    ("--target", ["--min-density", "0.5", "--allocation", "global"], "at most 0.5 can be pruned"),
    (
        "--min-density",
        ["--min-density", "1"],
        "1 is out of range: it must be at least 0 and below 1",
    ),
    ("--amounts", ["--amounts", "0.9999"], "nothing would remain of 'features."),
    ("--exclude", ["--exclude", "stem,features.0.0.weigth"], "Did you mean features.0.0.weight"),
    ("--exclude", ["--exclude", "attention"], "no layer of the kind 'attention'"),
    ("--exclude", ["--exclude", "stem,,classifier"], "an entry is empty"),
    (
        "--exclude",
        ["--exclude", "linear,conv,depthwise"],
        "mobilenet_v2 has no prunable layer: --layers is all, and --exclude contains",
    ),
    ("--exclude", ["--granularity", "filter"], "Add classifier to --exclude"),
    (
        "--granularity",
        ["--granularity", "2:4"],
        "0.5 of each layer that fits the pattern, in one step",
    ),
    (
        "--granularity",
        ["--granularity", "4:8", "--allocation", "erk"],
        "choose uniform as --allocation",
    ),
    (
        "--layer-sparsities",
        ["--layer-sparsities", "features.0=0.5"],
        "matches no prunable layer",
    ),
    (
        "--layer-sparsities",
        ["--layer-sparsities", "classifier.*=0.5"],
        "'classifier.1.weight' would need a sparsity above 1",
    ),
    ("--layer-sparsities", ["--allocation", "custom"], "needs entries such as"),
    ("--filter-norm", ["--filter-norm", "0"], "give a number above 0"),
    ("--filter-dim", ["--filter-dim", "4"], "4 is not one of 0, 1, 2, 3"),
    (
        "--filter-dim",
        ["--filter-dim", "0", "--granularity", "kernel"],
        "it is used only with --granularity filter",
    ),
    ("--model", ["--model", "mobilenet_v9", "--width", "1"], "Did you mean mobilenet_v2"),
    ("--model", ["--model", ""], "name a torchvision classification model"),
    ("--dataset", ["--dataset", "imagenet"], "invalid choice: 'imagenet'"),
    ("--preset", ["--preset", "quick"], "invalid choice: 'quick'"),
    ("--schedule", ["--schedule", "sudden"], "invalid choice: 'sudden'"),
    ("--allocation", ["--allocation", ""], "invalid choice: ''"),
    ("--device", ["--device", "tpu"], "invalid choice: 'tpu'"),
    ("--data", ["--data", "/no such/folder"], "/no such/folder does not exist"),
    ("--data", ["--data", ""], "a folder or a .zip"),
    ("--data", ["--data", "x" * 300], "does not exist"),
    ("--data", ["--data", "/dev/null"], "neither a folder nor a file"),
    ("--data", ["--data", "b\udcffd"], "not readable as UTF-8"),
    ("--weights", ["--weights", "/nowhere/w.safetensors"], "no file /nowhere/w.safetensors"),
    ("--weights", ["--weights", "x" * 300], "no file"),
    ("--weights", ["--weights", "/dev/zero"], "no regular file"),
    ("--weights", ["--weights", ""], "give none, pretrained or a checkpoint file"),
    ("--spec", ["--spec", "/nowhere/spec.json"], "cannot be read"),
    ("--spec", ["--spec", ""], "cannot be read"),
    ("--spec", ["--spec", "/dev/zero"], "too large"),
    ("--out", ["--out", ""], "name a folder"),
    ("--out", ["--out", "/proc/results"], "/proc/results cannot be written"),
    ("--out", ["--out", "/dev/null/results"], "/dev/null/results cannot be written"),
    ("--cache-dir", ["--cache-dir", ""], "name a folder"),
    ("--cache-dir", ["--cache-dir", "/proc/lab"], "/proc/lab cannot be written"),
    ("unrecognized arguments", ["--speed", "9"], "--speed 9"),
]


@pytest.mark.parametrize(("option", "arguments", "words"), WORDS, ids=lambda x: str(x)[:60])
def test_a_wrong_value_is_refused(
    refuse: Refuse, option: str, arguments: list[str], words: str
) -> None:
    message = refuse(*arguments)
    assert message.startswith(f"{option}: ")
    assert words in message
    assert len(message) < 400


# A switch takes no value.
VALUED = [option for option in options() if not option.is_switch]


@pytest.mark.parametrize("option", VALUED, ids=lambda option: option.flag)
@pytest.mark.parametrize("garbage", ["no\udcffsuch", "no such value " * 400], ids=["bytes", "long"])
def test_every_option_refuses_garbage_by_its_name(
    refuse: Refuse, option: Option, garbage: str
) -> None:
    """Also an option that is added later: the options follow from the settings."""
    message = refuse(option.flag, garbage)
    assert message.startswith(f"{option.flag}: ")
    assert len(message) < 1100


@pytest.mark.parametrize("digits", [60, 4000])
@pytest.mark.parametrize(
    "flag", ["--iterations", "--baseline-epochs", "--train-size", "--model", "--device"]
)
def test_a_long_value_is_shown_shortened(refuse: Refuse, flag: str, digits: int) -> None:
    message = refuse(flag, "8" * digits, "--width", "1")
    assert message.startswith(f"{flag}: ")
    assert "8" * 80 not in message
    assert "888" in message


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_missing_device_is_refused(refuse: Refuse) -> None:
    assert refuse("--device", "cuda").startswith("--device: cuda is not available; this machine")


def test_a_file_in_the_place_of_a_folder_is_refused(refuse: Refuse, tmp_path: Path) -> None:
    file = tmp_path / "a file"
    file.write_text("kept")
    for option in ("--cache-dir", "--out"):
        for path in (file, file / "below"):
            assert refuse(option, str(path)).startswith(f"{option}: ")
    assert file.read_text() == "kept"


SPECS = [
    ("{", "not JSON"),
    ("[" * 100_000, "not JSON"),
    ("[]", "a JSON object"),
    ('{"speed": 1}', "speed in"),
    ('{"iterative": {"steps": 5}}', "iterative.steps in"),
    ('{"iterative": {"target": 2}}', "iterative.target in"),
    ('{"iterative": {"target": NaN}}', "nan is not a number"),
    ('{"finetune": {"lr": 1' + "0" * 400 + "}}", "inf is not a number"),
    ('{"baseline_epochs": "12"}', "'12' is not a whole number"),
    ('{"iterative": {"enabled": 1}}', "1 is not true or false"),
    ('{"data": {"split_seed": -1}}', "data.split_seed in"),
    ('{"one_shot": {"amounts": [1]}}', "one_shot.amounts in"),
    ('{"model": {"name": "\\udcff"}}', "not readable as UTF-8"),
    ("\0\xff", "not JSON"),
]


@pytest.mark.parametrize(("text", "words"), SPECS, ids=lambda text: text[:30])
def test_a_wrong_spec_file_is_refused(
    refuse: Refuse, tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text, encoding="utf-8")
    message = refuse("--spec", str(path))
    assert message.startswith("--spec: ")
    assert words in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["show", "nothing"],
            "JOB: the id 'nothing' matches no job or several jobs",
        ),
        (["cancel", "nothing"], "JOB: the id 'nothing' matches no job or several jobs"),
        (["jobs", "--limit", "-1"], "--limit: "),
        (["jobs", "--limit", "9" * 30], "--limit: "),
        (["worker", "--idle-seconds", "nan"], "--idle-seconds: "),
        (["worker", "--cores", "many"], "--cores: "),
        (["cache", "burn"], "action: invalid choice: 'burn'"),
        (["scan"], "COMMAND: invalid choice: 'scan'"),
        ([], "the following arguments are required: COMMAND"),
    ],
    ids=str,
)
def test_the_other_commands_refuse_too(arguments: list[str], words: str, tmp_path: Path) -> None:
    """As a process: what a person sees."""
    cache = ["--cache-dir", str(tmp_path)] if len(arguments) > 1 else []
    command = [sys.executable, "-m", "pruning_core", *arguments, *cache]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert one_line(done.stderr).startswith(words)

"""Every option of `compare` lands in its setting, and what overrides what."""

from __future__ import annotations

import json
import re
from functools import reduce
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.cli.main import main, parser
from pruning_core.cli.option_table import OPTIONS, Option, normalization
from pruning_core.cli.options import flag_of, spec_from
from pruning_core.planning.presets import PRESETS, QUICKSTART, RECOMMENDED, TEXTBOOK
from pruning_core.settings import spec as specs
from pruning_core.settings.relevance import unread
from pruning_core.settings.spec import Spec, SpecError

EPOCHS = ("one_shot.epochs", "iterative.epochs", "structured.epochs")
VALUES: list[tuple[str, str, dict[str, object]]] = [
    ("--dataset", "cifar10", {"data.name": "cifar10"}),
    ("--data", "/some/where", {"data.name": "images", "data.path": "/some/where"}),
    ("--image-size", "64", {"data.image_size": 64}),
    ("--train-size", "5000", {"data.train_size": 5000}),
    ("--test-size", "1000", {"data.test_size": 1000}),
    ("--normalize", "0.5,0.25", {"data.mean": (0.5,) * 3, "data.std": (0.25,) * 3}),
    (
        "--normalize",
        "0.1,0.2,0.3,0.4,0.5,0.6",
        {"data.mean": (0.1, 0.2, 0.3), "data.std": (0.4, 0.5, 0.6)},
    ),
    ("--augment", "crop", {"data.augment": "crop"}),
    ("--model", "resnet18", {"model.name": "resnet18"}),
    ("--width", "0.5", {"model.width": 0.5}),
    ("--stem-stride", "1", {"model.stem_stride": 1}),
    ("--weights", "none", {"model.weights": "none"}),
    ("--weights", "pretrained", {"model.weights": "pretrained"}),
    ("--weights", "/a b/ü.safetensors", {"model.weights": "/a b/ü.safetensors"}),
    ("--batch-size", "16", {"baseline.batch_size": 16, "finetune.batch_size": 16}),
    ("--baseline-epochs", "0", {"baseline_epochs": 0}),
    ("--baseline-lr", "0.3", {"baseline.lr": 0.3}),
    ("--baseline-optimizer", "adam", {"baseline.optimizer": "adam", "baseline.lr": 0.001}),
    ("--baseline-lr-schedule", "step", {"baseline.lr_schedule": "step"}),
    ("--baseline-weight-decay", "0.01", {"baseline.weight_decay": 0.01}),
    ("--momentum", "0.5", {"baseline.momentum": 0.5, "finetune.momentum": 0.5}),
    ("--clip-norm", "2", {"baseline.clip_norm": 2.0, "finetune.clip_norm": 2.0}),
    ("--lr", "0.005", {"finetune.lr": 0.005}),
    ("--optimizer", "adam", {"finetune.optimizer": "adam", "finetune.lr": 0.001}),
    ("--lr-schedule", "step", {"finetune.lr_schedule": "step"}),
    ("--lr-span", "chain", {"lr_span": "chain"}),
    ("--warm-up", "0.1", {"finetune.warm_up": 0.1}),
    ("--weight-decay", "0.01", {"finetune.weight_decay": 0.01}),
    ("--label-smoothing", "0.1", {"finetune.label_smoothing": 0.1}),
    ("--baseline-warm-up", "0.1", {"baseline.warm_up": 0.1}),
    ("--baseline-smoothing", "0.1", {"baseline.label_smoothing": 0.1}),
    ("--recovery", "weight_rewind", {"recovery.method": "weight_rewind"}),
    ("--rewind-epoch", "0", {"recovery.rewind_epoch": 0}),
    ("--ladder-images", "64", {"ladder.images": 64}),
    ("--distill-weight", "0.5", {"recovery.distill_weight": 0.5}),
    ("--distill-temperature", "2", {"recovery.distill_temperature": 2.0}),
    ("--amounts", "0.3,0.5", {"one_shot.amounts": (0.3, 0.5)}),
    ("--amounts", "", {"one_shot.amounts": ()}),
    ("--target", "0.95", {"iterative.target": 0.95}),
    ("--iterations", "7", {"iterative.iterations": 7}),
    ("--epochs", "4", dict.fromkeys(EPOCHS, 4)),
    (
        "--structured",
        "0.2,0.4",
        {"structured.amounts": (0.2, 0.4), "structured.enabled": True},
    ),
    ("--structured", "", {"structured.amounts": (), "structured.enabled": False}),
    ("--structured-of", "bytes", {"structured.of": "bytes"}),
    ("--importance", "taylor", {"structured.importance": "taylor"}),
    ("--structured-scope", "global", {"structured.scope": "global"}),
    ("--round-to", "16", {"structured.round_to": 16}),
    ("--max-ratio", "0.75", {"structured.max_ratio": 0.75}),
    ("--structured-steps", "3", {"structured.steps": 3}),
    ("--structured-epochs", "2.5", {"structured.epochs": 2.5}),
    ("--structured-tail", "1", {"structured.tail": 1}),
    ("--one-shot-epochs", "9", {"one_shot.epochs": 9}),
    ("--schedule", "cubic", {"iterative.schedule": "cubic"}),
    (
        "--targets",
        "0.5,0.8",
        {
            "iterative.targets": (0.5, 0.8),
            "iterative.schedule": "list",
            "iterative.iterations": 2,
            "iterative.target": 0.8,
        },
    ),
    ("--tail", "2.5", {"iterative.tail": 2.5}),
    ("--epochs", "0.5", dict.fromkeys(EPOCHS, 0.5)),
    ("--criterion", "random", {"prune.criterion": "random"}),
    ("--score-images", "64", {"prune.score_images": 64}),
    ("--scope", "global", {"prune.scope": "global"}),
    ("--keep-floor", "0.01", {"prune.keep_floor": 0.01}),
    ("--layers", "spared", {"prune.layers": "spared"}),
    ("--scope", "lamp", {"prune.scope": "lamp"}),
    ("--spare", "stem, b.0.*", {"prune.spare": ("stem", "b.0.*")}),
    ("--by-hand", "f*=0.9", {"prune.by_hand": ("f*=0.9",), "prune.scope": "hand"}),
    ("--granularity", "kernel", {"prune.granularity": "kernel"}),
    ("--norm", "inf", {"prune.norm": "inf", "prune.granularity": "filter"}),
    ("--dim", "1", {"prune.dim": 1, "prune.granularity": "filter"}),
    ("--seed", "3", {"seeds": (3,)}),
    ("--seed", "0,1,2", {"seeds": (0, 1, 2)}),
    ("--device", "cpu", {"device": "cpu"}),
    ("--precision", "bf16", {"precision": "bf16"}),
    ("--scan-sparsities", "0.5,0.9", {"scan.sparsities": (0.5, 0.9)}),
    ("--scan-images", "200", {"scan.images": 200}),
    ("--scan-unit", "group", {"scan.unit": "group"}),
    ("--bn-images", "64", {"baseline.bn_images": 64, "finetune.bn_images": 64}),
]
OF_THE_ISSUE = """
--preset --spec --dataset --data --model --width --stem-stride --normalize --weights --image-size
--train-size --test-size --batch-size --lr --optimizer --baseline-epochs --amounts --target
--iterations --epochs --schedule --scope --layers --seed --device --cache-dir --out --detach
"""


def read(*arguments: str) -> Spec:
    return spec_from(parser().parse_args(["compare", *arguments]))


def flat(value: object, prefix: str = "") -> dict[str, object]:
    """Dotted settings and their values."""
    if not isinstance(value, dict):
        return {prefix: tuple(value) if isinstance(value, list) else value}
    inner = (flat(v, f"{prefix}.{k}".lstrip(".")) for k, v in value.items())
    return reduce(lambda a, b: a | b, inner, {})


def changed(spec: Spec, start: Spec) -> dict[str, object]:
    before, after = flat(specs.to_dict(start)), flat(specs.to_dict(spec))
    return {name: v for name, v in after.items() if v != before[name] and name != "label"}


@pytest.mark.parametrize(("flag", "text", "wanted"), VALUES)
def test_an_option_sets_its_settings_and_nothing_else(
    flag: str, text: str, wanted: dict[str, object]
) -> None:
    spec = read(flag, text)
    found = flat(specs.to_dict(spec))
    assert {name: found[name] for name in wanted} == wanted
    implied = {"data.augment"} if flag in ("--data", "--dataset") else set()
    assert set(changed(spec, QUICKSTART)) <= set(wanted) | implied


def test_every_option_is_tried_here() -> None:
    assert {flag for flag, _, _ in VALUES} == {option.flag for option in OPTIONS}


def test_the_options_of_the_issue_are_all_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["compare", "--help"])
    assert ended.value.code == 0
    found = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    assert set(OF_THE_ISSUE.split()) - found == set()


def test_no_preset_means_quickstart() -> None:
    assert read() == QUICKSTART
    assert read("--preset", "quickstart") == QUICKSTART


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_taken_as_it_is(name: str) -> None:
    assert read("--preset", name) == PRESETS[name].spec


@pytest.mark.parametrize("spec", [QUICKSTART, TEXTBOOK])
def test_quickstart_and_textbook_cut_every_layer_alike(spec: Spec) -> None:
    assert (spec.prune.layers, spec.prune.scope) == ("all", "layer")


def test_textbook_is_the_assignment_s_experiment() -> None:
    data = TEXTBOOK.data
    assert (data.name, data.train_size, data.test_size) == ("cifar10", 5000, 1000)
    assert TEXTBOOK.model.weights == "pretrained"


def test_an_option_overrides_the_preset() -> None:
    spec = read("--preset", "recommended", "--iterations", "2", "--scope", "layer")
    assert (spec.iterative.iterations, spec.prune.scope) == (2, "layer")
    assert spec.iterative.schedule == RECOMMENDED.iterative.schedule
    assert spec.label == ""


def test_data_takes_the_place_of_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = read("--dataset", "mnist", "--data", "my images")
    assert (spec.data.name, spec.data.path) == ("images", str(tmp_path / "my images"))


def test_paths_are_those_of_this_folder_or_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker runs in another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of/someone")
    spec = read("--data", "~/set.zip", "--weights", "w.safetensors")
    assert spec.data.path == "/home/of/someone/set.zip"
    assert spec.model.weights == str(tmp_path / "w.safetensors")


def test_a_spec_file_is_the_start_and_options_override_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    value = {
        "data": {"name": "images", "path": "set"},
        "model": {"weights": "w.pt"},
        "iterative": {"target": 0.7, "iterations": 3},
        "label": "mine",
    }
    Path("my spec.json").write_text(json.dumps(value), encoding="utf-8")
    spec = read("--spec", "my spec.json")
    assert spec.data.path == str(tmp_path / "set")
    assert spec.model.weights == str(tmp_path / "w.pt")
    assert (spec.iterative.target, spec.label) == (0.7, "mine")
    assert spec.baseline_epochs == Spec().baseline_epochs
    other = read("--spec", "my spec.json", "--target", "0.8", "--dataset", "digits")
    assert (other.iterative.target, other.iterative.iterations) == (0.8, 3)
    assert (other.data.name, other.data.path) == ("digits", "")


def test_a_saved_spec_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(specs.to_json(RECOMMENDED), encoding="utf-8")
    assert read("--spec", str(path)) == RECOMMENDED


def test_a_preset_and_a_spec_file_are_not_both_taken(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(SpecError, match="not both"):
        read("--preset", "textbook", "--spec", str(path))


def test_an_optimizer_brings_its_rate_unless_one_is_given() -> None:
    assert read("--optimizer", "adam").finetune.lr == 0.001
    assert read("--optimizer", "adam", "--lr", "0.01").finetune.lr == 0.01
    assert read("--preset", "textbook", "--optimizer", "sgd").finetune.lr == 0.02


def test_the_matched_run_can_be_left_out() -> None:
    assert QUICKSTART.iterative.matched
    spec = read("--no-matched")
    assert not spec.iterative.matched
    assert spec.label == ""


def test_iterative_pruning_can_be_left_out() -> None:
    spec = read("--no-iterative")
    assert not spec.iterative.enabled
    assert spec.label == ""


def test_a_pattern_brings_its_one_cut_unless_cuts_are_given() -> None:
    for pattern in ("2:4", "4:8"):
        spec = read("--granularity", pattern)
        assert (spec.one_shot.amounts, spec.iterative.enabled) == ((0.0, 0.5), False)
    assert read("--granularity", "2:4", "--amounts", "0.5", "--no-iterative").one_shot.amounts == (
        0.5,
    )
    with pytest.raises(SpecError, match="one cut that removes 50%"):
        read("--granularity", "2:4", "--amounts", "0.3")


def test_a_scan_and_a_ladder_can_go_beside_a_comparison() -> None:
    spec = read("--scan", "--ladder", "--amounts", "0.5")
    assert (spec.scan.enabled, spec.ladder.enabled) == (True, True)
    assert spec.label == ""


@pytest.mark.parametrize(
    ("flag", "text", "other"),
    [
        ("--by-hand", "*=0.5", ("--scope", "erk")),
        ("--norm", "1", ("--granularity", "kernel")),
        ("--dim", "1", ("--granularity", "weight")),
    ],
)
def test_an_option_that_another_choice_would_ignore_is_refused(
    flag: str, text: str, other: tuple[str, str]
) -> None:
    with pytest.raises(SpecError, match=f"{flag}: it is read with"):
        read(flag, text, *other)


UNREAD = [
    (("--keep-floor", "0.1"), ("--scope", "lamp")),
    (("--score-images", "9"), ("--criterion", "taylor")),
    (("--score-images", "9"), ("--schedule", "rigl")),
    (("--norm", "1", "--criterion", "obd"), ("--criterion", "magnitude")),
    (("--ladder-images", "64"), ("--ladder",)),
    (("--distill-temperature", "2"), ("--distill-weight", "0.5")),
    (("--tail", "2", "--no-iterative"), None),
    (("--round-to", "16"), ("--structured", "0.5")),
    (("--score-images", "9"), ("--structured", "0.5", "--importance", "hessian")),
    (("--lr-span", "chain", "--no-iterative"), ("--structured", "0.5")),
    (("--distill-weight", "0.5", "--epochs", "0"), ("--one-shot-epochs", "1")),
]


@pytest.mark.parametrize(("given", "reads"), UNREAD)
def test_an_option_that_changes_nothing_is_told(
    given: tuple[str, ...], reads: tuple[str, ...] | None
) -> None:
    def said(*options: str) -> list[str]:
        found = parser().parse_args(["compare", *options])
        return unread(vars(found), spec_from(found))

    (sentence,) = said(*given)
    assert sentence.startswith(f"{given[0]} changes nothing here: it is read only")
    assert said(*given, *reads) == [] if reads else said(*given[:2]) == []


def test_the_baseline_s_optimizer_brings_its_rate_too() -> None:
    assert read("--baseline-optimizer", "adam").baseline.lr == 0.001
    assert read("--baseline-optimizer", "adam", "--baseline-lr", "0.01").baseline.lr == 0.01
    both = ("--baseline-optimizer", "adamw", "--optimizer", "adamw")
    assert read(*both, "--recovery", "lr_rewind").recovery.method == "lr_rewind"


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0.001, 1).map(lambda x: round(x, 4)), min_size=6, max_size=6))
def test_six_numbers_are_three_means_and_three_deviations(values: list[float]) -> None:
    assert normalization(",".join(map(str, values))) == [values[:3], values[3:]]


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_a_setting_is_named_by_an_option_that_sets_it(option: Option) -> None:
    for field in option.fields:
        assert flag_of(field) in [other.flag for other in OPTIONS if field in other.fields]


def test_a_setting_without_an_option_is_named_itself() -> None:
    assert flag_of("data.validation") == "data.validation"

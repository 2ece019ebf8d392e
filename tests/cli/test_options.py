"""Every option of `compare` lands in its setting, and what overrides what."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path

import pytest

from pruning_core.cli.main import parser
from pruning_core.cli.options import given_settings, options, read_text, spec_from, unused_options
from pruning_core.common.errors import SpecError
from pruning_core.methods.datasets import OWN_IMAGES
from pruning_core.planning.presets import PRESETS, QUICKSTART, RECOMMENDED, TEXTBOOK
from pruning_core.settings import spec as specs
from pruning_core.settings.fields import fields_of
from pruning_core.settings.messages import flag as flag_of
from pruning_core.settings.messages import for_command_line
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from tests.helpers.refusals import spec_of

EPOCHS = ("one_shot.epochs", "iterative.epochs", "structured.epochs")
VALUES: list[tuple[str, str, dict[str, object]]] = [
    ("--dataset", "cifar10", {"data.name": "cifar10"}),
    ("--data", "/some/where", {"data.name": "images", "data.path": "/some/where"}),
    ("--image-size", "64", {"data.image_size": 64}),
    ("--resize", "letterbox", {"data.resize": "letterbox"}),
    ("--train-size", "5000", {"data.train_size": 5000}),
    ("--test-size", "1000", {"data.test_size": 1000}),
    ("--validation-split", "0.2", {"data.validation_split": 0.2}),
    ("--validation-split", "20%", {"data.validation_split": 0.2}),
    ("--split-seed", "3", {"data.split_seed": 3}),
    ("--mean", "0.5", {"data.mean": (0.5, 0.5, 0.5)}),
    ("--mean", "0.1,0.2,0.3", {"data.mean": (0.1, 0.2, 0.3)}),
    ("--std", "0.25", {"data.std": (0.25, 0.25, 0.25)}),
    ("--std", "0.4,0.5,0.6", {"data.std": (0.4, 0.5, 0.6)}),
    ("--augmentation", "crop", {"data.augmentation": "crop"}),
    ("--model", "resnet18", {"model.name": "resnet18"}),
    ("--width", "0.5", {"model.width": 0.5}),
    ("--stem-stride", "1", {"model.stem_stride": 1}),
    ("--weights", "none", {"model.weights": "none"}),
    ("--weights", "pretrained", {"model.weights": "pretrained"}),
    ("--weights", "/a b/ü.safetensors", {"model.weights": "/a b/ü.safetensors"}),
    ("--weights-entry", "state_dict_ema", {"model.weights_entry": "state_dict_ema"}),
    ("--batch-size", "16", {"baseline.batch_size": 16, "finetune.batch_size": 16}),
    ("--baseline-batch-size", "16", {"baseline.batch_size": 16}),
    ("--baseline-epochs", "0", {"baseline_epochs": 0}),
    ("--baseline-replicas", "2", {"baseline_replicas": 2}),
    ("--baseline-lr", "0.3", {"baseline.lr": 0.3}),
    ("--baseline-optimizer", "adam", {"baseline.optimizer": "adam", "baseline.lr": 0.001}),
    ("--baseline-lr-schedule", "step", {"baseline.lr_schedule": "step"}),
    ("--baseline-weight-decay", "0.01", {"baseline.weight_decay": 0.01}),
    ("--momentum", "0.5", {"baseline.momentum": 0.5, "finetune.momentum": 0.5}),
    ("--baseline-momentum", "0.5", {"baseline.momentum": 0.5}),
    ("--clip-grad-norm", "2", {"baseline.clip_grad_norm": 2.0, "finetune.clip_grad_norm": 2.0}),
    ("--baseline-clip-grad-norm", "2", {"baseline.clip_grad_norm": 2.0}),
    ("--lr", "0.005", {"finetune.lr": 0.005}),
    ("--optimizer", "adam", {"finetune.optimizer": "adam", "finetune.lr": 0.001}),
    ("--lr-schedule", "step", {"finetune.lr_schedule": "step"}),
    ("--lr-schedule-span", "pruning", {"lr_schedule_span": "pruning"}),
    ("--warmup", "0.1", {"finetune.warmup": 0.1}),
    ("--weight-decay", "0.01", {"finetune.weight_decay": 0.01}),
    ("--label-smoothing", "0.1", {"finetune.label_smoothing": 0.1}),
    ("--baseline-warmup", "0.1", {"baseline.warmup": 0.1}),
    ("--baseline-label-smoothing", "0.1", {"baseline.label_smoothing": 0.1}),
    ("--recovery", "weight_rewinding", {"recovery.method": "weight_rewinding"}),
    ("--rewind-epoch", "0", {"recovery.rewind_epoch": 0}),
    ("--correction-images", "64", {"correction.images": 64}),
    ("--distillation-weight", "0.5", {"recovery.distillation_weight": 0.5}),
    ("--distillation-temperature", "2", {"recovery.distillation_temperature": 2.0}),
    ("--amounts", "0.3,0.5", {"one_shot.amounts": (0.3, 0.5)}),
    ("--amounts", "30%, 50 %", {"one_shot.amounts": (0.3, 0.5)}),
    ("--amounts", "", {"one_shot.amounts": ()}),
    ("--target", "0.95", {"iterative.target": 0.95}),
    ("--target", "95%", {"iterative.target": 0.95}),
    ("--iterations", "7", {"iterative.iterations": 7}),
    ("--epochs", "4", dict.fromkeys(EPOCHS, 4)),
    (
        "--structured-ratios",
        "0.2,0.4",
        {"structured.ratios": (0.2, 0.4), "structured.enabled": True},
    ),
    ("--structured-ratios", "", {"structured.ratios": (), "structured.enabled": False}),
    ("--structured-ratio-of", "bytes", {"structured.ratio_of": "bytes"}),
    ("--channel-importance", "taylor", {"structured.channel_importance": "taylor"}),
    ("--structured-scope", "global", {"structured.scope": "global"}),
    ("--round-to", "16", {"structured.round_to": 16}),
    ("--max-ratio", "0.75", {"structured.max_ratio": 0.75}),
    ("--structured-steps", "3", {"structured.steps": 3}),
    ("--structured-epochs", "2.5", {"structured.epochs": 2.5}),
    ("--structured-final-epochs", "1", {"structured.final_epochs": 1}),
    ("--one-shot-epochs", "9", {"one_shot.epochs": 9}),
    ("--iterative-epochs", "9", {"iterative.epochs": 9}),
    ("--schedule", "cubic", {"iterative.schedule": "cubic"}),
    (
        "--custom-schedule",
        "0.5,0.8",
        {
            "iterative.custom_schedule": (0.5, 0.8),
            "iterative.schedule": "custom",
            "iterative.iterations": 2,
            "iterative.target": 0.8,
        },
    ),
    ("--final-epochs", "2.5", {"iterative.final_epochs": 2.5}),
    ("--epochs", "0.5", dict.fromkeys(EPOCHS, 0.5)),
    ("--criterion", "random", {"pruning.criterion": "random"}),
    ("--calibration-images", "64", {"pruning.calibration_images": 64}),
    ("--allocation", "global", {"pruning.allocation": "global"}),
    ("--min-density", "0.01", {"pruning.min_density": 0.01}),
    ("--layers", "core", {"pruning.layers": "core"}),
    ("--allocation", "lamp", {"pruning.allocation": "lamp"}),
    ("--exclude", "stem, b.0.*", {"pruning.exclude": ("stem", "b.0.*")}),
    (
        "--layer-sparsities",
        "f*=0.9",
        {"pruning.layer_sparsities": ("f*=0.9",), "pruning.allocation": "custom"},
    ),
    ("--granularity", "block:4", {"pruning.granularity": "block:4"}),
    ("--granularity", "kernel", {"pruning.granularity": "kernel"}),
    ("--filter-norm", "inf", {"pruning.filter_norm": "inf", "pruning.granularity": "filter"}),
    ("--filter-dim", "1", {"pruning.filter_dim": 1, "pruning.granularity": "filter"}),
    ("--seed", "3", {"seeds": (3,)}),
    ("--seed", "0,1,2", {"seeds": (0, 1, 2)}),
    ("--device", "cpu", {"device": "cpu"}),
    ("--precision", "bf16", {"precision": "bf16"}),
    ("--finetune-replicas", "2", {"finetune_replicas": 2}),
    ("--sensitivity-sparsities", "0.5,0.9", {"sensitivity.sparsities": (0.5, 0.9)}),
    ("--sensitivity-images", "200", {"sensitivity.images": 200}),
    ("--sensitivity-correction-images", "64", {"sensitivity.correction_images": 64}),
    ("--sensitivity-unit", "dependency_group", {"sensitivity.unit": "dependency_group"}),
    (
        "--bn-recalibration-images",
        "64",
        {"baseline.bn_recalibration_images": 64, "finetune.bn_recalibration_images": 64},
    ),
    ("--baseline-bn-recalibration-images", "64", {"baseline.bn_recalibration_images": 64}),
]
SWITCHES = [
    ("--leave-out-broken", "data.leave_out_broken", True),
    ("--no-iterative", "iterative.enabled", False),
    ("--no-equal-budget", "iterative.equal_budget", False),
    ("--equal-schedule", "iterative.equal_schedule", True),
    ("--sensitivity", "sensitivity.enabled", True),
    ("--correction", "correction.enabled", True),
    ("--structured", "structured.enabled", True),
]


def flat(value: object, prefix: str = "") -> dict[str, object]:
    """Dotted settings and their values."""
    if not isinstance(value, dict):
        return {prefix: tuple(value) if isinstance(value, list) else value}
    inner = (flat(v, f"{prefix}.{k}".lstrip(".")) for k, v in value.items())
    return reduce(lambda a, b: a | b, inner, {})


def changed(spec: Spec, start: Spec) -> dict[str, object]:
    before, after = flat(to_dict(start)), flat(to_dict(spec))
    return {name: v for name, v in after.items() if v != before[name] and name != "label"}


@pytest.mark.parametrize(("flag", "text", "wanted"), VALUES)
def test_an_option_sets_its_settings_and_nothing_else(
    flag: str, text: str, wanted: dict[str, object]
) -> None:
    spec = spec_of(flag, text)
    values = flat(to_dict(spec))
    assert {name: values[name] for name in wanted} == wanted
    implied = {"data.augmentation"} if flag in ("--data", "--dataset") else set()
    assert set(changed(spec, QUICKSTART)) <= set(wanted) | implied


def test_every_option_is_tried_here() -> None:
    tried = {flag for flag, _, _ in VALUES} | {flag for flag, _, _ in SWITCHES}
    assert tried == {option.flag for option in options()}


@pytest.mark.parametrize(("flag", "name", "value"), SWITCHES)
def test_a_switch_sets_its_setting_and_nothing_else(flag: str, name: str, value: bool) -> None:
    spec = spec_of(flag)
    assert changed(spec, QUICKSTART) == {name: value}
    assert spec.label == ""


SHARED = [
    ("--epochs", "--one-shot-epochs", "one_shot.epochs", "iterative.epochs"),
    ("--epochs", "--iterative-epochs", "iterative.epochs", "structured.epochs"),
    ("--epochs", "--structured-epochs", "structured.epochs", "one_shot.epochs"),
    ("--batch-size", "--baseline-batch-size", "baseline.batch_size", "finetune.batch_size"),
    ("--momentum", "--baseline-momentum", "baseline.momentum", "finetune.momentum"),
]


@pytest.mark.parametrize(("shared", "single", "name", "other"), SHARED)
def test_the_option_of_one_setting_wins_over_a_shared_one_in_any_order(
    shared: str, single: str, name: str, other: str
) -> None:
    """And an error of the setting names the option that set it."""
    low, high = ("0.25", "0.75") if "momentum" in shared else ("8", "16")
    both = ([shared, low, single, high], [single, high, shared, low])
    for arguments in both:
        values = flat(to_dict(spec_of(*arguments)))
        assert (values[name], values[other]) == (float(high), float(low))
        flags = given_settings(parser().parse_args(["compare", *arguments]))
        assert (flags[name], flags[other]) == (single, shared)
    with pytest.raises(SpecError) as error:
        spec_of(shared, low, single, "-1")
    assert for_command_line(error.value).startswith(f"{single}: ")
    with pytest.raises(SpecError) as error:
        spec_of(shared, "-1", single, high)
    assert for_command_line(error.value).startswith(f"{shared}: ")


def test_percent_is_for_fractions_only() -> None:
    assert spec_of("--target", "90%") == spec_of("--target", "0.9")
    assert spec_of("--target", "0.5 %").iterative.target == 0.005
    for text in ("%", "9%0", "nine%"):
        with pytest.raises(SpecError, match="is not a number"):
            spec_of("--target", text)
    with pytest.raises(SpecError, match="'5%' is not a number"):
        spec_of("--lr", "5%")


def test_the_user_s_own_images_are_no_named_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["compare", "--dataset", OWN_IMAGES])
    assert f"--dataset: invalid choice: '{OWN_IMAGES}'" in capsys.readouterr().err


def test_no_preset_means_quickstart() -> None:
    assert spec_of() == QUICKSTART
    assert spec_of("--preset", "quickstart") == QUICKSTART


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_taken_as_it_is(name: str) -> None:
    assert spec_of("--preset", name) == PRESETS[name].spec


@pytest.mark.parametrize("spec", [QUICKSTART, TEXTBOOK])
def test_quickstart_and_textbook_prune_every_layer_uniformly(spec: Spec) -> None:
    assert (spec.pruning.layers, spec.pruning.allocation) == ("all", "uniform")


def test_textbook_is_the_assignment_s_experiment() -> None:
    data = TEXTBOOK.data
    assert (data.name, data.train_size, data.test_size) == ("cifar10", 5000, 1000)
    assert TEXTBOOK.model.weights == "pretrained"


def test_an_option_overrides_the_preset() -> None:
    spec = spec_of("--preset", "recommended", "--iterations", "2", "--allocation", "uniform")
    assert (spec.iterative.iterations, spec.pruning.allocation) == (2, "uniform")
    assert spec.iterative.schedule == RECOMMENDED.iterative.schedule
    assert spec.label == ""


def test_paths_are_those_of_this_folder_or_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker runs in another folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of/someone")
    spec = spec_of("--data", "~/set.zip", "--weights", "w.safetensors")
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
    spec = spec_of("--spec", "my spec.json")
    assert spec.data.path == str(tmp_path / "set")
    assert spec.model.weights == str(tmp_path / "w.pt")
    assert (spec.iterative.target, spec.label) == (0.7, "mine")
    assert spec.baseline_epochs == Spec().baseline_epochs
    other = spec_of("--spec", "my spec.json", "--target", "0.8", "--dataset", "digits")
    assert (other.iterative.target, other.iterative.iterations) == (0.8, 3)
    assert (other.data.name, other.data.path) == ("digits", "")


def test_a_saved_spec_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(specs.to_json(RECOMMENDED), encoding="utf-8")
    assert spec_of("--spec", str(path)) == RECOMMENDED


def test_a_preset_and_a_spec_file_are_not_both_taken(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(SpecError, match="not both"):
        spec_of("--preset", "textbook", "--spec", str(path))


UNREAD: list[tuple[tuple[str, ...], tuple[str, ...] | None]] = [
    (("--min-density", "0.1"), ("--allocation", "lamp")),
    (("--calibration-images", "9"), ("--criterion", "taylor")),
    (("--calibration-images", "9"), ("--schedule", "rigl")),
    (("--filter-norm", "1", "--criterion", "obd"), ("--criterion", "magnitude")),
    (("--correction-images", "64"), ("--correction",)),
    (("--distillation-temperature", "2"), ("--distillation-weight", "0.5")),
    (("--final-epochs", "2", "--no-iterative"), None),
    (("--round-to", "16"), ("--structured-ratios", "0.5")),
    (
        ("--calibration-images", "9"),
        ("--structured-ratios", "0.5", "--channel-importance", "hessian"),
    ),
    (
        ("--lr-schedule-span", "pruning", "--no-iterative"),
        ("--structured-ratios", "0.5", "--structured-steps", "2"),
    ),
    (
        ("--lr-schedule-span", "pruning", "--no-iterative", "--structured-ratios", "0.5"),
        ("--structured-final-epochs", "1"),
    ),
    (("--distillation-weight", "0.5", "--epochs", "0"), ("--one-shot-epochs", "1")),
    (("--iterative-epochs", "2", "--no-iterative", "--epochs", "1"), None),
]


@pytest.mark.parametrize(("given", "used_with"), UNREAD)
def test_an_option_without_an_effect_is_noted(
    given: tuple[str, ...], used_with: tuple[str, ...] | None
) -> None:
    def notes(*arguments: str) -> list[str]:
        parsed = parser().parse_args(["compare", *arguments])
        return unused_options(parsed, spec_from(parsed))

    (note,) = notes(*given)
    assert note.startswith(f"{given[0]} has no effect here: it is used only ")
    assert note.endswith(".")
    assert notes(*given, *used_with) == [] if used_with else notes(*given[:2]) == []


@pytest.mark.parametrize("name", [name for name, field in fields_of(Spec).items() if field.flag])
def test_a_setting_is_named_by_an_option_that_sets_it(name: str) -> None:
    assert flag_of(name) in [option.flag for option in options() if name in option.fields]


def test_a_setting_without_an_option_is_named_itself() -> None:
    assert fields_of(Spec)["label"].flag is None
    assert flag_of("label") == "label"


def test_one_number_is_for_channels_only() -> None:
    fields = fields_of(Spec)
    assert read_text(fields["data.mean"], "0.5") == [0.5] * 3
    assert read_text(fields["one_shot.amounts"], "0.5") == [0.5]

"""Settings that other options imply, and options that contradict each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.settings.messages import for_command_line
from tests.helpers.refusals import spec_of


def test_data_takes_the_place_of_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = spec_of("--dataset", "mnist", "--data", "my images")
    assert (spec.data.name, spec.data.path) == ("images", str(tmp_path / "my images"))


def test_an_optimizer_brings_its_rate_unless_one_is_given() -> None:
    assert spec_of("--optimizer", "adam").finetune.lr == 0.001
    assert spec_of("--optimizer", "adam", "--lr", "0.01").finetune.lr == 0.01
    assert spec_of("--preset", "textbook", "--optimizer", "sgd").finetune.lr == 0.02


def test_a_pattern_implies_its_sparsity_unless_sparsities_are_given() -> None:
    for pattern in ("2:4", "4:8"):
        spec = spec_of("--granularity", pattern)
        assert (spec.one_shot.amounts, spec.iterative.enabled) == ((0.0, 0.5), False)
    assert spec_of(
        "--granularity", "2:4", "--amounts", "0.5", "--no-iterative"
    ).one_shot.amounts == (0.5,)
    with pytest.raises(SpecError, match=r"prunes 0\.5 of each layer that .*, in one step"):
        spec_of("--granularity", "2:4", "--amounts", "0.3")


@pytest.mark.parametrize(
    ("flag", "text", "other"),
    [
        ("--layer-sparsities", "*=0.5", ("--allocation", "erk")),
        ("--filter-norm", "1", ("--granularity", "kernel")),
        ("--filter-dim", "1", ("--granularity", "unstructured")),
    ],
)
def test_an_option_that_another_choice_would_ignore_is_refused(
    flag: str, text: str, other: tuple[str, str]
) -> None:
    with pytest.raises(SpecError) as error:
        spec_of(flag, text, *other)
    message = for_command_line(error.value)
    assert message.startswith(f"{flag}: it is used only with {other[0]} ")
    assert message.endswith("; leave one of them out.")


def test_the_baseline_s_optimizer_brings_its_rate_too() -> None:
    assert spec_of("--baseline-optimizer", "adam").baseline.lr == 0.001
    assert spec_of("--baseline-optimizer", "adam", "--baseline-lr", "0.01").baseline.lr == 0.01
    both = ("--baseline-optimizer", "adamw", "--optimizer", "adamw")
    assert spec_of(*both, "--recovery", "lr_rewinding").recovery.method == "lr_rewinding"

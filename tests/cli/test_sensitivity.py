"""`sensitivity`: a table with intervals, a CSV, and per-layer sparsities for `compare`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from pruning_core.cli.main import main, parser
from pruning_core.cli.options import spec_from
from pruning_core.common.paths import Cache
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.settings.spec import Spec
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.refusals import ended
from tests.helpers.workers import TINY_OPTIONS

OPTIONS = (*TINY_OPTIONS, "--sensitivity-sparsities", "0.5,0.9", "--sensitivity-images", "20")
pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def sensitivity(cache: Cache, tmp_path: Path) -> list[str]:
    return ["sensitivity", "--cache-dir", str(cache.root), *OPTIONS, "--out", str(tmp_path)]


def allocated(out: str) -> Spec:
    """The spec of `compare` with the options that the command has printed."""
    (line,) = [line for line in out.splitlines() if line.startswith("--allocation custom")]
    return spec_from(parser().parse_args(["compare", *shlex.split(line)]))


def layer_sparsities(spec: Spec) -> dict[str, float]:
    entries = (entry.split("=") for entry in spec.pruning.layer_sparsities)
    return {name: float(sparsity) for name, sparsity in entries}


def test_it_prints_intervals_and_sparsities_that_compare_takes(
    sensitivity: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ended(capfd, *sensitivity, "--allocate", "40%")
    assert code == 0
    printed = " ".join(out.split())
    assert (
        "Accuracy in percent with only this layer pruned and no training, and its 95 % interval, on"
        in printed
    )
    frame = pd.read_csv(tmp_path / "sensitivity.csv")
    assert frame["layer"].nunique() == 53
    spec = allocated(out)
    sizes = frame.groupby("layer")["size"].first()
    removed = sum(share * sizes[name] for name, share in layer_sparsities(spec).items())
    assert removed / sizes.sum() == pytest.approx(0.4, abs=1e-4)
    assert spec.one_shot.amounts == (0.4,)
    assert not spec.iterative.enabled


def test_dependency_groups_have_no_allocation_to_layers(
    sensitivity: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    groups = [*sensitivity, "--sensitivity-unit", "dependency_group"]
    assert ended(capfd, *groups, "--allocate", "0.4") == (
        2,
        "",
        "--allocate: it needs the sensitivity of layers; leave it out, or give --sensitivity-unit "
        "layer.\n",
    )
    code, out, _ = ended(capfd, *groups, "--excel")
    assert code == 0
    assert "with only this dependency group pruned" in " ".join(out.split())
    frame = pd.read_csv(tmp_path / "sensitivity.csv", sep=";", decimal=",")
    assert set(frame["size_unit"]) == {"channels"}
    assert frame["accuracy"].between(0, 1).all()


@pytest.mark.parametrize(
    ("budget", "printed", "sparsity"),
    [
        ("zeros=30%", "Overall sparsity: 30", 0.3),
        ("bytes=0.9MB", "File size: 89", None),
        ("macs=1.2M", "Multiply-accumulates: 1.2", None),
    ],
)
def test_a_budget_gives_sparsities_that_compare_takes(
    sensitivity: list[str],
    budget: str,
    printed: str,
    sparsity: float | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    code, out, _ = ended(capfd, *sensitivity, "--budget", budget)
    assert code == 0
    assert printed in out, out.splitlines()[-3][:200]
    spec = allocated(out)
    if sparsity:
        assert spec.one_shot.amounts[0] == pytest.approx(sparsity, abs=0.005)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size=1MB", "is not a budget such as bytes=0.9MB; choose from zeros, bytes, macs, ms"),
        ("bytes=big", "'big' is no number above 0, such as 2 MB"),
        ("zeros=100%", "'100%' is no number above 0 and below 1, such as 80%"),
        ("bytes=1kB", "1.00 kB is not possible with the measured sparsities: they allow at least"),
    ],
)
def test_a_wrong_budget_is_refused(
    sensitivity: list[str], text: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ended(capfd, *sensitivity, "--budget", text)
    assert code == 2
    assert err.splitlines()[-1].startswith("--budget: ")
    assert message in err.splitlines()[-1]


def test_filters_are_allocated_in_filters_with_all_options_that_compare_needs(
    sensitivity: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    filters = ["--granularity", "filter", "--filter-dim", "1", "--layers", "core"]
    filters += ["--structured-ratios", "0.5", "--sensitivity-images", "5000"]
    code, out, _ = ended(capfd, *sensitivity, *filters, "--allocate", "0.3")
    assert code == 0
    assert "; 5,000 requested)" in out
    frame = pd.read_csv(tmp_path / "sensitivity.csv")
    first = frame.groupby("layer")[["size", "units"]].first()
    assert (first["units"] < first["size"]).all()
    spec = allocated(out)
    assert (spec.pruning.granularity, spec.pruning.filter_dim, spec.pruning.layers) == (
        "filter",
        1,
        "core",
    )
    pruned = sum(share * first["units"][name] for name, share in layer_sparsities(spec).items())
    assert pruned / first["units"].sum() == pytest.approx(0.3, abs=1e-4)


def test_it_leaves_out_all_that_would_be_fine_tuned() -> None:
    base = replace(QUICKSTART, structured=StructuredSpec(enabled=True, ratios=(0.5,)))
    spec = sensitivity_only(base)
    assert not any(part.enabled for part in (spec.structured, spec.iterative, spec.correction))
    assert spec.one_shot.amounts == ()


def test_an_overall_sparsity_beyond_the_measured_ones_is_refused(
    sensitivity: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ended(capfd, *sensitivity, "--allocate", "0.99")
    assert code == 2
    message = err.splitlines()[-1]
    assert message.startswith("--allocate: ")
    assert "99" in message


@pytest.mark.parametrize("text", ["much", "40 percent"])
def test_an_overall_sparsity_that_is_no_number_is_refused(
    sensitivity: list[str], capfd: pytest.CaptureFixture[str], text: str
) -> None:
    code, _, err = ended(capfd, *sensitivity, "--allocate", text)
    assert code == 2
    assert err.startswith(f"--allocate: '{text}' is not a number; see ")


def test_an_n_m_pattern_has_no_sensitivity_analysis(
    sensitivity: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    pattern = ["--granularity", "2:4", "--amounts", "0,0.5", "--no-iterative"]
    code, _, err = ended(capfd, *sensitivity, *pattern)
    assert code == 2
    assert err.startswith("--sensitivity: ")
    assert "2:4" in err


def test_an_option_without_an_effect_is_noted_before_the_run(
    cache: Cache, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--no-iterative", "--amounts", "0", "--final-epochs", "2"]
    assert main(["compare", *TINY_OPTIONS, *options, "--cache-dir", str(cache.root)]) == 0
    note = "Note: --final-epochs has no effect here: it is used only with iterative pruning.\n"
    assert note in capfd.readouterr().err

"""`scan` on the command line: a table with intervals, a CSV, and shares to go on with."""

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
from pruning_core.settings.structured import StructuredSpec
from tests.helpers.refusals import ended, without_worker
from tests.helpers.workers import TINY_OPTIONS

SCAN = (*TINY_OPTIONS, "--sensitivity-sparsities", "0.5,0.9", "--sensitivity-images", "20")


@pytest.fixture
def scan(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    without_worker(monkeypatch)
    return ["sensitivity", "--cache-dir", str(cache.root), *SCAN, "--out", str(tmp_path)]


def test_a_scan_prints_intervals_and_shares_that_compare_takes(
    scan: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = ended(capfd, *scan, "--propose", "0.4")
    assert code == 0
    assert "95 % interval" in " ".join(out.split())
    found = pd.read_csv(tmp_path / "sensitivity.csv")
    assert found["layer"].nunique() == 53
    (line,) = [line for line in out.splitlines() if line.startswith("--allocation hand")]
    spec = spec_from(parser().parse_args(["compare", *shlex.split(line)]))
    shares = dict(entry.split("=") for entry in spec.pruning.layer_sparsities)
    sizes = found.groupby("layer")["size"].first()
    removed = sum(float(share) * sizes[name] for name, share in shares.items())
    assert removed / sizes.sum() == pytest.approx(0.4, abs=1e-4)
    assert spec.one_shot.amounts == (0.4,)


def test_groups_are_scanned_and_no_shares_of_layers_proposed_from_them(
    scan: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, said = ended(
        capfd, *scan, "--sensitivity-unit", "dependency_group", "--propose", "0.4"
    )
    assert (code, said) == (
        2,
        "--propose: shares by hand are of layers; leave it out, or scan with --sensitivity-unit layer.\n",
    )
    code, out, _ = ended(capfd, *scan, "--sensitivity-unit", "dependency_group")
    assert code == 0
    assert "this coupled group of channels alone cut" in " ".join(out.split())
    assert set(pd.read_csv(tmp_path / "sensitivity.csv")["size_unit"]) == {"channels"}


def test_a_scan_of_filters_is_proposed_in_filters_with_all_that_compare_needs(
    scan: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = [
        "--granularity",
        "filter",
        "--filter-dim",
        "1",
        "--layers",
        "core",
        "--structured-ratios",
        "0.5",
    ]
    code, out, _ = ended(capfd, *scan, *cut, "--sensitivity-images", "5000", "--propose", "0.3")
    assert code == 0
    assert "(all there are; 5,000 were asked for)." in out
    found = pd.read_csv(tmp_path / "sensitivity.csv")
    first = found.groupby("layer")[["size", "units"]].first()
    assert (first["pieces"] < first["size"]).all()
    (line,) = [line for line in out.splitlines() if line.startswith("--allocation hand")]
    spec = spec_from(parser().parse_args(["compare", *shlex.split(line)]))
    assert (spec.pruning.granularity, spec.pruning.filter_dim, spec.pruning.layers) == (
        "filter",
        1,
        "core",
    )
    shares = dict(entry.split("=") for entry in spec.pruning.layer_sparsities)
    gone = sum(float(share) * first["pieces"][name] for name, share in shares.items())
    assert gone / first["pieces"].sum() == pytest.approx(0.3, abs=1e-4)


def test_a_scan_leaves_out_all_that_would_be_trained() -> None:
    base = replace(QUICKSTART, structured=StructuredSpec(enabled=True, ratios=(0.5,)))
    made = sensitivity_only(base)
    assert not any(part.enabled for part in (made.structured, made.iterative, made.correction))
    assert made.one_shot.amounts == ()


def test_a_total_that_was_not_scanned_is_refused(
    scan: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    code, _, err = ended(capfd, *scan, "--propose", "0.99")
    assert code == 2
    assert "--propose: 99.00% is asked for" in err


def test_a_pattern_is_no_scan(scan: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    pattern = ["--granularity", "2:4", "--amounts", "0,0.5", "--no-iterative"]
    code, _, err = ended(capfd, *scan, *pattern)
    assert code == 2
    assert "a scan tries several sparsities" in err


def test_an_option_that_changes_nothing_is_told_before_the_run(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    without_worker(monkeypatch)
    options = ["--no-iterative", "--amounts", "0", "--final-epochs", "2"]
    assert main(["compare", *TINY_OPTIONS, *options, "--cache-dir", str(cache.root)]) == 0
    assert "Note: --final-epochs changes nothing here" in capfd.readouterr().err

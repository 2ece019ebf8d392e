"""How long a run will take, from measured speeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pruning_core.planning.estimate import (
    SECONDS_PER_STAGE,
    START_SECONDS,
    TRAINING_SHARE,
    Estimate,
    estimate,
    estimate_text,
    probe,
)
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART, RECOMMENDED
from pruning_core.planning.stage import Plan
from pruning_core.settings.correction import CorrectionSpec
from pruning_core.settings.data import ModelSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from tests.helpers.inspections import MODEL, Facts


def seconds(spec: Spec, facts: Facts, made: Plan | None = None, cores: int = 2) -> Estimate:
    found = estimate(spec, made or plan(spec, facts), facts, cores)
    assert found
    return found


def test_a_finished_stage_s_own_pace_counts() -> None:
    facts = Facts(QUICKSTART)
    made = plan(QUICKSTART, facts)
    before = seconds(QUICKSTART, facts)
    level = next(stage for stage in made.stages if stage.kind == "pruned")
    facts.results[level.key] = {"seconds": 1000.0}
    assert seconds(QUICKSTART, facts).left > 5 * before.left


def test_more_cores_do_not_shorten_a_chain() -> None:
    chain = IterativeSpec(iterations=10, epochs=10, equal_budget=False)
    spec = replace(QUICKSTART, one_shot=OneShotSpec(amounts=(), epochs=0), iterative=chain)
    facts = Facts(spec)
    epoch = 1437 * 0.9 / MODEL["images_per_second"]
    assert seconds(spec, facts, cores=64).left > START_SECONDS + 100 * epoch


def test_the_estimate_before_and_after_planning_is_the_same() -> None:
    facts = Facts(QUICKSTART)
    assert seconds(QUICKSTART, facts).left == pytest.approx(
        seconds(QUICKSTART, facts, Plan(())).left
    )


def test_a_scan_takes_its_forward_passes() -> None:
    """Seven looks of a third of a step at 100 images for each of the layers, on one core."""
    scan = SensitivitySpec(enabled=True, images=100)
    plain = replace(QUICKSTART, one_shot=OneShotSpec(amounts=(0.5,), epochs=0))
    plain = replace(plain, iterative=replace(plain.iterative, enabled=False))
    spec = replace(plain, sensitivity=scan)
    layers = len(MODEL["layers"])
    more = seconds(spec, Facts(spec), cores=1).left - seconds(plain, Facts(plain), cores=1).left
    each = 7 * 100 / 3 / (MODEL["images_per_second"] * TRAINING_SHARE)
    assert more == pytest.approx(layers * (each + SECONDS_PER_STAGE))
    all_images = replace(spec, sensitivity=replace(scan, images=0))
    assert seconds(all_images, Facts(all_images), cores=1).left > seconds(spec, Facts(spec)).left


def climb(spec: Spec, amount: float) -> Spec:
    cut = replace(spec, one_shot=OneShotSpec(amounts=(amount,), epochs=0))
    return replace(cut, iterative=replace(spec.iterative, enabled=False))


def test_a_ladder_takes_its_passes_up_to_each_layer() -> None:
    """Of two layers: steps of 0.25, 0.5 + 2 * 0.1 and 0.5 + 2 * 0.17, on 100 images."""
    bare = climb(QUICKSTART, 0.5)
    spec = replace(bare, correction=CorrectionSpec(enabled=True, images=100))
    more = seconds(spec, Facts(spec), cores=1).left - seconds(bare, Facts(bare), cores=1).left
    each = 100 / (MODEL["images_per_second"] * TRAINING_SHARE)
    assert more == pytest.approx((0.25 + 0.7 + 0.84) * each + 3 * SECONDS_PER_STAGE, rel=1e-4)
    fewer = replace(spec, correction=CorrectionSpec(enabled=True, images=16))
    assert seconds(fewer, Facts(fewer)).left < seconds(spec, Facts(spec)).left


def test_least_squares_of_wide_layers_takes_long_the_longer_the_more_is_left() -> None:
    """Three times 512 channels of 2,304 left weights: 895 s at 7e9 a second, however many cores."""
    wide = {"name": "w", "kind": "conv", "role": "", "shape": [512, 512, 3, 3], "size": 2359296}
    model = {**MODEL, "layers": [wide] * 3}

    def left(amount: float, **pruning: Any) -> float:
        spec = replace(climb(QUICKSTART, amount), correction=CorrectionSpec(enabled=True))
        spec = replace(spec, pruning=replace(spec.pruning, **pruning))
        return seconds(spec, Facts(spec, model=model)).left

    solved = 3 * 512 * 2304**3 / 3 / 7e9
    assert left(0.5) - left(0.9) == pytest.approx(solved * (1 - 0.2**3), rel=1e-3)
    # All filters that stay of a layer have the same inputs, which are solved for once.
    assert left(0.5) - left(0.5, granularity="filter") == pytest.approx(
        solved * 511 / 512, rel=1e-3
    )


def test_scoring_takes_time_where_images_are_looked_at() -> None:
    def left(criterion: str, images: int = 512) -> float:
        spec = replace(QUICKSTART, pruning=PruningSpec(criterion, calibration_images=images))
        return seconds(spec, Facts(spec)).left

    assert left("magnitude") < left("wanda") < left("taylor") < left("obd")
    assert left("obd", 64) < left("obd", 512)
    assert left("taylor", 10**6) == left("taylor", 1437)


def test_of_all_that_is_cached_nothing_is_left() -> None:
    """With own weights the look at the model itself tells the speed."""
    spec = replace(QUICKSTART, model=replace(QUICKSTART.model, weights="pretrained"))
    facts = Facts(spec)
    made = plan(spec, facts)
    assert seconds(spec, facts, made).left > 0
    facts.results.update({stage.key: facts.results.get(stage.key, {}) for stage in made.stages})
    assert seconds(spec, facts, made).left == 0.0


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (0.0, "opens at once"),
        (1.0, "about 5 s"),
        (94.0, "about 1 min 30 s"),
        (4000, "about 1 h 7 min"),
    ],
)
def test_the_estimate_is_no_more_exact_than_it_is_known(left: float, said: str) -> None:
    assert estimate_text(Estimate(left, left)) == said


def test_the_speed_is_looked_at_without_the_weights_that_the_run_needs(tmp_path: Path) -> None:
    """A teacher that is loaded, not trained: without its weights the spec would be refused."""
    (tmp_path / "mine.pth").write_bytes(b"weights")
    model = ModelSpec(weights=str(tmp_path / "mine.pth"))
    spec = replace(RECOMMENDED, baseline_epochs=0, model=model)
    stage = probe(spec, Facts(spec))
    assert stage is not None
    assert stage.settings["model"]["weights"] == "none"

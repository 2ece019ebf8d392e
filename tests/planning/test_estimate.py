"""How long a run takes, from measured speeds."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pruning_core.planning.estimate import (
    MOST_ATTEMPTS,
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
from tests.helpers.results import result


def seconds(spec: Spec, facts: Facts, planned: Plan | None = None, cores: int = 2) -> Estimate:
    estimated = estimate(spec, planned or plan(spec, facts), facts, cores)
    assert estimated
    return estimated


def test_the_pace_of_a_finished_stage_counts() -> None:
    facts = Facts(QUICKSTART)
    before = seconds(QUICKSTART, facts)
    pruned = next(s for s in plan(QUICKSTART, facts).stages if s.kind == "pruned")
    facts.results[pruned.key] = {**result(0, 0.9, 1, 1), "seconds": 1000.0}
    after = seconds(QUICKSTART, facts)
    assert after.low > 5 * before.high
    assert after.high / after.low < before.high / before.low, "a measured pace is more certain"


def test_more_cores_do_not_shorten_a_chain() -> None:
    chain = IterativeSpec(iterations=10, epochs=10, equal_budget=False)
    spec = replace(QUICKSTART, one_shot=OneShotSpec(amounts=(), epochs=0), iterative=chain)
    facts = Facts(spec)
    epoch = 1437 * 0.9 / MODEL["images_per_second"]
    assert seconds(spec, facts, cores=64).high > START_SECONDS[1] + 100 * epoch


def test_replicas_shorten_a_training_only_where_each_has_a_core() -> None:
    chain = IterativeSpec(iterations=10, epochs=10, equal_budget=False)
    spec = replace(QUICKSTART, one_shot=OneShotSpec(amounts=(), epochs=0), iterative=chain)
    four = replace(spec, finetune_replicas=4)
    facts = Facts(spec)
    assert seconds(four, facts, cores=4).low < 0.5 * seconds(spec, facts, cores=4).low
    assert seconds(four, facts, cores=3).low >= seconds(spec, facts, cores=3).low


def test_the_estimate_before_and_after_planning_is_the_same() -> None:
    facts = Facts(QUICKSTART)
    assert seconds(QUICKSTART, facts).remaining == pytest.approx(
        seconds(QUICKSTART, facts, Plan(())).remaining
    )


def test_a_sensitivity_analysis_takes_its_forward_passes() -> None:
    """Seven passes of a third of a step over 100 images for each of the layers, on one core."""
    analysis = SensitivitySpec(enabled=True, images=100)
    without = replace(QUICKSTART, one_shot=OneShotSpec(amounts=(0.5,), epochs=0))
    without = replace(without, iterative=replace(without.iterative, enabled=False))
    spec = replace(without, sensitivity=analysis)
    layers = len(MODEL["layers"])
    more = seconds(spec, Facts(spec), cores=1).high - seconds(without, Facts(without), cores=1).high
    each = 7 * 100 / 3 / (MODEL["images_per_second"] * TRAINING_SHARE[0])
    assert more == pytest.approx(layers * (each + SECONDS_PER_STAGE[1]))
    twice = replace(spec, sensitivity=replace(analysis, correction_images=50))
    more = seconds(twice, Facts(twice), cores=1).high - seconds(spec, Facts(spec), cores=1).high
    assert more == pytest.approx(layers * each * (6 * 100 + 50) / (7 * 100))
    all_images = replace(spec, sensitivity=replace(analysis, images=0))
    assert (
        seconds(all_images, Facts(all_images), cores=1).remaining
        > seconds(spec, Facts(spec)).remaining
    )


def untrained(spec: Spec, target: float) -> Spec:
    """The spec with one pruning step without training as its only work."""
    one_shot = replace(spec, one_shot=OneShotSpec(amounts=(target,), epochs=0))
    return replace(one_shot, iterative=replace(spec.iterative, enabled=False))


def test_corrections_take_their_passes_up_to_each_layer() -> None:
    """Of two layers: steps of 0.25, 0.5 + 2 * 0.1 and 0.5 + 2 * 0.17, on 100 images."""
    without = untrained(QUICKSTART, 0.5)
    spec = replace(without, correction=CorrectionSpec(enabled=True, images=100))
    more = seconds(spec, Facts(spec), cores=1).high - seconds(without, Facts(without), cores=1).high
    each = 100 / (MODEL["images_per_second"] * TRAINING_SHARE[0])
    assert more == pytest.approx((0.25 + 0.7 + 0.84) * each + 3 * SECONDS_PER_STAGE[1], rel=1e-4)
    fewer = replace(spec, correction=CorrectionSpec(enabled=True, images=16))
    assert seconds(fewer, Facts(fewer)).remaining < seconds(spec, Facts(spec)).remaining


def test_weight_reconstruction_of_wide_layers_takes_long_at_low_sparsity() -> None:
    """Three layers of 512 channels with 2,304 remaining weights: 895 s at 7e9 per second."""
    wide = {"name": "w", "kind": "conv", "role": "", "shape": [512, 512, 3, 3], "size": 2359296}
    model = {**MODEL, "layers": [wide] * 3}

    def remaining(target: float, **pruning: Any) -> float:
        spec = replace(untrained(QUICKSTART, target), correction=CorrectionSpec(enabled=True))
        spec = replace(spec, pruning=replace(spec.pruning, **pruning))
        return seconds(spec, Facts(spec, model=model)).remaining

    solved = 3 * 512 * 2304**3 / 3 / 7e9
    assert remaining(0.5) - remaining(0.9) == pytest.approx(solved * (1 - 0.2**3), rel=1e-3)
    # All remaining filters of a layer have the same inputs: one factorization solves for them.
    assert remaining(0.5) - remaining(0.5, granularity="filter") == pytest.approx(
        solved * 511 / 512, rel=1e-3
    )
    # Output channels of a block share one, too.
    assert remaining(0.5) - remaining(0.5, granularity="block:4") == pytest.approx(
        solved * 3 / 4, rel=1e-3
    )


def test_scoring_takes_time_with_calibration_images() -> None:
    def remaining(criterion: str, images: int = 512) -> float:
        spec = replace(QUICKSTART, pruning=PruningSpec(criterion, calibration_images=images))
        return seconds(spec, Facts(spec)).remaining

    assert remaining("magnitude") < remaining("wanda") < remaining("taylor") < remaining("obd")
    assert remaining("obd", 64) < remaining("obd", 512)
    assert remaining("taylor", 100_000) == remaining("taylor", 1437)


def test_removing_weights_one_after_another_takes_time() -> None:
    """Both passes of OBS, and least squares once; the inputs of the wider layer in parts."""
    narrow = {"name": "n", "kind": "conv", "role": "", "shape": [64, 128, 3, 3], "size": 73728}
    wide = {"name": "w", "kind": "conv", "role": "", "shape": [512, 256, 3, 3], "size": 1179648}
    facts = {**MODEL, "layers": [narrow, wide]}

    def remaining(criterion: str) -> float:
        pruning = PruningSpec(criterion, calibration_images=1)
        spec = replace(untrained(QUICKSTART, 0.5), pruning=pruning)
        return seconds(spec, Facts(spec, model=facts)).remaining

    removal = 64 * 1152**3 + 2 * 2e11 + 4 * 2304**3
    solution = (64 * 576**3 + 512 * 1152**3) / 3
    added = remaining("obs") - remaining("wanda")
    assert added == pytest.approx((removal + solution) / 7e9, rel=0.01)


def test_cached_stages_take_no_time() -> None:
    """With pretrained weights the inspection of the model itself gives the speed."""
    spec = replace(QUICKSTART, model=replace(QUICKSTART.model, weights="pretrained"))
    facts = Facts(spec)
    planned = plan(spec, facts)
    assert seconds(spec, facts, planned).remaining > 0
    trained = {model.key: result(0, 0.9, 1, 1) for model in planned.models}
    facts.results = {stage.key: {} for stage in planned.stages} | trained | facts.results
    assert seconds(spec, facts, planned) == Estimate(0.0, 0.0)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (0.0, 0.0, "instant (all results cached)"),
        (0.5, 1.0, "about 5 s"),
        (38.0, 88.0, "40 to 90 s"),
        (94.0, 94.0, "about 90 s"),
        (52.0, 170.0, "1 to 3 min"),
        (31.0, 170.0, "30 s to 3 min"),
        (110.0, 250.0, "2 to 4 min"),
        (700.0, 1500.0, "10 to 25 min"),
        (4000.0, 4000.0, "about 70 min"),
        (5000.0, 9000.0, "1 to 2 h"),
        (40 * 3600.0, 70 * 3600.0, "2 to 3 days"),
    ],
)
def test_the_text_is_rounded_to_the_precision_of_the_estimate(
    low: float, high: float, text: str
) -> None:
    assert estimate_text(Estimate(low, high)) == text
    assert estimate_text(None) == "measuring"


def busy(core_share: float, **changes: Any) -> dict[str, Any]:
    """The result of a trial long ago in which another program used the processor."""
    return {**MODEL, "core_share": core_share, "typical_share": core_share, **changes}


def test_the_speed_is_measured_again_when_the_machine_was_busy() -> None:
    """Only when no other stage runs, not at once, and not for ever."""
    facts = Facts(QUICKSTART)
    first = probe(QUICKSTART, facts)
    assert first is not None
    facts.results[first.key] = busy(0.5)
    second = probe(QUICKSTART, facts)
    assert second is not None
    assert second.key != first.key
    assert probe(QUICKSTART, facts, {second.key}) == second, "it is the one that runs"
    assert probe(QUICKSTART, facts, {"a stage of a run"}) == first
    facts.results[first.key] = busy(0.5, measured=time.time())
    assert probe(QUICKSTART, facts) == first
    facts.results[first.key] = busy(0.5)
    facts.results[second.key] = {**MODEL, "core_share": 0.95}
    assert probe(QUICKSTART, facts) == second, "it was quiet"
    keys = set()
    while (stage := probe(QUICKSTART, facts)) and stage.key not in keys:
        keys.add(stage.key)
        facts.results[stage.key] = busy(0.5)
    assert len(keys) == MOST_ATTEMPTS


def test_the_quietest_trial_counts_and_a_busy_one_widens_the_range() -> None:
    facts = Facts(QUICKSTART)
    quiet = seconds(QUICKSTART, facts)
    first = probe(QUICKSTART, facts)
    assert first is not None
    facts.results[first.key] = busy(0.5)
    second = probe(QUICKSTART, facts)
    assert second is not None
    noisy = seconds(QUICKSTART, facts)
    assert noisy.low == pytest.approx(quiet.low)
    assert noisy.high > 1.5 * quiet.high
    facts.results[second.key] = {**MODEL, "core_share": 0.8, "images_per_second": 1e9}
    fast = seconds(QUICKSTART, facts)
    assert fast.high < quiet.low
    facts.results[second.key] = {**MODEL, "core_share": 0.4, "images_per_second": 1e9}
    assert seconds(QUICKSTART, facts) == noisy


def test_larger_batches_share_the_fixed_time_of_a_step() -> None:
    """Of 32 ms for 16 images, 16 ms do not depend on the images."""

    def epoch(batch: int) -> float:
        finetune = replace(QUICKSTART.finetune, batch_size=batch)
        spec = replace(QUICKSTART, finetune=finetune)
        model = {**MODEL, "step_seconds": 0.016}
        return seconds(spec, Facts(spec, model=model), cores=1).high

    halved = 30 * 1437 * 0.9 * 0.016 * (1 / 16 - 1 / 32) / TRAINING_SHARE[0]
    assert epoch(16) - epoch(32) == pytest.approx(halved, rel=1e-3)
    assert epoch(16) > epoch(128) > epoch(4096)


def test_the_speed_is_measured_with_random_weights(tmp_path: Path) -> None:
    """With an untrained teacher: a spec without its weights would be refused."""
    (tmp_path / "mine.pth").write_bytes(b"weights")
    model = ModelSpec(weights=str(tmp_path / "mine.pth"))
    spec = replace(RECOMMENDED, baseline_epochs=0, model=model)
    stage = probe(spec, Facts(spec))
    assert stage is not None
    assert stage.settings["model"]["weights"] == "none"

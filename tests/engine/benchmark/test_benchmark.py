"""The benchmark measures the right things; how fast they are is not tested."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pruning_core.common.paths import Cache
from pruning_core.engine.benchmark import __main__ as benchmark
from pruning_core.engine.benchmark import (
    accuracy,
    comparison,
    gpu,
    mask_selection,
    reference,
    runs,
    training_step,
)
from pruning_core.engine.benchmark.comparison import (
    ComparisonRunner,
    Images,
    draw_charts,
    our_spec,
    untrained,
)
from pruning_core.engine.benchmark.mask_selection import our_masks, torch_masks
from pruning_core.engine.benchmark.reference import Protocol
from pruning_core.engine.benchmark.timing import interleaved, paired_ratio
from pruning_core.engine.benchmark.training_step import prune_uniformly
from pruning_core.engine.data.loading import ImageSet
from pruning_core.engine.models.build import make
from pruning_core.engine.models.layers import weights
from pruning_core.methods.sparsity_schedules import geometric
from pruning_core.results.benchmark import (
    FIGURES,
    GPU_FIGURES,
    BenchmarkResult,
    MedianRange,
    last_result,
)
from pruning_core.settings.serialization import to_dict

SMALL = Protocol(amounts=(0.0, 0.5), iterations=2, target=0.75)


def images(count: int, seed: int) -> ImageSet:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return ImageSet(pixels, torch.from_numpy(random.integers(0, 3, count)), np.arange(count))


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def zeros(model: nn.Module) -> list[float]:
    """The share of zeros in each layer's weight, with pruning hooks applied."""
    weights_of_layers = [layer.weight for layer in reference.layers(model)]
    return [float((torch.as_tensor(w) == 0).float().mean()) for w in weights_of_layers]


def test_jobs_are_interleaved() -> None:
    order: list[str] = []
    jobs = {name: lambda name=name: order.append(name) for name in "ab"}
    times = interleaved(jobs, rounds=3)
    assert order == list("ababab")
    assert {name: len(seconds) for name, seconds in times.items()} == {"a": 3, "b": 3}


def test_a_ratio_is_taken_round_by_round() -> None:
    assert paired_ratio([4.0, 9.0, 2.0], [2.0, 3.0, 1.0]) == MedianRange(2.0, 2.0, 3.0)


def test_the_reference_prunes_as_the_assignment_does() -> None:
    """One-shot to the amount, and iteratively along the geometric schedule."""
    batches = reference.loader(images(40, 0), 32, training=True)
    assert zeros(reference.one_shot(net(), 0.5, batches, 1)) == pytest.approx([0.5, 0.5], abs=0.01)
    shares = [zeros(model)[1] for model in reference.iterative(net(), SMALL, batches)]
    assert shares == pytest.approx(geometric(0.75, 2), abs=0.01)


def test_the_reference_does_not_change_the_baseline() -> None:
    baseline = net()
    before = [value.clone() for value in baseline.parameters()]
    batches = reference.loader(images(40, 0), 32, training=True)
    reference.one_shot(baseline, 0.9, batches, 1)
    list(reference.iterative(baseline, SMALL, batches))
    assert all(map(torch.equal, before, baseline.parameters()))


def test_the_reference_resizes_the_images() -> None:
    batch, _ = next(iter(reference.loader(images(4, 0), 224, training=True)))
    assert batch.shape == (4, 3, 224, 224)


FEW = Images(train_size=60, test_size=20)


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComparisonRunner]:
    """One worker for all comparisons; it has ended with the last test."""
    with ComparisonRunner(tmp_path_factory.mktemp("runner"), cores=1) as running:
        yield running
    assert running.worker.returncode is not None


def test_both_sides_run_the_same_stages(runner: ComparisonRunner, tmp_path: Path) -> None:
    """The same images, amounts and steps, so that models can be paired by name."""
    folder = runs.decoded(FEW, tmp_path)
    theirs, spec = runs.reference_process(FEW, SMALL, folder), our_spec(FEW, SMALL)
    ours = runner.run(spec)
    assert set(ours.accuracies) == set(theirs.accuracies)
    assert len(ours.accuracies) == 1 + len(SMALL.amounts) + SMALL.iterations
    both = [*ours.accuracies.values(), *theirs.accuracies.values()]
    assert all(0 <= value <= 1 for value in both)
    assert min(ours.seconds, theirs.seconds) > 0
    assert len(draw_charts(spec, runner.cache)) == 4


def test_a_comparison_that_is_refused_raises_an_error(runner: ComparisonRunner) -> None:
    spec = our_spec(Images(train_size=10**6), SMALL)
    with pytest.raises(RuntimeError, match="refused"):
        runner.run(spec)


def test_a_worker_that_has_exited_is_started_again(runner: ComparisonRunner) -> None:
    runner.worker.terminate()
    runner.worker.wait()
    spec = untrained(our_spec(replace(FEW, train_size=70), SMALL))
    assert set(runner.run(spec).accuracies) == {"baseline", "one_shot 0.5"}


def test_a_warm_up_trains_nothing() -> None:
    """It starts the processes, and leaves all that is timed to be done."""
    spec = untrained(our_spec(Images(), SMALL))
    assert spec.baseline_epochs == spec.one_shot.epochs == 0
    assert not spec.iterative.enabled


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet18"])
@pytest.mark.parametrize("amount", [0.3, 0.9])
def test_both_select_the_same_masks_except_for_ties(name: str, amount: float) -> None:
    torch.manual_seed(0)
    model = make(name, 10)
    prunable = weights(model, "all")
    theirs, ours = torch_masks(model, amount), our_masks(model, amount)
    counts = [sum(int(mask.sum()) for mask in masks.values()) for masks in (theirs, ours)]
    assert counts[0] == counts[1]
    differing = [prunable[name].detach().abs()[theirs[name] != ours[name]] for name in prunable]
    threshold = max(float(prunable[name].detach().abs()[~ours[name]].max()) for name in prunable)
    assert all(bool((values == threshold).all()) for values in differing)


def test_the_masked_step_has_the_sparsity() -> None:
    model = make("mobilenet_v2", 10)
    masks = prune_uniformly(model, training_step.AMOUNT)
    for name, weight in masks.weights.items():
        assert int((weight == 0).sum()) >= round(training_step.AMOUNT * weight.numel()), name


def test_the_operations_of_a_step_are_those_counted_by_hand() -> None:
    """An output of a layer is a sum over its kernel, with two operations for each weight."""
    model, operations = make("mobilenet_v2", training_step.CLASSES), list[int]()

    def count(layer: nn.Module, _: object, out: torch.Tensor) -> None:
        operations.append(2 * out.numel() * layer.get_parameter("weight")[0].numel())

    for layer in reference.layers(model):
        layer.register_forward_hook(count)
    model(torch.rand(training_step.BATCH, 3, training_step.SIZE, training_step.SIZE))
    assert training_step.flops_of_step() == 3 * sum(operations)


def test_the_sizes_name_every_figure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`measure` returns the figures that the page and the file show, no more and no less."""
    figure, number = MedianRange(1.0, 1.0, 1.0), itertools.count()
    for module, name in (
        (runs, "speedup"),
        (training_step, "speedup_workers"),
        (training_step, "masked_over_dense"),
        (training_step, "peak_share"),
        (mask_selection, "selection_speedup"),
        (comparison, "cached_open_seconds"),
    ):
        monkeypatch.setattr(module, name, lambda *_: (next(number) and figure) or figure)
    for size in benchmark.SIZES.values():
        assert list(benchmark.measure(size, tmp_path)) == list(FIGURES)
    assert next(number) == 2 * len(FIGURES)


def test_the_figures_of_a_gpu_are_complete(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    figure = MedianRange(1.0, 1.0, 1.0)
    for module, names in (
        (gpu, ("Trainer", "images_per_second", "loader_ratio", "write_random_images")),
        (training_step, ("speedup_workers",)),
        (runs, ("speedup",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, lambda *_: figure)
    monkeypatch.setattr(runs, "reference_images_per_second", lambda *_: 4.0)
    for size in benchmark.SIZES.values():
        figures = benchmark.measure_gpu(size, tmp_path)
        assert list(figures) == list(GPU_FIGURES)
        assert figures["gpu_step"].median == 1 / 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has an NVIDIA GPU")
def test_a_missing_gpu_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert benchmark.main("quick", "cuda") == 1
    assert "cuda is not available" in capsys.readouterr().err


def test_what_is_measured_on_a_gpu_runs_on_a_cpu_too() -> None:
    load = gpu.Load(images=40, batch=16, rounds=2, precision="fp32")
    trainer = gpu.Trainer("cpu", load)
    for figure in (gpu.images_per_second(trainer), gpu.loader_ratio(trainer)):
        assert 0 < figure.low <= figure.median <= figure.high
    assert gpu.same_bits_twice("cpu", load)


def test_other_bits_of_the_same_training_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    train_on, seeds = gpu.Trainer.train_on, itertools.count()

    def with_another_seed(trainer: gpu.Trainer, positions: torch.Tensor) -> None:
        torch.manual_seed(next(seeds))  # of dropout
        train_on(trainer, positions)

    monkeypatch.setattr(gpu.Trainer, "train_on", with_another_seed)
    load = gpu.Load(images=16, batch=16, precision="fp32")
    assert not gpu.same_bits_twice("cpu", load)


def test_the_speed_of_the_reference_is_that_of_its_epochs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """10 s to start and to test, and 5 s for an epoch."""
    monkeypatch.setattr(runs, "decoded", lambda *_: tmp_path)
    monkeypatch.setattr(
        runs,
        "reference_process",
        lambda images, protocol, folder: reference.ComparisonResult(
            10.0 + 5.0 * protocol.baseline_epochs
        ),
    )
    images = Images(train_size=100, test_size=10)
    assert runs.reference_images_per_second(images, "cpu", tmp_path) == 20.0


def test_the_loader_of_whole_epochs_crops_and_mirrors_as_ours_may() -> None:
    """Every image that it loads is one of the 2 * 81 that random crop and flip can give."""
    trainer = gpu.Trainer("cpu", gpu.Load(images=4, batch=4, precision="fp32"))
    loader = gpu.WholeEpochLoader(trainer)
    loaded = loader.load_epoch()
    shifts = 2 * gpu.PADDING + 1
    for image in loaded:
        crops = (
            padded[:, y : y + gpu.SIZE, x : x + gpu.SIZE]
            for padded in loader.padded
            for y, x in itertools.product(range(shifts), repeat=2)
        )
        assert any(torch.equal(image, crop) or torch.equal(image, crop.flip(2)) for crop in crops)


def test_the_random_images_are_an_image_folder(tmp_path: Path) -> None:
    gpu.write_random_images(tmp_path / "images.zip", train=40, test=20)
    folder = runs.decoded(Images("images", str(tmp_path / "images.zip")), tmp_path)
    assert json.loads((folder / "classes.json").read_text()) == gpu.CLASSES


def test_a_result_is_written_and_read_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert last_result(cache.benchmark) is None
    result = BenchmarkResult({"peak_share": MedianRange(0.3, 0.2, 0.4)}, {"cores": 2})
    cache.benchmark.write_text(result.to_json())
    assert last_result(cache.benchmark) == result
    assert json.loads(result.to_json())["peak_share"] == {"median": 0.3, "low": 0.2, "high": 0.4}


@pytest.mark.parametrize("text", ["", "[]", '{"peak_share": 3}', '{"peak_share": {"median": NaN}}'])
def test_another_file_is_no_result(text: str, tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.benchmark.write_text(text)
    assert last_result(cache.benchmark) is None


def test_our_side_trains_as_long_as_the_reference() -> None:
    spec = to_dict(our_spec(Images(), Protocol()))
    protocol = Protocol()
    assert spec["baseline_epochs"] == protocol.baseline_epochs
    assert spec["one_shot"]["epochs"] == protocol.one_shot_epochs
    assert spec["iterative"]["epochs"] == protocol.epochs
    assert not spec["iterative"]["equal_budget"]


def test_the_confidence_interval_is_students() -> None:
    """Of 1, 2, 3: mean 2, standard error 1 / sqrt(3), t = 4.303 with two degrees of freedom."""
    mean, low, high = accuracy.interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert (low, high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)


def test_the_table_pairs_models_by_name() -> None:
    all_pairs = [
        *accuracy.pairs(
            0, {"baseline": 0.5, "one_shot 0.5": 0.4}, {"baseline": 0.4, "one_shot 0.5": 0.4}
        ),
        *accuracy.pairs(
            1, {"baseline": 0.7, "one_shot 0.5": 0.4}, {"baseline": 0.4, "one_shot 0.5": 0.4}
        ),
    ]
    text = accuracy.table(all_pairs)
    assert "| baseline | 60.0 % | 40.0 % | +20.0 |" in text
    assert "over 4 models: +10.00 points (95 % CI" in text
    assert "over 2 seeds: +10.00 points (95 % CI" in text

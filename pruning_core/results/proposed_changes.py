"""Changes of a run's settings that may be worth a run: what changes, why, and the expected size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from pruning_core.common.formatting import format_bytes, format_percent, format_points, join_words
from pruning_core.common.names import within_name
from pruning_core.common.statistics import fewest_images
from pruning_core.methods.allocation import ALLOCATIONS
from pruning_core.methods.models import WIDTH_MODELS
from pruning_core.methods.sparsity_schedules import CUSTOM
from pruning_core.methods.strategies import BASELINE, BUDGET_CONTROLS, RATIO_PRUNED, STRATEGIES
from pruning_core.results.best_model import ERROR, above_chance
from pruning_core.results.difference_matrix import usual_target
from pruning_core.results.paired_tests import paired
from pruning_core.results.rows import (
    MODEL_COLUMNS,
    Row,
    charted,
    grouped,
    is_pruned,
    target_sparsity,
)
from pruning_core.results.verdict import MET, NO_GOAL, Verdict
from pruning_core.settings.spec import Spec

SEEDS, MOST_SEEDS = 3, 12
LEAST_STEP = 0.01  # target sparsities closer than this are no new question
HIGHEST_TARGET = 0.999
FIRST_TARGETS = (0.5, 0.7, 0.9)
IMAGE_MARGIN = 1.25  # more validation images than the fewest with which the goal can be shown
MAX_SPLIT = 0.5
SIZE_SHARE = 0.95  # of the largest allowed size, for which a target is chosen
FEWEST_EPOCHS = 10  # of a baseline that is trained for longer
RATE_STEP = 3.0  # the factor between two learning rates
IsNew = Callable[[Spec], bool]  # whether no run has these settings


@dataclass(frozen=True)
class Proposal:
    """Settings to run next. `name` says what changes, `reason` why.

    `specs` are usually those of one run; two runs that are compared may both have to go on. `runs`
    are the names of the runs whose settings change, where several are compared. `bytes` is the
    expected size of the sparse file of the model in question, NaN where nothing is known.
    """

    name: str
    reason: str
    specs: tuple[Spec, ...]
    bytes: float = math.nan
    runs: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The name with its runs: 'three seeds (run "digits")'."""
        return f"{self.name} ({self.runs_text})" if self.runs else self.name

    @property
    def runs_text(self) -> str:
        """The runs in words: 'run "digits"'."""
        return _runs_text(self.runs)


def _runs_text(names: Sequence[str]) -> str:
    quoted = [f'"{name}"' for name in names]
    return f"{'run' if len(names) == 1 else 'runs'} {join_words(quoted)}"


def with_label(spec: Spec, change: str) -> Spec:
    """The settings with a name that says what changes, where the run has one."""
    return replace(spec, label=within_name("", spec.label, f", {change}") if spec.label else "")


def validation_accuracy(row: Row) -> float:
    accuracy = float(row["validation_accuracy"])
    return -math.inf if math.isnan(accuracy) else accuracy


def expected_bytes(verdict: Verdict, run_id: str, target: float, ratio: bool = False) -> float:
    """The expected size of the sparse file at a target sparsity, from the models of a run.

    Between known sizes it is interpolated, and beyond them it goes on in a straight line. `ratio`
    asks for structured models. NaN with fewer than two sizes.
    """
    points = sorted(_sizes(verdict, run_id, ratio).items())
    if len(points) < 2:
        return math.nan
    known, sizes = zip(*points, strict=True)
    if target <= known[-1]:
        return float(np.interp(target, known, sizes))
    slope = (sizes[-1] - sizes[-2]) / (known[-1] - known[-2])
    return float(max(0.0, sizes[-1] + slope * (target - known[-1])))


def _sizes(verdict: Verdict, run_id: str, ratio: bool) -> dict[float, float]:
    """The smallest file at each target of a run, and that of its baseline at 0."""
    dense = (row["sparse_bytes"] for row in verdict.baselines if row["run_id"] == run_id)
    sizes = dict.fromkeys([0.0], first) if (first := next(dense, 0.0)) else {}
    for row in verdict.models:
        if row["run_id"] == run_id and (row["strategy"] in RATIO_PRUNED) == ratio:
            target = float(row["sparsity_asked"])
            sizes[target] = min(row["sparse_bytes"], sizes.get(target, math.inf))
    return sizes


def _model(verdict: Verdict) -> Row:
    """The model that the verdict is about: the best, or the nearest."""
    return next(row for row in verdict.models if row["key"] == verdict.key)


def _alike(verdict: Verdict, model: Row) -> list[Row]:
    """The models of a run whose targets mean the same: sparsities, or pruning ratios."""
    ratio = model["strategy"] in RATIO_PRUNED
    return [
        row
        for row in verdict.models
        if row["run_id"] == model["run_id"] and (row["strategy"] in RATIO_PRUNED) == ratio
    ]


def _with_target(spec: Spec, strategy: str, target: float) -> Spec:
    """The settings with a model of this strategy at the target."""
    target = round(target, 3)
    if strategy in RATIO_PRUNED:
        ratios = tuple(sorted({*spec.structured.ratios, target}))
        return replace(spec, structured=replace(spec.structured, ratios=ratios))
    chain, steps = spec.iterative, STRATEGIES[strategy].has_steps or strategy in BUDGET_CONTROLS
    if not steps or not chain.enabled or chain.schedule == CUSTOM:
        amounts = tuple(sorted({*spec.one_shot.amounts, target}))
        return replace(spec, one_shot=replace(spec.one_shot, amounts=amounts))
    return replace(spec, iterative=replace(chain, target=target))


def _at_target(
    verdict: Verdict, spec: Spec, model: Row, target: float, reason: str
) -> Proposal | None:
    """A proposal with another target of the model's strategy; None where it is none."""
    target = round(target, 3)
    near = min(abs(target - row["sparsity_asked"]) for row in _alike(verdict, model))
    if not 0 < target < 1 or near < LEAST_STEP:
        return None
    ratio = model["strategy"] in RATIO_PRUNED
    size = expected_bytes(verdict, model["run_id"], target, ratio)
    kind = "pruning ratio" if ratio else "sparsity"
    changed = _with_target(spec, model["strategy"], target)
    if not ratio and (density := _possible_density(spec, target)) < spec.pruning.min_density:
        changed = replace(changed, pruning=replace(changed.pruning, min_density=density))
        reason += f" The minimum density per layer becomes {format_percent(density)}."
    return Proposal(f"{format_percent(target)} {kind}", reason, (changed,), size)


def _possible_density(spec: Spec, target: float) -> float:
    """The minimum density per layer, lowered where it would not allow the target."""
    density = spec.pruning.min_density
    if not ALLOCATIONS[spec.pruning.allocation].min_density:
        return density
    return min(density, round((1 - target) / 2, 4))


def prune_further(verdict: Verdict, spec: Spec) -> Proposal | None:
    """Between the best model and the next one that fails, or beyond it where none fails."""
    model = _model(verdict)
    target = float(model["sparsity_asked"])
    sparser = [
        float(row["sparsity_asked"])
        for row in _alike(verdict, model)
        if row["sparsity_asked"] > target + LEAST_STEP
    ]
    if sparser:
        following = min(sparser)
        reason = f"Between {format_percent(target)}, which meets the goal, and "
        reason += f"{format_percent(following)}, which does not."
        return _at_target(verdict, spec, model, (target + following) / 2, reason)
    reason = "The sparsest model of this run meets the goal, so a sparser one may, too."
    if verdict.kind == NO_GOAL:
        reason = "Shows how much accuracy a model loses that is sparser than all of this run."
    return _at_target(verdict, spec, model, 1 - (1 - target) / 2, reason)


def prune_less(verdict: Verdict, spec: Spec) -> Proposal | None:
    """Half of the least sparse target, if its file is allowed.

    Where a model is accurate enough and its file too large, the least sparse target above it whose
    file is expected to be small enough.
    """
    model = _model(verdict)
    alike, limit = _alike(verdict, model), verdict.goal.max_bytes
    accurate = [row for row in alike if verdict.goal.allows_drop(row["drop_bound"])]
    if accurate and limit is not None:
        large = max(accurate, key=lambda row: float(row["sparsity_asked"]))
        target = _target_for_size(verdict, model, float(large["sparsity_asked"]))
        if target is None or target > model["sparsity_asked"]:
            return None
        reason = f"{format_percent(large['sparsity_asked'])} is accurate enough, but too large."
        return _at_target(verdict, spec, model, target, reason)
    lowest = min(alike, key=lambda row: float(row["sparsity_asked"]))
    target = lowest["sparsity_asked"] / 2
    reason = f"Even {format_percent(lowest['sparsity_asked'])} loses more than the goal allows."
    proposal = _at_target(verdict, spec, model, target, reason)
    fits = proposal and (math.isnan(proposal.bytes) or verdict.goal.allows_size(proposal.bytes))
    return proposal if fits else None


def reach_size(verdict: Verdict, spec: Spec) -> Proposal | None:
    """The target at which the file is expected to be small enough.

    Its strategy is that of the most accurate of the sparsest models.
    """
    limit = verdict.goal.max_bytes or 0.0
    alike = _alike(verdict, _model(verdict))
    low = max(float(row["sparsity_asked"]) for row in alike)
    sparsest = [row for row in alike if row["sparsity_asked"] > low - LEAST_STEP]
    model = min(sparsest, key=lambda row: float(row["drop_bound"]))
    target = _target_for_size(verdict, model, low)
    if target is None:
        return None
    reason = f"The file is expected to have less than {format_bytes(limit)}."
    return _at_target(verdict, spec, model, target, reason)


def _target_for_size(verdict: Verdict, model: Row, low: float) -> float | None:
    """The least target from `low` on at which the file is expected to be small enough."""
    limit, ratio = verdict.goal.max_bytes or 0.0, model["strategy"] in RATIO_PRUNED
    fitting = (
        float(target)
        for target in np.arange(low, HIGHEST_TARGET, 0.001)
        if expected_bytes(verdict, model["run_id"], float(target), ratio) <= SIZE_SHARE * limit
    )
    return next(fitting, None)


def reach_size_longer(verdict: Verdict, spec: Spec) -> Proposal | None:
    """As `reach_size`, with twice the epochs, where the accuracy matters too."""
    proposal = reach_size(verdict, spec)
    if proposal is None or verdict.goal.max_drop is None:
        return None
    return replace(
        proposal,
        name=f"{proposal.name}, twice the epochs",
        reason=f"{proposal.reason} More fine-tuning recovers accuracy.",
        specs=tuple(map(_longer, proposal.specs)),
    )


def train_longer(verdict: Verdict, spec: Spec) -> Proposal:
    """Twice the fine-tuning epochs; after a model that meets the goal, for the next sparser one."""
    model, reason = _model(verdict), "More fine-tuning recovers accuracy."
    if verdict.kind == MET:
        reason = "With more fine-tuning, a sparser model may meet the goal."
        target = model["sparsity_asked"] + LEAST_STEP
        sparser = [row for row in _alike(verdict, model) if row["sparsity_asked"] > target]
        model = min(sparser, key=lambda row: float(row["sparsity_asked"]), default=model)
    size = float(model["sparse_bytes"])
    return Proposal("twice the epochs", reason, (_longer(spec),), size)


def _longer(spec: Spec) -> Spec:
    return replace(
        spec,
        one_shot=replace(spec.one_shot, epochs=2 * spec.one_shot.epochs or 1.0),
        iterative=replace(spec.iterative, epochs=2 * spec.iterative.epochs or 1.0),
        structured=replace(spec.structured, epochs=2 * spec.structured.epochs or 1.0),
    )


def global_allocation(verdict: Verdict, spec: Spec) -> Proposal | None:
    """One threshold for all layers, where every layer has the same sparsity."""
    if spec.pruning.allocation != "uniform" or _model(verdict)["strategy"] in RATIO_PRUNED:
        return None
    changed = replace(spec, pruning=replace(spec.pruning, allocation="global"))
    reason = "With one threshold for all layers, important layers keep more weights."
    size = float(_model(verdict)["sparse_bytes"])
    return Proposal("global allocation", reason, (changed,), size)


def more_validation_images(verdict: Verdict, spec: Spec) -> Proposal | None:
    """A validation split with enough images to show that a model meets the goal."""
    limit = verdict.goal.max_drop
    if not limit:
        return None
    model = _model(verdict)
    images = float(model["validation_images"])
    every = images / spec.data.validation_split
    fewest = fewest_images(limit, ERROR / int(model["candidates"]))
    share = max(IMAGE_MARGIN * fewest / every, 1.5 * spec.data.validation_split)
    share = min(MAX_SPLIT, math.ceil(20 * share) / 20)
    size = float(model["sparse_bytes"])
    if fewest / every > MAX_SPLIT or share <= spec.data.validation_split:
        proposal = all_images(verdict, spec)
        reason = "A larger training set also has more validation images."
        return replace(proposal, reason=reason, bytes=size) if proposal else None
    changed = replace(spec, data=replace(spec.data, validation_split=share))
    reason = (
        f"About {round(share * every):,} validation images in place of {round(images):,}; at least "
        f"{fewest:,} are needed to show a drop of at most {format_points(limit)}."
    )
    return Proposal(f"validation split {format_percent(share)}", reason, (changed,), size)


def more_seeds(verdict: Verdict, spec: Spec) -> Proposal | None:
    """Three seeds in place of one."""
    if len(spec.seeds) > 1:
        return None
    changed = replace(spec, seeds=_seeds(spec.seeds, SEEDS))
    reason = "One seed does not show how much the result depends on the randomness of training."
    return Proposal("three seeds", reason, (changed,), float(_model(verdict)["sparse_bytes"]))


def _seeds(seeds: Sequence[int], count: int) -> tuple[int, ...]:
    """The seeds and those that follow the first one, `count` in all."""
    others = (seed for seed in itertools.count(seeds[0]) if seed not in seeds)
    return (*seeds, *itertools.islice(others, max(0, count - len(seeds))))


def seeds_of_two_runs(rows: list[Row], specs: Mapping[str, Spec], is_new: IsNew) -> Proposal | None:
    """More seeds for the best run and the next one whose difference from it may be none.

    Each run is represented by its best model at the highest sparsity that the runs share; best on
    the validation images. Both runs get the same seeds, so that they are paired.
    """
    target = usual_target(rows)
    pruned = [row for row in charted(above_chance(rows)) if is_pruned(row)]
    at_target = [row for row in pruned if target_sparsity(row) == target]
    models = [
        max(grouped(run, *MODEL_COLUMNS), key=_mean_accuracy)
        for run in grouped(at_target, "run_id")
        if run[0]["run_id"] in specs
    ]
    models.sort(key=_mean_accuracy, reverse=True)
    for other in models[1:]:
        if reason := _undecided(models[0], other):
            runs = [specs[model[0]["run_id"]] for model in (models[0], other)]
            seeds = _seeds_for(runs[0].seeds, runs[1].seeds)
            name = f"{len(seeds)} seeds"
            pairs = [
                (with_label(replace(spec, seeds=seeds), name), str(model[0]["run"]))
                for spec, model in zip(runs, (models[0], other), strict=True)
                if set(spec.seeds) != set(seeds)
            ]
            new = [(spec, run) for spec, run in pairs if is_new(spec)]
            if new and len(seeds) <= MOST_SEEDS:
                size = fmean(row["sparse_bytes"] for row in models[0])
                changed, names = zip(*new, strict=True)
                return Proposal(name, reason, changed, size, names)
    return None


def _mean_accuracy(model: list[Row]) -> float:
    return fmean(map(validation_accuracy, model))


def _seeds_for(first: Sequence[int], second: Sequence[int]) -> tuple[int, ...]:
    """Seeds for both of two runs: those of both, at least three, or twice as many as they share."""
    every, shared = tuple(dict.fromkeys((*first, *second))), len({*first} & {*second})
    return tuple(sorted(_seeds(every, SEEDS if shared < SEEDS else 2 * shared)))


def _undecided(first: list[Row], second: list[Row]) -> str:
    """Why more seeds are useful for two models; empty where their difference is known, or none."""
    others = {row["seed"]: row for row in second}
    common = [row for row in first if row["seed"] in others]
    names, target = (str(first[0]["run"]), str(second[0]["run"])), target_sparsity(first[0])
    at_target = f"At {format_percent(target)}, {_runs_text(names)}"
    if not common:
        return f"{at_target} cannot be compared: they have no seed in common."
    test = paired(common, [others[row["seed"]] for row in common]).strongest()
    if test is None or not test.low <= 0 <= test.high:
        return ""
    return (
        f"{at_target} differ by {format_points(abs(test.difference))} (95 % interval "
        f"{test.interval}, paired over {test.pairing}), so there may be no difference. More seeds "
        "make this clearer."
    )


def iterative(verdict: Verdict, spec: Spec) -> Proposal | None:
    """Iterative pruning to the sparsest one-shot target, for a run without."""
    targets = [target for target in spec.one_shot.amounts if target > 0]
    if spec.iterative.enabled or not targets:
        return None
    iterative = replace(spec.iterative, enabled=True, target=max(targets))
    reason = "Several small pruning steps often lose less accuracy than one large step."
    return Proposal("iterative pruning", reason, (replace(spec, iterative=iterative),))


def prune(verdict: Verdict, spec: Spec) -> Proposal | None:
    """One-shot models for a run that prunes nothing."""
    if any(spec.one_shot.amounts) or spec.iterative.enabled or spec.structured.enabled:
        return None
    amounts = tuple(sorted({*spec.one_shot.amounts, *FIRST_TARGETS}))
    changed = replace(spec, one_shot=replace(spec.one_shot, amounts=amounts))
    return Proposal("one-shot pruning", "This run has no pruned model.", (changed,))


def narrower(verdict: Verdict, spec: Spec) -> Proposal | None:
    """Half the channels, for a file that pruning does not make small enough."""
    width = round(spec.model.width / 2, 2)
    if spec.model.name not in WIDTH_MODELS or spec.model.weights != "none":
        return None
    changed = replace(spec, model=replace(spec.model, width=width))
    reason = "A model with half the channels has a much smaller file before it is pruned."
    return Proposal(f"width {width:g}", reason, (changed,))


def train_baseline(verdict: Verdict, spec: Spec) -> Proposal:
    """Twice the baseline epochs, for a baseline no better than chance."""
    changed = replace(spec, baseline_epochs=max(FEWEST_EPOCHS, 2 * spec.baseline_epochs))
    reason = "The baseline is no better than chance; more training may help."
    return Proposal(f"{changed.baseline_epochs} baseline epochs", reason, (changed,))


def learning_rate(run: list[Row], verdict: Verdict, spec: Spec) -> Proposal | None:
    """Another learning rate for the baseline: a smaller one where the training loss did not fall.

    A larger one where it fell by less than half; where it fell further, the learning rate is not
    why the baseline is no better than chance.
    """
    history = next(row["history"] for row in run if row["strategy"] == BASELINE)
    losses = [math.nan if epoch["loss"] is None else float(epoch["loss"]) for epoch in history]
    if len(losses) < 2:
        return None
    first, last = losses[0], losses[-1]
    texts = f"from {first:.3g} to {last:.3g}"
    if last < first / 2:
        return None
    if last < first:
        rate, reason = RATE_STEP * spec.baseline.lr, f"The training loss fell only {texts}."
    else:
        rate, reason = spec.baseline.lr / RATE_STEP, f"The training loss did not fall ({texts})."
    changed = replace(spec, baseline=replace(spec.baseline, lr=float(f"{rate:.2g}")))
    size = "larger" if last < first else "smaller"
    return Proposal(
        f"baseline learning rate {changed.baseline.lr:g}",
        f"{reason} A {size} learning rate may help.",
        (changed,),
    )


def pretrained(verdict: Verdict, spec: Spec) -> Proposal | None:
    """Pretrained weights in place of random ones."""
    if spec.model.weights != "none" or spec.model.width != 1:
        return None
    changed = replace(spec, model=replace(spec.model, weights="pretrained"))
    reason = "Pretrained weights need less training than random ones. They are downloaded once."
    return Proposal("ImageNet-pretrained weights", reason, (changed,))


def all_images(verdict: Verdict, spec: Spec) -> Proposal | None:
    """All training images, for a run that uses a part of them."""
    if not spec.data.train_size:
        return None
    changed = replace(spec, data=replace(spec.data, train_size=0))
    reason = "A model trained on more images is usually more accurate."
    return Proposal("all training images", reason, (changed,))

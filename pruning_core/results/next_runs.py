"""What to run next: at most three settings that follow from the verdict, with their size."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from pruning_core.common.errors import SpecError
from pruning_core.common.formatting import format_bytes, format_percent, format_points
from pruning_core.common.names import within_name
from pruning_core.common.statistics import fewest_images
from pruning_core.methods.allocation import ALLOCATIONS
from pruning_core.methods.sparsity_schedules import CUSTOM
from pruning_core.methods.strategies import BUDGET_CONTROLS, RATIO_PRUNED, STRATEGIES
from pruning_core.results.best_model import ERROR
from pruning_core.results.rows import Row
from pruning_core.results.verdict import MET, MISSED, UNRELIABLE, Verdict
from pruning_core.settings.spec import Spec
from pruning_core.storage.job_record import job_id

MOST = 3
SEEDS = 3
LEAST_STEP = 0.01  # target sparsities closer than this are no new question
HIGHEST_TARGET = 0.999
IMAGE_MARGIN = 1.25  # more validation images than the fewest with which the goal can be shown
MAX_SPLIT = 0.5
SIZE_SHARE = 0.95  # of the largest allowed size, for which a target is chosen


@dataclass(frozen=True)
class Proposal:
    """Settings to run next. `name` says what changes, `reason` why.

    `bytes` is the expected size of the sparse file of the model in question, NaN where nothing is
    known.
    """

    name: str
    reason: str
    spec: Spec
    bytes: float = math.nan


def proposals(
    verdict: Verdict, spec: Spec, exists: Callable[[Spec], bool], most: int = MOST
) -> list[Proposal]:
    """At most so many proposals that follow from a verdict, the most useful first.

    `spec` are the settings of the run of the verdict's model. `exists` says whether a run with
    these settings is known: nothing is proposed that would be identical to one. Settings that
    cannot run are left out.
    """
    known = {job_id(spec)}
    chosen = []
    for propose in _candidates(verdict):
        try:
            proposal = propose(verdict, spec)
        except SpecError:
            continue  # these settings do not go together, so there is nothing to propose
        if proposal is None or job_id(proposal.spec) in known or exists(proposal.spec):
            continue
        known.add(job_id(proposal.spec))
        label = proposal.spec.label
        name = within_name("", label, f", {proposal.name}") if label else ""
        chosen.append(replace(proposal, spec=replace(proposal.spec, label=name)))
    return chosen[:most]


Propose = Callable[[Verdict, Spec], Proposal | None]


def _candidates(verdict: Verdict) -> Iterator[Propose]:
    """What may be proposed after this kind of verdict, in this order."""
    if verdict.kind == MET:
        yield from (_prune_further, _more_seeds, _train_longer)
    elif verdict.kind == MISSED and _too_large(verdict):
        yield from (_reach_size, _reach_size_longer)
    elif verdict.kind == MISSED:
        yield from (_train_longer, _prune_less, _global_allocation)
    elif verdict.kind == UNRELIABLE and not verdict.models:
        yield from (_train_baseline,)
    elif verdict.kind == UNRELIABLE:
        yield from (_more_validation_images, _more_seeds)


def _too_large(verdict: Verdict) -> bool:
    return not any(verdict.goal.allows_size(row["sparse_bytes"]) for row in verdict.models)


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
    return Proposal(f"{format_percent(target)} {kind}", reason, changed, size)


def _possible_density(spec: Spec, target: float) -> float:
    """The minimum density per layer, lowered where it would not allow the target."""
    density = spec.pruning.min_density
    if not ALLOCATIONS[spec.pruning.allocation].min_density:
        return density
    return min(density, round((1 - target) / 2, 4))


def _prune_further(verdict: Verdict, spec: Spec) -> Proposal | None:
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
    return _at_target(verdict, spec, model, 1 - (1 - target) / 2, reason)


def _prune_less(verdict: Verdict, spec: Spec) -> Proposal | None:
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


def _reach_size(verdict: Verdict, spec: Spec) -> Proposal | None:
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


def _reach_size_longer(verdict: Verdict, spec: Spec) -> Proposal | None:
    """As `_reach_size`, with twice the epochs, where the accuracy matters too."""
    proposal = _reach_size(verdict, spec)
    if proposal is None or verdict.goal.max_drop is None:
        return None
    return replace(
        proposal,
        name=f"{proposal.name}, twice the epochs",
        reason=f"{proposal.reason} More fine-tuning recovers accuracy.",
        spec=_longer(proposal.spec),
    )


def _train_longer(verdict: Verdict, spec: Spec) -> Proposal:
    """Twice the fine-tuning epochs; after a model that meets the goal, for the next sparser one."""
    model, reason = _model(verdict), "More fine-tuning recovers accuracy."
    if verdict.kind == MET:
        reason = "With more fine-tuning, a sparser model may meet the goal."
        target = model["sparsity_asked"] + LEAST_STEP
        sparser = [row for row in _alike(verdict, model) if row["sparsity_asked"] > target]
        model = min(sparser, key=lambda row: float(row["sparsity_asked"]), default=model)
    size = float(model["sparse_bytes"])
    return Proposal("twice the epochs", reason, _longer(spec), size)


def _longer(spec: Spec) -> Spec:
    return replace(
        spec,
        one_shot=replace(spec.one_shot, epochs=2 * spec.one_shot.epochs or 1.0),
        iterative=replace(spec.iterative, epochs=2 * spec.iterative.epochs or 1.0),
        structured=replace(spec.structured, epochs=2 * spec.structured.epochs or 1.0),
    )


def _global_allocation(verdict: Verdict, spec: Spec) -> Proposal | None:
    """One threshold for all layers, where every layer has the same sparsity."""
    if spec.pruning.allocation != "uniform" or _model(verdict)["strategy"] in RATIO_PRUNED:
        return None
    changed = replace(spec, pruning=replace(spec.pruning, allocation="global"))
    reason = "With one threshold for all layers, important layers keep more weights."
    size = float(_model(verdict)["sparse_bytes"])
    return Proposal("global allocation", reason, changed, size)


def _more_validation_images(verdict: Verdict, spec: Spec) -> Proposal | None:
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
        if not spec.data.train_size:
            return None
        changed = replace(spec, data=replace(spec.data, train_size=0))
        reason = "A larger training set also has more validation images."
        return Proposal("all training images", reason, changed, size)
    changed = replace(spec, data=replace(spec.data, validation_split=share))
    reason = (
        f"About {round(share * every):,} validation images in place of {round(images):,}; at least "
        f"{fewest:,} are needed to show a drop of at most {format_points(limit)}."
    )
    return Proposal(f"validation split {format_percent(share)}", reason, changed, size)


def _more_seeds(verdict: Verdict, spec: Spec) -> Proposal | None:
    """Three seeds in place of one."""
    if len(spec.seeds) > 1:
        return None
    following = itertools.count(spec.seeds[0])
    changed = replace(spec, seeds=tuple(itertools.islice(following, SEEDS)))
    reason = "One seed does not show how much the result depends on the randomness of training."
    return Proposal("three seeds", reason, changed, float(_model(verdict)["sparse_bytes"]))


def _train_baseline(verdict: Verdict, spec: Spec) -> Proposal:
    """Twice the baseline epochs, for a baseline no better than chance."""
    changed = replace(spec, baseline_epochs=max(10, 2 * spec.baseline_epochs))
    reason = "The baseline is no better than chance; more training may help."
    return Proposal(f"{changed.baseline_epochs} baseline epochs", reason, changed)

"""What to run next: at most three proposals that follow from a comparison, with their size."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from pruning_core.common.errors import SpecError
from pruning_core.results.difference_matrix import usual_target
from pruning_core.results.proposed_changes import (
    IsNew,
    Proposal,
    all_images,
    global_allocation,
    iterative,
    learning_rate,
    more_seeds,
    more_validation_images,
    narrower,
    pretrained,
    prune,
    prune_further,
    prune_less,
    reach_size,
    reach_size_longer,
    seeds_of_two_runs,
    train_baseline,
    train_longer,
    validation_accuracy,
    with_label,
)
from pruning_core.results.rows import (
    Row,
    chance_baselines,
    grouped,
    mean_over_seeds,
    target_sparsity,
)
from pruning_core.results.verdict import MET, MISSED, NO_GOAL, UNFINISHED, UNRELIABLE, Verdict
from pruning_core.settings.spec import Spec
from pruning_core.storage.job_record import job_id

MOST, LEAST = 3, 2  # proposals; a source gets general ones until it has the least number


def proposals(
    verdicts: Sequence[Verdict],
    rows: Sequence[Row],
    specs: Mapping[str, Spec],
    exists: Callable[[Spec], bool],
    most: int = MOST,
) -> list[Proposal]:
    """At most so many proposals that follow from a comparison, the most useful first.

    `verdicts` are those of the `rows` (`verdicts_of`), `specs` the settings of the runs by id. The
    verdicts take turns. `exists` says whether a run with these settings is known: nothing is
    proposed that would be identical to one. Settings that cannot run are left out.
    """
    known = {job_id(spec) for spec in specs.values()}

    def is_new(spec: Spec) -> bool:
        return job_id(spec) not in known and not exists(spec)

    groups = grouped(rows, "test_digest") or [[]]
    sources = [
        _proposals(subject, group, specs, is_new)
        for verdict, group in zip(verdicts, groups, strict=True)
        for subject in _subjects(verdict, group)
    ]
    chosen: list[Proposal] = []
    # A source goes on when all have had their turn, and then knows what was chosen.
    for proposal in itertools.chain.from_iterable(itertools.zip_longest(*sources)):
        if len(chosen) == most:
            break
        if proposal and all(map(is_new, proposal.specs)):
            known.update(map(job_id, proposal.specs))
            chosen.append(proposal if len(specs) > 1 else replace(proposal, runs=()))
    return chosen


def _subjects(verdict: Verdict, rows: list[Row]) -> Iterator[Verdict]:
    """The verdict with its model and run, and one of its own for baselines at chance."""
    if verdict.models or verdict.kind == UNFINISHED:
        yield _with_model(verdict, rows)
    if baselines := mean_over_seeds(chance_baselines(rows)):
        best = max(baselines, key=validation_accuracy)
        yield Verdict(UNRELIABLE, verdict.goal, run_id=best["run_id"])


def _proposals(
    verdict: Verdict, rows: list[Row], specs: Mapping[str, Spec], is_new: IsNew
) -> Iterator[Proposal]:
    """The proposals of one verdict; general ones where few follow from it."""
    spec = specs.get(verdict.run_id)
    if spec is None:
        return
    count, run = 0, [row for row in rows if row["run_id"] == verdict.run_id]
    if verdict.models and (both := seeds_of_two_runs(rows, specs, is_new)):
        count += 1
        yield both
    for needed, propose in [
        *((MOST, propose) for propose in _candidates(verdict, run)),
        *((LEAST, propose) for propose in _general(verdict)),
    ]:
        if count >= needed:
            continue
        try:
            proposal = propose(verdict, spec)
        except SpecError:
            continue  # these settings do not go together, so there is nothing to propose
        if proposal and all(map(is_new, proposal.specs)):
            count += 1
            named = tuple(with_label(changed, proposal.name) for changed in proposal.specs)
            yield replace(proposal, specs=named, runs=(str(run[0]["run"]),))


def _with_model(verdict: Verdict, rows: list[Row]) -> Verdict:
    """The verdict with the model whose settings are changed, where it names none.

    It is the sparsest model of the run that is best, on the validation images, at the highest
    sparsity that the runs share.
    """
    if verdict.key or not rows:
        return verdict
    if not verdict.models:
        return replace(verdict, run_id=rows[0]["run_id"])
    target = usual_target(rows)
    shared = [row for row in verdict.models if target_sparsity(row) == target]
    run_id = max(shared or verdict.models, key=validation_accuracy)["run_id"]
    models = [row for row in verdict.models if row["run_id"] == run_id]
    model = max(models, key=lambda row: (row["sparsity_asked"], validation_accuracy(row)))
    return replace(verdict, key=model["key"], run_id=run_id)


Propose = Callable[[Verdict, Spec], Proposal | None]


def _candidates(verdict: Verdict, run: list[Row]) -> Iterator[Propose]:
    """What may be proposed after this kind of verdict, in this order; `run` are the run's rows."""
    if verdict.kind in (MET, NO_GOAL):
        yield from (prune_further, more_seeds, train_longer)
    elif verdict.kind == MISSED and _too_large(verdict):
        yield from (reach_size, reach_size_longer, narrower)
    elif verdict.kind == MISSED:
        yield from (train_longer, prune_less, global_allocation)
    elif verdict.kind == UNRELIABLE and not verdict.models:
        yield from (train_baseline, partial(learning_rate, run), pretrained, all_images)
    elif verdict.kind == UNRELIABLE:
        yield from (more_validation_images, more_seeds)
    else:
        yield prune


def _general(verdict: Verdict) -> Iterator[Propose]:
    """What may be proposed after every verdict with a pruned model."""
    if verdict.models:
        yield from (more_seeds, train_longer, global_allocation, iterative)


def _too_large(verdict: Verdict) -> bool:
    return not any(verdict.goal.allows_size(row["sparse_bytes"]) for row in verdict.models)

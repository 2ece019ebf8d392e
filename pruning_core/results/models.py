"""The models of a comparison as rows: one row for each finished model."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import pandas as pd

from pruning_core.common.formatting import format_epochs, format_percent
from pruning_core.common.statistics import discordant
from pruning_core.methods.strategies import (
    BASELINE,
    BUDGET_CONTROLS,
    CORRECTION,
    STRATEGIES,
)
from pruning_core.planning.model_types import (
    BaselineResult,
    ModelResult,
    PrunedResult,
    StructuredResult,
)
from pruning_core.planning.stage import Outline, PlannedModel, Reader, known
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.results.int8 import int8_rows
from pruning_core.results.rows import Row, model_name


@dataclass(frozen=True)
class _Inspection:
    """What rows hold of an inspection or a data set; a kind without it leaves a field empty."""

    notes: list[str] = field(default_factory=list)


class Checker(Protocol):
    """The part of a store that tests whether a result is complete and undamaged."""

    def intact(self, key: str) -> bool: ...


def results_frame(
    outline: Outline, store: Reader, run: str = "", run_id: str = "", data: str = ""
) -> pd.DataFrame:
    """The finished models of a job and their int8 files, one row each.

    Without a finished baseline there are no rows. For the columns see `model_rows`.
    """
    rows = model_rows(outline, store, run, run_id, data)
    return pd.DataFrame([*rows, *int8_rows(rows, store)])


def model_rows(
    outline: Outline, store: Reader, run: str = "", run_id: str = "", data: str = ""
) -> list[Row]:
    """The finished models of a job as rows, without int8 files.

    `run`, `run_id` and `data` are the label and the id of the job and the name of the data set.
    Shares are fractions from 0 to 1, sizes are bytes. `accuracy_low` and `accuracy_high` are the
    95 % Wilson interval, which covers the sampling of the test images only. `epochs` and
    `seconds` of a pruned model count from the baseline on; the row of the baseline holds its own
    training. `compression_ratio` is the baseline's dense file over the model's sparse file.
    `macs` are multiply-accumulates for one image, NaN where they were not counted.
    `validation_images` is the number of images behind `validation_drop`; on `validation_lost` of
    them only the baseline is right, on `validation_gained` only the model. `chance` is the
    accuracy of always predicting the largest class.
    """
    baselines = {
        model.seed: known(store, model.key, BaselineResult)
        for model in outline.models
        if model.strategy == BASELINE
    }
    dense_macs = _dense_macs(outline, store)
    inspections = _inspections(outline, store)
    shared = {"run": run, "run_id": run_id, "data": data}
    notes = [note for inspection in inspections for note in inspection.notes]
    rows = []
    for model in outline.models:
        result = known(store, model.key, _result_class(model))
        if result and (baseline := baselines[model.seed]):
            macs = result.macs if isinstance(result, StructuredResult) else dense_macs
            row = _row(model, result, baseline, notes)
            rows.append({**row, "macs": macs, **shared, "chance": baseline.chance})
    return rows


def _result_class(model: PlannedModel) -> type[ModelResult]:
    return STAGE_KINDS[STRATEGIES[model.strategy].stage_kind].result


def _dense_macs(outline: Outline, store: Reader) -> float:
    """The multiply-accumulates of the dense model, which masks do not change.

    Structured stages count them; NaN where no such stage is finished.
    """
    keys = (model.key for model in outline.models if STRATEGIES[model.strategy].removes_channels)
    results = (known(store, key, StructuredResult) for key in keys)
    return next((float(result.dense_macs) for result in results if result), float("nan"))


def damaged(outline: Outline, store: Checker, done: Iterable[str]) -> list[str]:
    """The keys of models that are done in the queue, but cannot be read from the store."""
    keys = {model.key for model in outline.models}
    return [key for key in done if key in keys and not store.intact(key)]


def titles(outline: Outline) -> dict[str, tuple[str, str]]:
    """A short name and the strategy of each model, by key."""
    several_seeds = len({model.seed for model in outline.models}) > 1
    steps = Counter(
        model.seed
        for model in outline.models
        if STRATEGIES[model.strategy].one_chain and not model.final
    )
    return {
        model.key: (
            _title(model, steps[model.seed]) + f", seed {model.seed}" * several_seeds,
            model.strategy,
        )
        for model in outline.models
    }


def chain_names(outline: Outline) -> dict[PlannedModel, str]:
    """The name of the chain of pruning steps that a model belongs to.

    Models that belong to no chain are left out.
    """
    names: dict[PlannedModel, str] = {}
    chain: list[PlannedModel] = []
    for model in outline.models:
        strategy = STRATEGIES[model.strategy]
        if strategy.one_chain:
            names[model] = strategy.title
        if not strategy.removes_channels:
            continue
        # A chain begins at step 1; a model pruned in a single step has step 0.
        chain = [model] if model.iteration <= 1 else [*chain, model]
        name = f"{strategy.title} {format_percent(chain[-1].target)}"
        names.update(dict.fromkeys(chain, name))
    return names


def _title(model: PlannedModel, steps: int) -> str:
    """The short name of a model; `steps` is the number of iterative pruning steps of its seed."""
    strategy, sparsity = STRATEGIES[model.strategy], format_percent(model.target)
    if model.final:
        prefix = f"{strategy.title}, " if strategy.removes_channels else ""
        return f"{prefix}final fine-tuning, {sparsity}"
    name = model_name(model.strategy, model.target, model.iteration)
    if strategy.one_chain:
        return f"{name} {model.iteration} of {steps}, {sparsity}"
    if model.strategy == CORRECTION:
        return f"{name}, {sparsity}"
    if model.strategy in BUDGET_CONTROLS:
        # "one-shot 90 %, equal budget": the sparsity follows the kind of pruning.
        kind, _, budget = name.partition(", ")
        return f"{kind} {sparsity}, {budget}"
    if strategy.removes_channels:
        return f"{name} {sparsity}" + f", step {model.iteration}" * bool(model.iteration)
    return f"{name} {sparsity}" if model.target else name


def combined(frames: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """The rows of several runs in one frame."""
    filled = [frame for frame in frames if not frame.empty]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def _inspections(outline: Outline, store: Reader) -> list[_Inspection]:
    """The results that concern all models of a job: inspections and data sets.

    Baselines are left out: their notes concern one seed only.
    """
    model_keys = {model.key for model in outline.models}
    results = (known(store, key, _Inspection) for key in outline.noted if key not in model_keys)
    return [result for result in results if result]


def _validation_pairs(baseline: BaselineResult, result: ModelResult) -> dict[str, object]:
    """The validation images that only the baseline or only the model classifies correctly."""
    stored = (baseline.validation_correct, result.validation_correct)
    first, second = (base64.b64decode(text) for text in stored)
    lost, gained = discordant(first, second, result.validation_images)
    return {"validation_lost": lost, "validation_gained": gained}


def _final_note(model: PlannedModel, result: ModelResult) -> str:
    epochs = format_epochs(result.epochs)
    return (
        f"Step {model.iteration} is final fine-tuning: no pruning, {epochs}, and the learning "
        "rate decays to 0."
    )


def _row(
    model: PlannedModel, result: ModelResult, baseline: BaselineResult, notes: list[str]
) -> Row:
    own_training = model.strategy == BASELINE
    final = [_final_note(model, result)] if model.final else []
    return {
        "strategy": model.strategy,
        "quantized_from": "",
        "seed": model.seed,
        "iteration": model.iteration,
        "sparsity_asked": model.target,
        "sparsity_prunable": result.prunable_zeros / result.prunable,
        "sparsity_weights": result.weights_zeros / result.weights,
        "sparsity_model": 1 - result.nonzero / result.parameters,
        "accuracy": result.accuracy,
        "accuracy_low": result.accuracy_low,
        "accuracy_high": result.accuracy_high,
        "accuracy_drop": baseline.accuracy - result.accuracy,
        "dense_bytes": result.dense_bytes,
        "sparse_bytes": result.sparse_bytes,
        "compression_ratio": baseline.dense_bytes / result.sparse_bytes,
        "parameters": result.parameters,
        "nonzero": result.nonzero,
        "epochs": result.epochs if own_training else result.epochs_total,
        "seconds": result.seconds if own_training else result.seconds_total,
        "regrown": result.returned if isinstance(result, PrunedResult) else 0,
        "validation_accuracy": result.validation_accuracy,
        "validation_drop": baseline.validation_accuracy - result.validation_accuracy,
        "validation_images": result.validation_images,
        **_validation_pairs(baseline, result),
        "key": model.key,
        "loss": result.loss,
        "correct": base64.b64decode(result.correct),
        "test_images": result.test_images,
        "test_digest": result.test_digest,
        "history": result.history,
        "versions": result.versions,
        "processor": result.processor,
        "torch": result.versions.get("torch", ""),
        "device": result.device,
        "replicas": result.replicas,
        "notes": list(dict.fromkeys([*notes, *baseline.notes, *final, *result.notes])),
    }

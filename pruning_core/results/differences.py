"""Differences of accuracy and size from a reference: any model, or a run for its equal models."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pruning_core.methods.strategies import BASELINE
from pruning_core.results.paired_tests import (
    NO_MODEL,
    NO_SEED,
    OTHER_IMAGES,
    Comparison,
    paired,
)
from pruning_core.results.rows import (
    MODEL_COLUMNS,
    Row,
    charted,
    grouped,
    is_control,
    model_at_target,
    strategy_at_target,
)
from pruning_core.results.shared_models import pooled, run_text

# The default reference: the dense control of each run, else its baseline.
DENSE = ""


def references(rows: Sequence[Row]) -> dict[str, str]:
    """Everything that can be the reference, with its name: dense, the runs, each model.

    A run is the reference of the same models of the other runs. Runs share stages: a model that
    several runs hold is listed once.
    """
    groups = grouped(charted(rows), *MODEL_COLUMNS)
    runs = {row["run_id"]: row["run"] for row in rows}
    with_control = {row["run_id"] for row in rows if is_control(row)}
    dense = "the fine-tuned dense control" if with_control else "the dense baseline"
    if with_control and with_control != runs.keys():
        dense += " (else the dense baseline)"
    names = {DENSE: dense}
    if len(runs) > 1:
        names[DENSE] += " of the same run"
        names |= {run_id: f"the same model of run {run}" for run_id, run in runs.items()}
    models = {str(row["key"]): model for model in reversed(pooled(groups)) for row in model}
    listed: set[str] = set()
    for group in groups:
        key = str(group[0]["key"])
        if key not in listed:
            of = f" of {run_text(models[key])}" if len(runs) > 1 else ""
            names[key] = f"{model_at_target(group[0])}{of}"
            listed |= {str(row["key"]) for row in models[key]}
    return names


class Reference:
    """What models are compared with. `reference` is a key of `references`.

    `name` is its name in a sentence.
    """

    def __init__(self, rows: Sequence[Row], reference: str = DENSE) -> None:
        self.reference = reference
        self.name = references(rows).get(reference, "an unknown model")
        self._runs = {group[0]["run_id"]: group for group in grouped(charted(rows), "run_id")}
        self._models: dict[object, list[Row]] = {}
        if reference in self._runs:
            for row in self._runs[reference]:
                self._models.setdefault(strategy_at_target(row), []).append(row)
        elif reference == DENSE:
            self._models = {run: _dense(group) for run, group in self._runs.items()}
        else:
            everywhere = [row for group in self._runs.values() for row in group]
            models = pooled(grouped(everywhere, *MODEL_COLUMNS))
            pinned = (model for model in models if reference in {row["key"] for row in model})
            self._models = {None: next(pinned, [])}

    def rows_for(self, model: Row) -> list[Row]:
        """The rows of the reference of a model, one a seed; empty where it has none."""
        if self.reference == DENSE:
            return self._models.get(model["run_id"], [])
        if self.reference not in self._runs:
            return self._models[None]
        same = self._models.get(strategy_at_target(model), [])
        last = max((row["iteration"] for row in same), default=0)
        return [row for row in same if row["iteration"] == last]

    def compare(self, group: Sequence[Row]) -> Comparison:
        """A model, given by its rows (one a seed), against its reference."""
        others = {row["seed"]: row for row in self.rows_for(group[0])}
        if not others:
            return Comparison((), (), NO_MODEL)
        common = [row for row in group if row["seed"] in others]
        if not common:
            return Comparison((), (), NO_SEED)
        return paired(common, [others[row["seed"]] for row in common])


def _dense(run: Sequence[Row]) -> list[Row]:
    """The dense controls of a run, one a seed; the baselines where it has no control at all.

    A seed whose control is missing has no reference: a mean over both would be of neither.
    """
    controls = [row for row in run if is_control(row)]
    return controls or [row for row in run if row["strategy"] == BASELINE]


def with_reference(rows: Sequence[Row], reference: str = DENSE) -> list[Row]:
    """The rows, each with its differences from the reference of its seed.

    `reference` is the name of the reference, `accuracy_difference` a fraction and
    `bytes_difference` in bytes; without a reference on the same test images they are NaN.
    """
    pinned, result = Reference(rows, reference), []
    for row in rows:
        comparison = pinned.compare([row])
        known = comparison.problem not in (OTHER_IMAGES, NO_SEED, NO_MODEL)
        result.append(
            {
                **row,
                "reference": pinned.name,
                "accuracy_difference": comparison.difference if known else math.nan,
                "bytes_difference": comparison.bytes if known else math.nan,
            }
        )
    return result

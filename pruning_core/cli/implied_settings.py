"""Settings that the given options imply: `--filter-dim 1` implies the granularity filter.

A setting that the user gives is never replaced; where it contradicts, the options are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pruning_core.common.errors import Choice, Ref, SpecError
from pruning_core.methods.datasets import OWN_IMAGES
from pruning_core.methods.granularity import pattern_of, pattern_sparsity
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.methods.sparsity_schedules import CUSTOM

# A setting that is used only with one choice of another setting, and that choice.
NEEDED_CHOICES = {
    "pruning.layer_sparsities": ("pruning.allocation", "custom"),
    "pruning.filter_norm": ("pruning.granularity", "filter"),
    "pruning.filter_dim": ("pruning.granularity", "filter"),
}
# An N:M pattern sets these, unless one of them is given.
PATTERN_SETTINGS = (
    "one_shot.amounts",
    "iterative.target",
    "iterative.iterations",
    "iterative.custom_schedule",
    "iterative.schedule",
)
Given = Mapping[str, str]


def set_implied(value: dict[str, Any], given: Given) -> None:
    """Set the implied settings in `value`, a spec as a dictionary.

    `given` has the flag of each given setting by its dotted name. Raises `SpecError` where two
    given settings contradict each other.
    """
    _set_data(value["data"], given)
    for section, default in (("finetune", "lr"), ("baseline", "baseline_lr")):
        if f"{section}.optimizer" in given and f"{section}.lr" not in given:
            optimizer = OPTIMIZERS[value[section]["optimizer"]]
            value[section]["lr"] = getattr(optimizer, default)
    if "structured.ratios" in given:
        value["structured"]["enabled"] = bool(value["structured"]["ratios"])
    _set_needed_choices(value, given)
    _set_pattern(value, given)
    _set_custom_schedule(value["iterative"], given)


def _set_data(data: dict[str, Any], given: Given) -> None:
    """A path means the user's own images; another data set has its own augmentation."""
    if "data.path" in given:
        data["name"] = OWN_IMAGES
    elif "data.name" in given:
        data["path"] = ""
    if ("data.path" in given or "data.name" in given) and "data.augmentation" not in given:
        data["augmentation"] = "auto"


def _set_needed_choices(value: dict[str, Any], given: Given) -> None:
    for name, (other, needed) in NEEDED_CHOICES.items():
        if name not in given:
            continue
        section, field = other.split(".")
        if other in given and value[section][field] != needed:
            raise SpecError(
                given[name],
                "it is used only with {other} {needed}; leave one of them out.",
                other=Ref(other),
                needed=Choice(other, needed),
            )
        value[section][field] = needed


def _set_pattern(value: dict[str, Any], given: Given) -> None:
    """An N:M pattern has one sparsity, so it implies one-shot pruning to it and a control."""
    granularity = value["pruning"]["granularity"]
    given_sparsities = any(name in given for name in PATTERN_SETTINGS)
    if "pruning.granularity" in given and pattern_of(granularity) and not given_sparsities:
        value["one_shot"]["amounts"] = [0.0, pattern_sparsity(granularity)]
        value["iterative"]["enabled"] = False


def _set_custom_schedule(iterative: dict[str, Any], given: Given) -> None:
    """A custom schedule contains the number of steps and the target."""
    sparsities = iterative["custom_schedule"]
    if sparsities and "iterative.custom_schedule" in given:
        implied = {"schedule": CUSTOM, "iterations": len(sparsities), "target": sparsities[-1]}
        missing = {n: v for n, v in implied.items() if f"iterative.{n}" not in given}
        iterative.update(missing)

"""A whole comparison: frozen, validated settings, to and from JSON.

Sparsities and accuracies are fractions from 0 to 1. Every class checks its values; a wrong one
raises `SpecError`, whose `field` names the setting.
"""

from __future__ import annotations

import dataclasses
import json
import operator
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pruning_core.common.errors import SpecError, check, once, shortened
from pruning_core.common.formatting import format_percent
from pruning_core.common.names import made_name, run_name
from pruning_core.methods.datasets import DATASETS
from pruning_core.methods.devices import CPU, DEVICES, PRECISIONS
from pruning_core.methods.lr_schedules import LR_SCHEDULE_SPANS
from pruning_core.methods.sensitivity_units import GROUP
from pruning_core.settings.conditions import (
    FINE_TUNES,
    FINE_TUNES_ON_CPU,
    FINE_TUNING_BATCHES,
    FINE_TUNING_LR,
    FINE_TUNING_SCHEDULE,
    SCHEDULED,
    SEVERAL_STEPS,
    TRAINS_BASELINE_ON_CPU,
)
from pruning_core.settings.correction import CorrectionSpec, check_correction
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.fields import check_fields, fields_of, section, setting
from pruning_core.settings.pruning import (
    PruningSpec,
    check_pattern,
    check_sensitivity_granularity,
)
from pruning_core.settings.recovery import RecoverySpec, check_recovery, check_regrowth
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.serialization import build, to_dict
from pruning_core.settings.strategies import (
    MAX_EPOCHS,
    IterativeSpec,
    OneShotSpec,
    check_run_schedule,
)
from pruning_core.settings.structured import StructuredSpec, check_structured
from pruning_core.settings.training import TrainSpec

MAX_SEED = 2**63 - 1
MAX_FILE_BYTES = 10**7
SHOWN_OF_JSON = 20
# While a baseline trains there is no other stage yet, so it has two replicas, where each then has
# at least so many images of a full batch for its batch norm.
BASELINE_REPLICAS, REPLICA_IMAGES = 2, 16
MAX_REPLICAS = 16
# One option sets these fields of the baseline and of fine-tuning.
SHARED = ("batch_size", "momentum", "clip_grad_norm", "bn_recalibration_images")
# The settings that a default name tells where they are not the default ones, some of them always.
NAMED_SETTINGS = (
    "pruning.allocation",
    "pruning.criterion",
    "pruning.granularity",
    "iterative.schedule",
    "recovery.method",
    "structured.channel_importance",
    "iterative.target",
)
ALWAYS_NAMED = ("pruning.allocation",)
FINE_TUNING_CONDITIONS = {
    **{field.name: FINE_TUNES for field in dataclasses.fields(TrainSpec)},
    "lr": FINE_TUNING_LR,
    "lr_schedule": FINE_TUNING_SCHEDULE,
    "warmup": FINE_TUNING_SCHEDULE,
    "batch_size": FINE_TUNING_BATCHES,
}


@dataclass(frozen=True)
class Spec:
    """A whole comparison. `label` is its name on lists and charts; it changes no result."""

    data: DataSpec = section(DataSpec, title="Data set")
    model: ModelSpec = section(ModelSpec, title="Model")
    baseline: TrainSpec = section(
        lambda: TrainSpec(lr=0.1, lr_schedule="one_cycle"),
        title="Baseline training",
        flag_prefix="baseline-",
        title_prefix="Baseline",
        shared=SHARED,
    )
    baseline_epochs: int = setting(
        20,
        "Baseline epochs",
        help="Training epochs of the dense baseline, which all models share; 0 uses the initial "
        "weights without training.",
        unit="epochs",
        minimum=0,
        maximum=MAX_EPOCHS,
    )
    pruning: PruningSpec = section(PruningSpec, title="Pruning")
    one_shot: OneShotSpec = section(OneShotSpec, title="One-shot pruning")
    iterative: IterativeSpec = section(
        IterativeSpec,
        title="Iterative pruning",
        # A custom schedule implies both.
        fields_read_when=dict.fromkeys(("target", "iterations"), SCHEDULED),
    )
    sensitivity: SensitivitySpec = section(SensitivitySpec, title="Sensitivity analysis")
    finetune: TrainSpec = section(
        TrainSpec,
        title="Fine-tuning",
        fields_read_when=FINE_TUNING_CONDITIONS,
    )
    recovery: RecoverySpec = section(RecoverySpec, title="Recovery")
    correction: CorrectionSpec = section(CorrectionSpec, title="Training-free correction")
    structured: StructuredSpec = section(StructuredSpec, title="Structured pruning")
    lr_schedule_span: str = setting(
        "step",
        "Learning-rate schedule span",
        help="What one learning-rate schedule covers.",
        choices=LR_SCHEDULE_SPANS,
        read_when=SEVERAL_STEPS,
    )
    seeds: tuple[int, ...] = setting(
        (0,),
        "Seeds",
        help="Each seed repeats the whole comparison; 0, 1, 2 takes three times as long.",
        flag="--seed",
        metavar="0,1,2",
        minimum=0,
        maximum=MAX_SEED,
    )
    device: str = setting("auto", "Device", help="Where to train.", choices=DEVICES)
    precision: str = setting(
        "fp32",
        "Precision",
        help="Number format of matrix products and convolutions in training. Accuracy is always "
        "measured in float32.",
        choices=PRECISIONS,
    )
    baseline_replicas: int = setting(
        0,
        "Baseline replicas",
        help="CPU processes that train the baseline together, each on a part of every batch, with "
        "the batch norm of this part. 0 means 2, or 1 with a batch size below 32.",
        minimum=0,
        maximum=MAX_REPLICAS,
        read_when=TRAINS_BASELINE_ON_CPU,
    )
    finetune_replicas: int = setting(
        1,
        "Fine-tuning replicas",
        help="CPU processes that fine-tune a model together, each on a part of every batch, with "
        "the batch norm of this part.",
        minimum=1,
        maximum=MAX_REPLICAS,
        read_when=FINE_TUNES_ON_CPU,
    )
    label: str = setting(
        "", "Name of the run", help="For lists and charts; it changes no result.", flag=None
    )

    def replicas_of_baseline(self, device: str) -> int:
        """The replicas of baseline training on a device; 1 on a GPU and without training."""
        if device != CPU or not self.baseline_epochs:
            return 1
        large = self.baseline.batch_size >= BASELINE_REPLICAS * REPLICA_IMAGES
        return self.baseline_replicas or (BASELINE_REPLICAS if large else 1)

    def replicas_of_finetuning(self, device: str, epochs: float) -> int:
        """The replicas of a fine-tuning on a device; 1 on a GPU and without training."""
        return self.finetune_replicas if device == CPU and epochs else 1

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "label", run_name("label", self.label))
        check(bool(self.seeds), "seeds", "give at least one seed.")
        once("seeds", self.seeds)
        chains = [chain for chain in (self.iterative, self.structured) if chain.enabled]
        if self.lr_schedule_span == "run":
            longest = max((chain.final_epochs for chain in chains), default=0.0)
            check_run_schedule(self.finetune.lr_schedule, longest)
        check(
            bool(self.one_shot.amounts or chains or self.sensitivity.enabled),
            "one_shot.amounts",
            "nothing to run: give one-shot sparsities, or switch iterative pruning, structured "
            "pruning or the sensitivity analysis on.",
        )
        check_recovery(
            self.recovery,
            self.baseline_epochs,
            self.model.weights,
            (self.baseline.optimizer, self.finetune.optimizer),
            self.lr_schedule_span if chains else "step",
        )
        if self.iterative.enabled:
            check_regrowth(self.recovery, self.iterative.schedule)
        check_structured(self.structured)
        by_layer = self.sensitivity.enabled and self.sensitivity.unit != GROUP
        check_sensitivity_granularity(by_layer, self.pruning.granularity)
        check_correction(self.correction, self.one_shot.amounts)
        steps = self.iterative.iterations * self.iterative.enabled
        chain = (steps, self.iterative.target)
        check_pattern(self.pruning.granularity, self.one_shot.amounts, chain)


def to_json(spec: Spec) -> str:
    """A spec as a file that people can read and edit."""
    return json.dumps(to_dict(spec), indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Spec:
    """The spec in a JSON text. Raises `SpecError` where it is not one."""
    text = text.removeprefix("\ufeff")
    check(bool(text.strip()), "spec", "the file is empty.")
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise SpecError(
            "spec",
            "this is not JSON: line {line}, column {column} begins with {text}. {advice}",
            line=error.lineno,
            column=error.colno,
            text=shortened(_beginning(text[error.pos :])),
            advice=_advice(text, error.pos),
        ) from None
    except RecursionError:
        raise SpecError("spec", "this is not JSON of settings: it is nested too deeply.") from None
    except SpecError:
        raise
    except ValueError:
        raise SpecError("spec", "a number in it has too many digits.") from None
    return from_dict(value)


def _beginning(text: str) -> str:
    """The beginning of the first line of a text."""
    return text[:SHOWN_OF_JSON].strip().partition("\n")[0] or "nothing"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises `SpecError` where a name is repeated: one of the values would count."""
    names = [name for name, _ in pairs]
    for name in names if len(set(names)) < len(names) else ():
        message = "the setting {name} is in it twice. Remove one of them."
        check(names.count(name) == 1, "spec", message, name=shortened(name))
    return dict(pairs)


def _advice(text: str, position: int) -> str:
    """What a person can do about a text that stops being JSON at this position."""
    before, after = text[:position].rstrip(), text[position:].lstrip()
    if after.startswith(("//", "/*", "#")):
        return "JSON has no comments: remove them."
    if (after.startswith(("}", "]")) and before.endswith(",")) or before.endswith((",}", ",]")):
        return "Remove the comma before the closing bracket."
    if after.startswith(("'", "\u2018", "\u201c", "\u201e")):
        return 'Write names and texts in straight double quotes: "name".'
    if not text.lstrip().startswith(("{", "[")):
        return "A settings file begins with {. The page Tune exports one (Export settings)."
    return "Correct it there, or export the settings again on the page Tune."


def from_bytes(content: bytes) -> Spec:
    """The spec in the content of a file. Raises `SpecError` where it is not one.

    The file may be in UTF-8, UTF-16 or UTF-32, with or without a byte-order mark: Notepad and
    PowerShell write them. JSON begins with an ASCII character, which tells the encoding.
    """
    check(len(content) <= MAX_FILE_BYTES, "spec", "the file is too large to be a settings file.")
    try:
        text = content.decode(json.detect_encoding(content))
    except UnicodeDecodeError as error:
        message = (
            "the file is not text in UTF-8: its byte {number} is not. Give a settings file (JSON), "
            "or save it again as UTF-8."
        )
        raise SpecError("spec", message, number=error.start + 1) from None
    return from_json(text)


def from_dict(value: Any) -> Spec:
    """The spec in JSON values. Raises `SpecError` where they are not one."""
    return typing.cast(Spec, build(Spec, value))


def read(path: Path) -> Spec:
    """The spec in a file. Raises `SpecError` where the file cannot be read or is no spec."""
    try:
        with path.open("rb") as file:
            return from_bytes(file.read(MAX_FILE_BYTES + 1))
    except OSError as error:
        raise SpecError(
            "spec", "{path} cannot be read ({error}).", path=path, error=error
        ) from None


def describe(spec: Spec) -> str:
    """The name of a run: that of its settings, else its data set and what is special about it.

    Such as "digits, global, 3 seeds": the model, the strategies, the criterion and others are
    named where they are not the default ones, the allocation always. A name of a folder or file
    that cannot be the name of a run is escaped and shortened.
    """
    return spec.label or made_name(", ".join(_distinctive(spec)))


def _distinctive(spec: Spec) -> Iterator[str]:
    """The parts of a default name."""
    default = ModelSpec()
    yield dataset_name(spec)
    if spec.model.name != default.name:
        yield spec.model.name
    if spec.model.width != default.width:
        yield f"width {spec.model.width:g}"
    if spec.model.weights != default.weights:
        yield Path(spec.model.weights).name
    one_shot = any(spec.one_shot.amounts)
    if one_shot != spec.iterative.enabled:
        yield "one-shot" if one_shot else "iterative"
    if spec.structured.enabled:
        yield "structured"
    elif not one_shot and not spec.iterative.enabled:
        yield "sensitivity" if spec.sensitivity.enabled else "dense control"
    for name in NAMED_SETTINGS:
        field = fields_of(Spec)[name]
        value = operator.attrgetter(name)(spec)
        special = value != field.default or name in ALWAYS_NAMED
        if special and all(condition.holds(spec) for condition in field.conditions):
            yield format_percent(value) if field.is_share else _term(field.choice_title(value))
    if len(spec.seeds) > 1:
        yield f"{len(spec.seeds)} seeds"
    elif any(spec.seeds):
        yield f"seed {spec.seeds[0]}"


def _term(title: str) -> str:
    """The title of a choice within a name: "global", "OBD" for "Optimal Brain Damage (OBD)"."""
    term, _, explanation = title.partition(" (")
    if (abbreviation := explanation.removesuffix(")")).isalpha() and abbreviation.isupper():
        return abbreviation
    return term if term[1:].lower() != term[1:] and " " not in term else term[0].lower() + term[1:]


def dataset_name(spec: Spec) -> str:
    """The name of the data set; of own images, their folder or file."""
    user_images = DATASETS[spec.data.name].user_images
    return Path(spec.data.path).name if user_images else spec.data.name

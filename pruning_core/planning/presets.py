"""Named specs. A preset is one entry here; pages and command line follow from it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pruning_core.planning.latency_search import LATENCY_STRATEGIES
from pruning_core.planning.search import SEARCH_STRATEGIES, spec_of
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec


@dataclass(frozen=True)
class Preset:
    """A spec with a title and a short text for its card on Home."""

    title: str
    text: str
    spec: Spec


DIGITS_TRAINING = TrainSpec(lr=0.03, lr_schedule="one_cycle", batch_size=32)

QUICKSTART = Spec(
    data=DataSpec(augmentation="none"),
    baseline=DIGITS_TRAINING,
    baseline_epochs=12,
    finetune=TrainSpec(lr=0.02, batch_size=32),
    one_shot=OneShotSpec(epochs=2),
    iterative=IterativeSpec(epochs=2),
    label="Quick start",
)

TEXTBOOK = Spec(
    data=DataSpec(name="cifar10", train_size=5000, test_size=1000),
    model=ModelSpec(stem_stride=1, weights="pretrained"),
    baseline=TrainSpec(optimizer="adam", lr=0.001, lr_schedule="constant", batch_size=32),
    baseline_epochs=5,
    finetune=TrainSpec(
        optimizer="adam", lr=0.001, lr_schedule="constant", weight_decay=0.0, batch_size=32
    ),
    one_shot=OneShotSpec(epochs=2),
    iterative=IterativeSpec(epochs=1),
    label="Textbook",
)

BUDGET = 10  # epochs


SEARCHED = Spec(
    data=DataSpec(augmentation="none"),
    baseline=DIGITS_TRAINING,
    baseline_epochs=30,
    finetune=TrainSpec(lr=0.02, batch_size=32),
)


def recommended(strategy: str) -> Spec:
    """A strategy to 90 % sparsity on digits, and one-shot pruning with the same budget."""
    base = replace(SEARCHED, label="Recommended")
    spec = spec_of(SEARCH_STRATEGIES[strategy], base, 0.9, BUDGET, seed=0)
    one_shot = OneShotSpec(amounts=(0.0, 0.5, 0.8, 0.95), epochs=BUDGET)
    return replace(spec, one_shot=one_shot, iterative=replace(spec.iterative, equal_budget=True))


def fast(name: str) -> Spec:
    """Structured pruning to each target of a strategy, and the dense model with the same budget."""
    strategy = LATENCY_STRATEGIES[name]
    spec = spec_of(strategy, replace(SEARCHED, label="Fast"), strategy.targets[0], BUDGET, seed=0)
    structured = replace(spec.structured, ratios=strategy.targets)
    return replace(spec, one_shot=OneShotSpec((0.0,), BUDGET), structured=structured)


RECOMMENDED = recommended("early_obd")
FAST = fast("channels_global")

PRESETS: dict[str, Preset] = {
    "quickstart": Preset(
        "Quick start",
        "MobileNetV2 trained from scratch on handwritten digits. One-shot and iterative pruning "
        "to 90 % sparsity.",
        QUICKSTART,
    ),
    "textbook": Preset(
        "Textbook",
        "The assignment's experiment: CIFAR-10, 5,000 training and 1,000 test images, "
        "ImageNet-pretrained MobileNetV2, uniform layer-wise pruning.",
        TEXTBOOK,
    ),
    "recommended": Preset(
        "Recommended",
        "The best strategy of our search: global second-order pruning (OBD), knowledge "
        "distillation, and one learning-rate decay over the whole run. Compared with one-shot "
        "pruning with the same training budget.",
        RECOMMENDED,
    ),
    "fast": Preset(
        "Fast",
        "The strategy of the fastest model of our search: channels are removed by Taylor "
        "importance, with knowledge distillation. Measure on Export which file is fastest "
        "on your machine.",
        FAST,
    ),
}

"""Named specs. A new preset is one entry here; pages and command line show it by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pruning_core.planning.search import SEARCH_STRATEGIES, spec_of
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.training import TrainSpec


@dataclass(frozen=True)
class Preset:
    """A spec with a title and one sentence for its card."""

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

BUDGET = 10


def recommended(recipe: str) -> Spec:
    """A recipe to 90 % of digits, beside one-shot cuts of the same scores with the same epochs."""
    base = Spec(
        data=DataSpec(augmentation="none"),
        baseline=DIGITS_TRAINING,
        baseline_epochs=30,
        finetune=TrainSpec(lr=0.02, batch_size=32),
        label="Recommended",
    )
    made = spec_of(SEARCH_STRATEGIES[recipe], base, 0.9, BUDGET, seed=0)
    amounts = OneShotSpec(amounts=(0.0, 0.5, 0.8, 0.95), epochs=BUDGET)
    return replace(made, one_shot=amounts, iterative=replace(made.iterative, equal_budget=True))


RECOMMENDED = recommended("early_obd")

PRESETS: dict[str, Preset] = {
    "quickstart": Preset(
        "Quick start",
        "Handwritten digits, a MobileNetV2 trained from nothing, both strategies to 90 %.",
        QUICKSTART,
    ),
    "textbook": Preset(
        "Textbook",
        "The assignment's experiment: CIFAR-10, 5,000 training and 1,000 test images, "
        "a pretrained MobileNetV2, every layer cut alike.",
        TEXTBOOK,
    ),
    "recommended": Preset(
        "Recommended",
        "The curvature of the error says what goes, over all layers together, in small cuts or in "
        "one; the dense model teaches what is left, and the rate falls to zero over the whole run.",
        RECOMMENDED,
    ),
}

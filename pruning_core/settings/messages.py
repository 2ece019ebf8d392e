"""What a setting is called on the pages, and an error about it in the pages' own words.

The controls take their labels from `TITLES`, so an error names a control as it stands there.
The engine counts shares as fractions; the pages show the settings in `PERCENT` as percent.
A message puts an option's own name, as one types it, in backticks; the pages show its title.
"""

from __future__ import annotations

import re

from pruning_core.common.formatting import trimmed
from pruning_core.methods.criteria import CRITERION_CHOICES

OPTION_TITLES = {
    "fp32": "fp32: full",
    "bf16": "bf16: half",
    **{name: found.title for name, found in CRITERION_CHOICES.items()},
    "layer": "Each layer alike",
    "global": "All layers together",
    "erk": "By the size of each layer (ERK)",
    "lamp": "All together, scores by layer (LAMP)",
    "hand": "Shares by hand",
    "weight": "Single weights",
    "kernel": "Kernels",
    "filter": "Filters",
    "2:4": "2 of every 4 inputs (2:4)",
    "4:8": "4 of every 8 inputs (4:8)",
    "all": "Every convolution and linear weight",
    "spared": "Spare depthwise, stem and classifier",
    "one_shot": "All at once",
    "geometric": "Geometric",
    "linear": "Linear",
    "cubic": "Cubic",
    "exponential": "Exponential",
    "rigl": "RigL: weights change places",
    "dense_sparse_dense": "Dense-sparse-dense: all come back",
    "list": "Typed targets",
    "sgd": "SGD with momentum",
    "adam": "Adam",
    "adamw": "AdamW",
    "fine_tune": "Fine-tune",
    "lr_rewind": "Rewind the learning rate",
    "weight_rewind": "Rewind the weights",
    "random_reinit": "New random weights (control)",
    "constant": "Constant",
    "step": "Step",
    "cosine": "Cosine",
    "one_cycle": "One cycle",
    "auto": "Automatic",
    "none": "None",
    "crop": "Shifted crop",
    "crop_flip": "Shifted crop and mirror",
    "cpu": "Processor (cpu)",
    "cuda": "Nvidia GPU (cuda)",
    "mps": "Apple GPU (mps)",
}
TITLES = {
    "data.name": "Data",
    "data.path": "Folder or .zip on this computer",
    "image": "Your image",
    "data.image_size": "Image size",
    "data.train_size": "Training images",
    "data.test_size": "Test images",
    "data.validation": "Validation share",
    "data.split_seed": "Seed of the split",
    "data.augment": "Augmentation",
    "data.mean": "Mean of the colours",
    "data.std": "Deviation of the colours",
    "model.name": "Model",
    "model.width": "Width",
    "model.stem_stride": "Stem stride",
    "model.weights": "Weights",
    "baseline_epochs": "Baseline epochs",
    "baseline.optimizer": "Baseline optimizer",
    "baseline.lr": "Baseline learning rate",
    "baseline.lr_schedule": "Baseline rate curve",
    "baseline.momentum": "Baseline momentum",
    "baseline.weight_decay": "Baseline weight decay",
    "baseline.clip_norm": "Baseline gradient limit",
    "baseline.batch_size": "Baseline batch size",
    "one_shot.amounts": "One-shot amounts",
    "one_shot.epochs": "One-shot epochs",
    "iterative.enabled": "Iterative pruning",
    "iterative.target": "Iterative target",
    "iterative.iterations": "Iterations",
    "iterative.epochs": "Epochs per iteration",
    "iterative.schedule": "Schedule",
    "iterative.targets": "Typed targets",
    "iterative.tail": "Tail epochs",
    "iterative.matched": "Add one-shot with the iterative run's budget",
    "prune.criterion": "Criterion",
    "prune.scope": "Spread over layers",
    "prune.keep_floor": "Keep-floor",
    "prune.layers": "Layers",
    "prune.spare": "Spared layers",
    "prune.by_hand": "Shares by hand",
    "prune.granularity": "Goes as one piece",
    "prune.norm": "Norm of a filter",
    "prune.dim": "Filters of",
    "prune.score_images": "Images for the criterion",
    "finetune.optimizer": "Optimizer",
    "finetune.lr": "Learning rate",
    "finetune.lr_schedule": "Rate curve",
    "finetune.momentum": "Fine-tuning momentum",
    "finetune.weight_decay": "Fine-tuning weight decay",
    "finetune.clip_norm": "Fine-tuning gradient limit",
    "finetune.batch_size": "Fine-tuning batch size",
    "finetune.bn_images": "Fine-tuning batch-norm images",
    "baseline.bn_images": "Baseline batch-norm images",
    "finetune.label_smoothing": "Fine-tuning label smoothing",
    "baseline.label_smoothing": "Baseline label smoothing",
    "finetune.warm_up": "Fine-tuning warm-up",
    "baseline.warm_up": "Baseline warm-up",
    "recovery.method": "Way to recover",
    "recovery.rewind_epoch": "Rewind to epoch",
    "recovery.distill_weight": "Distillation weight",
    "recovery.distill_temperature": "Distillation temperature",
    "ladder.enabled": "Ladder without training",
    "ladder.images": "Images of the ladder",
    "structured.enabled": "Remove channels",
    "structured.amounts": "Shares to remove",
    "structured.of": "Shares are of",
    "structured.importance": "Channels are chosen by",
    "structured.scope": "Spread of channels",
    "structured.round_to": "Multiples of channels",
    "structured.max_ratio": "Most of a layer",
    "structured.steps": "Cuts of channels",
    "structured.epochs": "Epochs per cut of channels",
    "structured.tail": "Tail epochs after channels",
    "scan.enabled": "Sensitivity scan",
    "scan.sparsities": "Scanned sparsities",
    "scan.images": "Images of the scan",
    "scan.unit": "Scanned alone",
    "lr_span": "Curve covers",
    "seeds": "Seeds",
    "device": "Device",
    "precision": "Precision",
    "baseline_threads": "Baseline threads",
    "level_threads": "Fine-tuning threads",
    "label": "Name of the run",
    "amount": "Amount",
    "spec": "Spec",
}
PERCENT = (
    "one_shot.amounts",
    "structured.amounts",
    "structured.max_ratio",
    "scan.sparsities",
    "iterative.target",
    "iterative.targets",
    "prune.keep_floor",
    "data.validation",
)
PHRASES = {
    "is not in [0, 1)": "is not from 0 up to, but not including, 1",
    "not a fraction ": "not ",
}
# A number that is neither part of a word or of another number nor percent already, and quotes.
_NUMBER = re.compile(r"'[^']*'|(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w%]|\.\d| %)")
_OPTION = re.compile(r"`([^`]+)`")
_TIGHT = re.compile(r"(\d+(?:\.\d+)?)%")


def title(field: str) -> str:
    """What a setting is called on the pages; its own name where it has no title."""
    return TITLES.get(field, field)


def explain(field: str, message: str) -> str:
    """An error's sentence as a page says it: the control's title, the page's units."""
    message = titled(message)
    for engine, page in PHRASES.items():
        message = message.replace(engine, page)
    text = _NAMES.sub(lambda found: _BY_NAME[found[0]], message)
    if field in PERCENT:
        text = _TIGHT.sub(lambda found: f"{trimmed(float(found[1]), 4)} %", text)
        text = _NUMBER.sub(_percent, text)
    return f"{title(field)}: {text}" if field else text


def titled(message: str) -> str:
    """A message with the titles of options in place of their own names in backticks."""
    return _OPTION.sub(lambda found: f"'{OPTION_TITLES.get(found[1], found[1])}'", message)


def _percent(found: re.Match[str]) -> str:
    text = found[0]
    if text.startswith("'"):
        return text
    value = trimmed(100 * float(text), 4)
    return "0" if value == "0" else f"{value} %"


def _by_name() -> dict[str, str]:
    """Titles by the names that stand in messages: dotted, and short where only one has it."""
    lasts = [name.rsplit(".", 1)[-1] for name in TITLES]
    dotted = {name: text for name, text in TITLES.items() if "." in name or "_" in name}
    short = {
        last: text
        for last, text in zip(lasts, TITLES.values(), strict=True)
        if "_" in last and lasts.count(last) == 1
    }
    return {**short, **dotted}


_BY_NAME = _by_name()
_NAMES = re.compile(
    r"(?<![\w./'-])(?:" + "|".join(re.escape(name) for name in _BY_NAME) + r")(?![\w/])"
)

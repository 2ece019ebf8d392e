"""The controls of the Tune page that are seldom changed."""

from __future__ import annotations

from pages.components.controls import RATE_FOLLOWS
from pages.components.recovery_controls import read_own_rate
from pages.components.selection_controls import filter_controls
from pages.components.widgets import check, choice, number, set_to, slide, text, value_of, whole
from pruning_core.methods import sparsity_schedules
from pruning_core.methods.allocation import FLOORED
from pruning_core.methods.channel_importance import looks
from pruning_core.methods.criteria import IMAGES, needs
from pruning_core.settings import spec as specs
from pruning_core.settings.sensitivity import SCAN_UNITS


def rare_controls() -> None:
    """What is seldom changed."""
    text("seeds", "Each seed repeats the whole comparison; 0, 1, 2 takes three times as long.")
    whole(
        "prune.score_images",
        1,
        100_000,
        "Some criteria and importances, and RigL, look at training images before a cut: so many of "
        "them, or all there are.",
        disabled=not (needs(value_of("prune.criterion"), IMAGES) or _exchanges() or _channels()),
    )
    slide(
        "prune.keep_floor",
        0.0,
        50.0,
        help="With all layers together, ERK or LAMP, every layer keeps at least this share.",
        step=0.5,
        format="%.1f %%",
        disabled=value_of("prune.scope") not in FLOORED,
    )
    filter_controls()
    _scan()
    _rare_training()
    _rare_data()
    choice(
        "precision",
        specs.PRECISIONS,
        "Of the products in training; accuracy is always measured in fp32. Automatic takes bf16 "
        "where a short trial on this machine, with this model and image size, finds it quicker.",
    )
    choice("device", specs.DEVICES, "Where to train; automatic takes a GPU if there is one.")


def _channels() -> bool:
    """Whether the importance of channels looks at images."""
    return bool(value_of("structured.enabled") and looks(value_of("structured.importance")))


def _exchanges() -> bool:
    """Whether the chain has weights change places, for which it looks at images."""
    return bool(
        value_of("iterative.enabled")
        and value_of("iterative.schedule") in sparsity_schedules.EXCHANGES
    )


def _rare_training() -> None:
    choice(
        "baseline.optimizer",
        specs.OPTIMIZERS,
        f"For the dense training. {RATE_FOLLOWS.format(**specs.BASELINE_LR)}",
        on_change=set_to("baseline.lr", lambda: specs.BASELINE_LR[value_of("baseline.optimizer")]),
    )
    number("baseline.lr", 0.00001, 10.0, 0.001, "Peak of its curve.")
    choice(
        "baseline.lr_schedule",
        specs.LR_SCHEDULES,
        "How the rate changes over the baseline's epochs.",
    )
    for part in ("baseline", "finetune"):
        whole(f"{part}.batch_size", 2, 4096, "Images in one training step.")
        number(f"{part}.weight_decay", 0.0, 1.0, 0.0001, "Pulls weights towards 0 (L2 penalty).")
        clip = "Longest gradient of a tensor in a step; 0 does not clip."
        number(f"{part}.clip_norm", 0.0, 1000.0, 0.5, clip)
        number(f"{part}.momentum", 0.0, 0.999, 0.05, "Of SGD; Adam's beta 1.")
        anew = "Training images on which batch norm is estimated anew after each epoch; 0: not."
        whole(f"{part}.bn_images", 0, 100_000, anew)
        smooth = "Share of each label that goes to all classes alike; usual: 0.1. 0 is off."
        number(f"{part}.label_smoothing", 0.0, 0.99, 0.05, smooth)
        rise = "Share of the curve's steps in which the rate rises from 0 to it: 0.05 is 5 %."
        off = part == "finetune" and not read_own_rate()
        number(f"{part}.warm_up", 0.0, 0.99, 0.01, rise, disabled=off)


def _rare_data() -> None:
    slide(
        "data.validation",
        1.0,
        50.0,
        help="Share of the training images that is kept back to watch the training with.",
        step=1.0,
        format="%.0f %%",
    )
    whole("data.split_seed", 0, 2**31, "Draws the subsets and the split of your own images.")
    choice(
        "data.augment",
        specs.AUGMENTATIONS,
        "Random changes to training images. Automatic mirrors only where it makes sense.",
    )
    text("data.mean", "Three numbers from 0 to 1, for red, green and blue. Default: ImageNet's.")
    text("data.std", "Three numbers above 0, for red, green and blue. Default: ImageNet's.")


def _scan() -> None:
    check(
        "scan.enabled",
        "Besides, cut each layer of the baseline alone at several sparsities, without training. "
        "The page Layers shows it, and can start it for a finished run too.",
    )
    off = not value_of("scan.enabled")
    text(
        "scan.sparsities",
        "In percent, the lowest first: 30, 50, 90. A layer's scan ends where accuracy is gone.",
        disabled=off,
    )
    whole("scan.images", 0, 100_000, "Validation images to look at; 0 takes all.", disabled=off)
    choice(
        "scan.unit",
        tuple(SCAN_UNITS),
        "Weights of one layer by a mask, or channels of one group of coupled layers for good, "
        "chosen as for removing channels.",
        titles=SCAN_UNITS,
        disabled=off,
    )

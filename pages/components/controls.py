"""The controls of the Tune page, in the order in which a person decides."""

from __future__ import annotations

import streamlit as st

from pages.components import schedule
from pages.components.model_names import MODELS
from pages.components.recovery_controls import (
    distillation,
    ladder,
    own_curve,
    read_own_rate,
    way_to_recover,
)
from pages.components.selection_controls import selection_controls
from pages.components.shell import Lab
from pages.components.uploads import uploaded
from pages.components.widgets import (
    check,
    choice,
    number,
    set_to,
    size,
    slide,
    text,
    value_of,
    whole,
)
from pruning_core.methods.criteria import CRITERION_CHOICES
from pruning_core.settings import spec as specs

DATA_TITLES = {
    "digits": "Digits (on board)",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "images": "My own images",
}
WEIGHT_TITLES = {
    "none": "Random: train from nothing",
    "pretrained": "Pretrained on ImageNet (torchvision's)",
}
STRIDE_TITLES = {1: "1: keep small images large", 2: "2: as published"}
SPAN_TITLES = {
    "step": "Each step its own curve",
    "chain": "One curve over all cuts",
    "whole": "One curve over all cuts and the tail",
}
CRITERION_HELP = "What decides which weights go first.\n\n" + "\n".join(
    f"- {found.title} looks at {found.looks_at}." for found in CRITERION_CHOICES.values()
)
ALL = "Empty takes all there are."
RATE_FOLLOWS = (
    "AdamW keeps weight decay apart from the gradient; its usual decay is 0.01. Another choice "
    "sets its usual learning rate, {sgd:g} for SGD, {adam:g} for Adam and {adamw:g} for AdamW."
)


def data_controls(lab: Lab) -> None:
    """Which images, how many, how large."""
    name = choice(
        "data.name",
        specs.DATASETS,
        "The images to learn from. Digits need no download; the named sets are downloaded once.",
        titles=DATA_TITLES,
        # What suited the images before need not suit these.
        on_change=set_to("data.augment", lambda: "auto"),
    )
    if name == "images":
        _own_images(lab)
    left, right = st.columns(2)
    with left:
        size("data.train_size", f"How many to train with. {ALL}")
    with right:
        size("data.test_size", f"How many to measure accuracy with. {ALL}")
    slide(
        "data.image_size",
        28,
        224,
        help="Images are scaled to this many pixels a side. Time grows with its square.",
        format="%d pixels",
    )


def _own_images(lab: Lab) -> None:
    uploaded(lab, "Upload a .zip", "data.path", ["zip"])
    text(
        "data.path",
        "Laid out as train/class/* and test/class/*, or as class/* (then split 80 to 20).",
        placeholder="/home/me/images or /home/me/images.zip",
    )


def model_controls(lab: Lab) -> None:
    """Which network, from which weights, and how the baseline is trained."""
    choice(
        "model.name",
        MODELS,
        "Any torchvision classification model: pick one, or type to search. MobileNet, ResNet, "
        "VGG, EfficientNet, ConvNeXt, ViT, Swin, DenseNet, RegNet, ShuffleNet and others.",
        accept_new_options=True,
    )
    left, right = st.columns(2)
    with left:
        number(
            "model.width",
            0.1,
            4.0,
            0.05,
            "Multiplies the number of channels; 1 is the published width. Only MobileNets "
            "have another.",
        )
    with right:
        choice(
            "model.stem_stride",
            (2, 1),
            "Stride of the first convolution. 1 helps images under 64 pixels; it costs "
            "about three times the time.",
            titles=STRIDE_TITLES,
        )
    _weights(lab)
    whole(
        "baseline_epochs",
        0,
        1000,
        "Training before the first cut, shared by all runs. 0 takes the weights as they are.",
    )


def _weights(lab: Lab) -> None:
    # An upload changes what the box shows, so it is read first, though it stands below.
    place = st.container()
    with st.expander("Upload weights"):
        uploaded(lab, "A file of weights", "model.weights", ["safetensors", "pt", "pth", "ckpt"])
    with place:
        choice(
            "model.weights",
            ("none", "pretrained"),
            "What the baseline starts from. You can also type the path of a .safetensors or a "
            "weights-only .pt, .pth or .ckpt file.",
            titles=WEIGHT_TITLES,
            accept_new_options=True,
        )


def amount_controls() -> None:
    """How much goes, for both strategies."""
    text(
        "one_shot.amounts",
        "In percent, with commas, semicolons or spaces between: 0, 30, 50. Each is one cut of "
        "the baseline. 0 is the dense control: no cut, the same epochs.",
        placeholder="0, 30, 50, 70, 90 %",
    )
    slide(
        "iterative.target",
        1.0,
        99.9,
        help="Share of the prunable weights that is gone after the last step.",
        step=0.1,
        format="%.1f %%",
        disabled=not value_of("iterative.enabled") or schedule.listed(),
    )
    choice("prune.criterion", specs.CRITERIA, CRITERION_HELP)
    choice(
        "prune.layers",
        specs.LAYER_CHOICES,
        "Which weights may be pruned. MobileNet's depthwise layers are small and fragile.",
    )
    selection_controls()


def time_controls() -> None:
    """When weights go, and the epochs between."""
    check("iterative.enabled", "A chain of small cuts with fine-tuning after each.")
    off = not value_of("iterative.enabled")
    left, right = st.columns(2)
    with left:
        slide(
            "iterative.iterations",
            1,
            20,
            help="Cuts in the chain. Typed targets say it by themselves, and the target too.",
            disabled=off or schedule.listed(),
        )
    with right:
        slide(
            "iterative.epochs",
            0.0,
            20.0,
            help="Fine-tuning after each cut. An epoch is one pass over the training images; "
            "half an epoch is half of its batches.",
            step=0.5,
            format="%g",
            disabled=off,
        )
    schedule.controls(off)
    _tail(off)
    check(
        "iterative.matched",
        "One cut to the target, then as many epochs as the whole chain. Without it the "
        "comparison is unfair: the chain trains longer.",
        disabled=off,
    )
    told = "Fine-tuning after the one cut."
    slide("one_shot.epochs", 0.0, 50.0, help=told, step=0.5, format="%g")


def _tail(off: bool) -> None:
    slide(
        "iterative.tail",
        0.0,
        20.0,
        help="Training after the last cut, as a step of its own without a cut. Its rate falls "
        "from the peak to 0 along a cosine, whatever the curve of the steps, or goes on down the "
        "one curve that covers cuts and tail. It counts in the chain's budget.",
        step=0.5,
        format="%g",
        disabled=off,
    )


def recovery_controls() -> None:
    """How accuracy is won back."""
    way_to_recover()
    left, right = st.columns(2)
    with left:
        choice(
            "finetune.optimizer",
            specs.OPTIMIZERS,
            f"The same for both strategies. {RATE_FOLLOWS.format(**specs.DEFAULT_LR)}",
            on_change=set_to(
                "finetune.lr", lambda: specs.DEFAULT_LR[value_of("finetune.optimizer")]
            ),
        )
        choice(
            "finetune.lr_schedule",
            specs.LR_SCHEDULES,
            "How the learning rate changes. Most of the last points of accuracy come back when "
            "it falls to about 0.",
            disabled=not own_curve(),
        )
    with right:
        number(
            "finetune.lr", 0.00001, 10.0, 0.001, "Peak of the curve.", disabled=not read_own_rate()
        )
        choice(
            "lr_span",
            specs.LR_SPANS,
            "Each step its own curve; one curve over all cuts, after which a tail has its own; or "
            "one over cuts and tail together, as one-shot with the same budget has it.",
            titles=SPAN_TITLES,
        )
    distillation()
    ladder()

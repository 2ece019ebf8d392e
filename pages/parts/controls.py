"""The widgets of the Tune page, in the order in which a person decides.

Each widget's key is `w.` and the setting's dotted name, see `choices`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import streamlit as st

from pages.parts.choices import PREFIX
from pages.parts.shell import Lab
from pages.parts.uploads import uploaded
from pruning_core import spec as specs

DATA_TITLES = {
    "digits": "Digits (on board)",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion_mnist": "Fashion-MNIST",
    "images": "My own images",
}
MODELS = (
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "resnet18",
    "resnet50",
    "vgg11_bn",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
)
TITLES = {
    "magnitude": "Magnitude (L1)",
    "random": "Random (control)",
    "layer": "Each layer alike",
    "global": "All layers together",
    "all": "Every convolution and linear weight",
    "spared": "Spare depthwise, stem and classifier",
    "geometric": "Geometric",
    "linear": "Linear",
    "cubic": "Cubic",
    "sgd": "SGD with momentum",
    "adam": "Adam",
    "constant": "Constant",
    "step": "Step",
    "cosine": "Cosine",
    "one_cycle": "One cycle",
    "auto": "Automatic",
    "none": "None",
    "crop": "Shifted crop",
    "crop_flip": "Shifted crop and mirror",
}
SPANS = {"step": "Each step its own curve", "chain": "One curve over the whole chain"}
Number = TypeVar("Number", int, float)


def key(name: str) -> str:
    """The widget key of a setting."""
    return PREFIX + name


def choice(label: str, name: str, options: tuple[str, ...], help: str, **more: Any) -> str:
    """A select box for one of a registry's names."""
    titles = more.pop("titles", TITLES)
    return st.selectbox(
        label, options, key=key(name), help=help, format_func=lambda v: titles.get(v, v), **more
    )


def number(label: str, name: str, low: float, high: float, step: float, help: str) -> None:
    """A number field."""
    least, most = bounds(name, low, high)
    st.number_input(label, least, most, key=key(name), step=step, help=help, format=_format(step))


def whole(label: str, name: str, low: int, high: int, help: str) -> None:
    """A field for whole numbers."""
    least, most = bounds(name, low, high)
    st.number_input(label, least, most, key=key(name), step=1, help=help)


def slide(label: str, name: str, low: Number, high: Number, help: str, **more: Any) -> None:
    """A slider."""
    least, most = bounds(name, low, high)
    st.slider(label, least, most, key=key(name), help=help, **more)


def bounds(name: str, low: Number, high: Number) -> tuple[Number, Number]:
    """The usual bounds of a control, wide enough for what a link or a file has brought.

    A spec may hold more than a slider usually shows; it must not be changed by being shown.
    They never shrink while a session lasts, so that a control does not change under the hand.
    """
    least, most = st.session_state.get(f"bounds {name}", (low, high))
    value = st.session_state.get(key(name), low)
    found = (min(least, value), max(most, value))
    st.session_state[f"bounds {name}"] = found
    return found


def data_controls(lab: Lab) -> None:
    """Which images, how many, how large."""
    name = choice(
        "Data",
        "data.name",
        specs.DATASETS,
        "The images to learn from.",
        titles=DATA_TITLES,
        on_change=_other_data,
    )
    if name == "images":
        _own_images(lab)
    left, right = st.columns(2)
    with left:
        whole("Training images", "data.train_size", 0, 1_000_000, "0 takes all there are.")
    with right:
        whole("Test images", "data.test_size", 0, 1_000_000, "0 takes all there are.")
    slide(
        "Image size in pixels",
        "data.image_size",
        28,
        224,
        help="Images are scaled to this many pixels a side. Time grows with its square.",
    )


def model_controls(lab: Lab) -> None:
    """Which network, from which weights, and how the baseline is trained."""
    st.selectbox(
        "Model",
        MODELS,
        key=key("model.name"),
        accept_new_options=True,
        help="Any torchvision classification model: pick one or type its name.",
    )
    left, right = st.columns(2)
    with left:
        number("Width", "model.width", 0.1, 4.0, 0.05, "Multiplies the number of channels.")
    with right:
        st.selectbox(
            "Stem stride",
            (2, 1),
            key=key("model.stem_stride"),
            format_func=lambda v: "1: keep small images large" if v == 1 else "2: as published",
            help="Stride of the first convolution. 1 helps images under 64 pixels; it costs "
            "about three times the time.",
        )
    _weights(lab)
    whole(
        "Baseline epochs",
        "baseline_epochs",
        0,
        1000,
        "Training before the first cut, shared by all runs. 0 takes the weights as they are.",
    )


def amount_controls() -> None:
    """How much goes, for both strategies."""
    st.text_input(
        "One-shot amounts in percent",
        key=key("one_shot.amounts"),
        help="Each is one cut of the baseline. 0 is the dense control: no cut, the same epochs.",
    )
    slide(
        "Iterative target in percent",
        "iterative.target",
        1.0,
        99.9,
        step=0.1,
        format="%.1f",
        help="Share of the prunable weights that is gone after the last step.",
    )
    choice(
        "Layers",
        "prune.layers",
        specs.LAYER_CHOICES,
        "Which weights may be pruned. MobileNet's depthwise layers are small and fragile.",
    )
    choice(
        "Weights compete",
        "prune.scope",
        specs.SCOPES,
        "Each layer alike: every layer loses the same share. All layers together: one "
        "threshold for the whole network, with a floor for each layer.",
    )


def time_controls() -> None:
    """When weights go, and the epochs between."""
    st.checkbox(
        "Iterative pruning",
        key=key("iterative.enabled"),
        help="A chain of small cuts with fine-tuning after each.",
    )
    left, right = st.columns(2)
    with left:
        slide("Iterations", "iterative.iterations", 1, 20, help="Cuts in the chain.")
    with right:
        slide("Epochs an iteration", "iterative.epochs", 0, 20, help="After each cut.")
    choice(
        "Schedule",
        "iterative.schedule",
        specs.SCHEDULES,
        "Geometric: each step removes the same share of what is left. Linear: equal steps. "
        "Cubic: fast first, then slow (Zhu and Gupta 2017).",
    )
    slide("One-shot epochs", "one_shot.epochs", 0, 50, help="After the one cut.")
    st.checkbox(
        "Add one-shot with the iterative run's budget",
        key=key("iterative.matched"),
        help="One cut to the target, then as many epochs as the whole chain. Without it the "
        "comparison is unfair: the chain trains longer.",
    )


def recovery_controls() -> None:
    """How accuracy is won back."""
    left, right = st.columns(2)
    with left:
        choice("Optimizer", "finetune.optimizer", specs.OPTIMIZERS, "The same for both strategies.")
        choice(
            "Rate curve",
            "finetune.lr_schedule",
            specs.LR_SCHEDULES,
            "Most of the last points come back when the rate falls to about 0.",
        )
    with right:
        number("Learning rate", "finetune.lr", 0.00001, 10.0, 0.001, "Peak of the curve.")
        choice(
            "Curve covers",
            "lr_span",
            specs.LR_SPANS,
            "Each step its own curve, or one falling curve over all iterations.",
            titles=SPANS,
        )


def rare_controls() -> None:
    """What is seldom changed."""
    st.text_input("Seeds", key=key("seeds"), help="Each repeats the whole comparison: 0, 1, 2.")
    choice("Criterion", "prune.criterion", specs.CRITERIA, "Which weights go first.")
    slide(
        "Keep-floor in percent",
        "prune.keep_floor",
        0.0,
        50.0,
        help="With all layers together, every layer keeps at least this share of its weights.",
    )
    for part, title in (("baseline", "Baseline"), ("finetune", "Fine-tuning")):
        whole(f"{title} batch size", f"{part}.batch_size", 2, 4096, "Images a step.")
        number(f"{title} weight decay", f"{part}.weight_decay", 0.0, 1.0, 0.0001, "L2 penalty.")
        clip = "Longest gradient of a step; 0 does not clip."
        number(f"{title} gradient limit", f"{part}.clip_norm", 0.0, 1000.0, 0.5, clip)
        number(f"{title} momentum", f"{part}.momentum", 0.0, 0.999, 0.05, "Of SGD; Adam's beta 1.")
    choice("Baseline optimizer", "baseline.optimizer", specs.OPTIMIZERS, "For the dense training.")
    number("Baseline learning rate", "baseline.lr", 0.00001, 10.0, 0.001, "Peak of its curve.")
    choice(
        "Baseline rate curve",
        "baseline.lr_schedule",
        specs.LR_SCHEDULES,
        "How the rate changes over the baseline's epochs.",
    )
    choice("Augmentation", "data.augment", specs.AUGMENTATIONS, "Random changes to images.")
    st.text_input("Mean of the colours", key=key("data.mean"), help="Three numbers, 0 to 1.")
    st.text_input("Deviation of the colours", key=key("data.std"), help="Three numbers.")
    choice("Device", "device", specs.DEVICES, "Where to train; automatic takes a GPU if any.")


def _other_data() -> None:
    """A callback: what suited the images before need not suit these."""
    st.session_state[key("data.augment")] = "auto"


def _own_images(lab: Lab) -> None:
    uploaded(lab, "Upload a .zip", "data.path", ["zip"])
    st.text_input(
        "Folder or .zip on this computer",
        key=key("data.path"),
        help="Laid out as train/class/* and test/class/*, or as class/* (then split 80 to 20).",
    )


def _weights(lab: Lab) -> None:
    with st.expander("Weights", expanded=False):
        uploaded(lab, "Upload weights", "model.weights", ["safetensors", "pt", "pth"])
        st.text_input(
            "Weights",
            key=key("model.weights"),
            help="none: start from random weights. pretrained: torchvision's, downloaded once. "
            "Or the path of a .safetensors or a weights-only .pt file.",
        )


def _format(step: float) -> str:
    return "%.2f" if step >= 0.01 else "%.5f"

"""The settings of the data set and of the model."""

from __future__ import annotations

from dataclasses import dataclass

from pruning_core.common.errors import check, shortened
from pruning_core.methods.datasets import (
    AUGMENTATIONS,
    CENTER_CROP,
    DATASETS,
    IMAGENET_MEAN,
    IMAGENET_STD,
    RESIZE_METHODS,
)
from pruning_core.methods.models import MODELS
from pruning_core.settings.conditions import CHECKPOINT, USER_IMAGES
from pruning_core.settings.fields import SHARE, check_fields, setting

# A checkpoint names its entries with a few words.
LONGEST_ENTRY = 200


@dataclass(frozen=True)
class DataSpec:
    """The data set, its sizes and its preprocessing. A size of 0 means all images."""

    name: str = setting(
        "digits",
        "Data set",
        help="The images for training and testing. Digits need no download; the other named data "
        "sets are downloaded once.",
        flag="--dataset",
        choices=DATASETS,
    )
    path: str = setting(
        "",
        "Image folder or .zip",
        help="Layout: train/class/* and test/class/*, or class/* (split 80/20).",
        flag="--data",
        metavar="PATH",
        placeholder="/home/me/images or /home/me/images.zip",
    )
    image_size: int = setting(
        32,
        "Image size",
        help="Images are scaled to this many pixels in width and height. The training time grows "
        "with its square.",
        unit="pixels",
        minimum=28,
        maximum=224,
        slider=(28, 224),
    )
    resize: str = setting(
        CENTER_CROP,
        "Resize method",
        help="How images that are not square become square. Center crop cuts off the ends of the "
        "longer side; letterbox and squash keep the whole image.",
        choices=RESIZE_METHODS,
        neutral=CENTER_CROP,
        read_when=USER_IMAGES,
    )
    leave_out_broken: bool = setting(
        False,
        "Leave out broken images",
        help="Images that cannot be read are left out, as if their files were removed. A note "
        "names them. Without it, a data set with broken images is refused.",
        neutral=False,
        read_when=USER_IMAGES,
    )
    train_size: int = setting(
        0,
        "Training images",
        help="How many images to train on. 0, or an empty field, means all.",
        unit="images",
        minimum=0,
        none_is_zero=True,
    )
    test_size: int = setting(
        0,
        "Test images",
        help="How many images to measure accuracy on. 0, or an empty field, means all.",
        unit="images",
        minimum=0,
        none_is_zero=True,
    )
    validation_split: float = setting(
        0.1,
        "Validation split",
        help="Share of the training images that is held out for validation.",
        unit=SHARE,
        above=0,
        maximum=0.5,
        slider=(0.01, 0.5),
        step=0.01,
    )
    split_seed: int = setting(
        0,
        "Split seed",
        help="Seed of all random subsets and splits of the images.",
        minimum=0,
        maximum=2**31,
    )
    augmentation: str = setting(
        "auto",
        "Data augmentation",
        help="Random changes to training images. Automatic flips only where a mirrored image "
        "keeps its class.",
        choices=AUGMENTATIONS,
    )
    mean: tuple[float, ...] = setting(
        IMAGENET_MEAN,
        "Normalization mean",
        help="Channel means (RGB), from 0 to 1. Default: ImageNet.",
        metavar="R,G,B",
    )
    std: tuple[float, ...] = setting(
        IMAGENET_STD,
        "Normalization std",
        help="Channel standard deviations (RGB). Default: ImageNet.",
        metavar="R,G,B",
        above=0,
    )

    def __post_init__(self) -> None:
        check_fields(self, "data.")
        if DATASETS[self.name].user_images:
            check(bool(self.path), "data.path", "your own images need a folder or a .zip file.")
        for name in ("mean", "std"):
            three = len(getattr(self, name)) == 3
            check(three, f"data.{name}", "give three numbers, one for each color channel.")


@dataclass(frozen=True)
class ModelSpec:
    """A torchvision classification model."""

    name: str = setting(
        "mobilenet_v2",
        "Model",
        help="A torchvision classification model. Choose one, or type its name.",
        flag="--model",
        metavar="NAME",
        choices=MODELS,
        free=True,
    )
    width: float = setting(
        1.0,
        "Width multiplier",
        help="Multiplies the number of channels. Only MobileNets support values other than 1.",
        flag="--width",
        minimum=0.1,
        maximum=4.0,
        step=0.05,
    )
    stem_stride: int = setting(
        2,
        "First-layer stride",
        help="Stride of the first convolution: 2 is the original; 1 is better for images under 64 "
        "pixels and takes about three times as long.",
        flag="--stem-stride",
        choices={2: "2 (original)", 1: "1 (better for small images)"},
    )
    weights: str = setting(
        "none",
        "Initial weights",
        help="Where the baseline starts: none (train from scratch), pretrained (ImageNet weights "
        "of torchvision), or the path of a checkpoint of PyTorch or safetensors.",
        flag="--weights",
        metavar="none|pretrained|PATH",
        choices={
            "none": "Random (train from scratch)",
            "pretrained": "ImageNet-pretrained (torchvision)",
        },
        free=True,
    )
    weights_entry: str = setting(
        "",
        "Checkpoint entry",
        help="Which network of a checkpoint to load, if it holds several, such as an EMA copy of "
        "the weights. Notes give the names of the entries. Empty: the only network that fits.",
        flag="--weights-entry",
        metavar="NAME",
        placeholder="state_dict_ema",
        neutral="",
        read_when=CHECKPOINT,
    )

    def __post_init__(self) -> None:
        check_fields(self, "model.")
        check(bool(self.name), "model.name", "name a torchvision classification model.")
        check(
            len(self.weights_entry) <= LONGEST_ENTRY,
            "model.weights_entry",
            "{name} is too long for the name of an entry; give {most} characters at most.",
            name=shortened(self.weights_entry),
            most=LONGEST_ENTRY,
        )
        check(bool(self.weights), "model.weights", "give none, pretrained or a checkpoint file.")

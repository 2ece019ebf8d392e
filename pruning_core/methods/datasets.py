"""Data sets and data augmentation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pruning_core.common.formatting import join_words
from pruning_core.methods.registry import Method, Registry

ENGINE = "pruning_core.engine.data"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
OWN_IMAGES = "images"
# The formats that are decoded, and the endings of their files. Other decoders of Pillow start
# programs (EPS), know no signature (TGA), or are rarely maintained.
IMAGE_FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif", ".avifs"),
}


@dataclass(frozen=True)
class Dataset(Method):
    """A data set. The implementation takes (path, split seed, downloads, progress) and opens it.

    `train_images` and `classes` are its sizes, 0 where they are not known in advance. `download`
    is true where a run may have to download it; `user_images` where the user names a path.
    """

    train_images: int = 0
    classes: int = 0
    download: bool = True
    user_images: bool = False


@dataclass(frozen=True)
class ResizeMethod(Method):
    """How an image becomes square. The implementation takes a Pillow image and the size.

    `whole` is true where no part of the image is cut off.
    """

    whole: bool = False


DATASETS = Registry(
    "data set",
    (
        Dataset(
            "digits",
            "Digits (bundled)",
            "1,797 handwritten digits from scikit-learn, 8x8 pixels, enlarged. No download.",
            "Alpaydin and Kaynak 1998",
            "https://doi.org/10.24432/C50P49",
            f"{ENGINE}.digits:open_digits",
            train_images=1437,
            classes=10,
            download=False,
        ),
        Dataset(
            "cifar10",
            "CIFAR-10",
            "60,000 color images of 32x32 pixels in 10 classes.",
            "Krizhevsky 2009",
            "https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
            f"{ENGINE}.torchvision_sets:open_cifar10",
            train_images=50_000,
            classes=10,
        ),
        Dataset(
            "cifar100",
            "CIFAR-100",
            "60,000 color images of 32x32 pixels in 100 classes.",
            "Krizhevsky 2009",
            "https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf",
            f"{ENGINE}.torchvision_sets:open_cifar100",
            train_images=50_000,
            classes=100,
        ),
        Dataset(
            "mnist",
            "MNIST",
            "70,000 handwritten digits of 28x28 pixels.",
            "LeCun et al. 1998",
            "https://doi.org/10.1109/5.726791",
            f"{ENGINE}.torchvision_sets:open_mnist",
            train_images=60_000,
            classes=10,
        ),
        Dataset(
            "fashion_mnist",
            "Fashion-MNIST",
            "70,000 images of clothes of 28x28 pixels in 10 classes.",
            "Xiao et al. 2017",
            "https://arxiv.org/abs/1708.07747",
            f"{ENGINE}.torchvision_sets:open_fashion_mnist",
            train_images=60_000,
            classes=10,
        ),
        Dataset(
            OWN_IMAGES,
            "Your own images",
            "A folder or a .zip: train/class/* and test/class/*, or class/* (split 80/20).",
            implementation=f"{ENGINE}.user_images:open_images",
            download=False,
            user_images=True,
        ),
    ),
)

CENTER_CROP = "crop"
RESIZE_METHODS = Registry(
    "resize method",
    (
        ResizeMethod(
            CENTER_CROP,
            "Center crop",
            "Resizes the shorter side and cuts off both ends of the longer side.",
            implementation=f"{ENGINE}.image_files:crop",
        ),
        ResizeMethod(
            "letterbox",
            "Letterbox",
            "Resizes the longer side and adds black bars. The whole image is kept.",
            implementation=f"{ENGINE}.image_files:letterbox",
            whole=True,
        ),
        ResizeMethod(
            "squash",
            "Squash",
            "Resizes both sides. The whole image is kept, and its proportions change.",
            implementation=f"{ENGINE}.image_files:squash",
            whole=True,
        ),
    ),
)

AUGMENTATIONS = Registry(
    "data augmentation",
    (
        Method(
            "auto",
            "Automatic",
            "Random crop, and horizontal flip where a mirrored image keeps its class.",
        ),
        Method("none", "None", "Images as they are.", implementation=f"{ENGINE}.augment:unchanged"),
        Method(
            "crop",
            "Random crop",
            "Shift by up to an eighth of the image.",
            "He et al. 2016",
            "https://arxiv.org/abs/1512.03385",
            f"{ENGINE}.augment:crop",
        ),
        Method(
            "crop_flip",
            "Random crop + horizontal flip",
            "Shift by up to an eighth of the image, and mirror each image with probability 0.5.",
            "He et al. 2016",
            "https://arxiv.org/abs/1512.03385",
            f"{ENGINE}.augment:crop_flip",
        ),
    ),
)


def class_order(classes: Sequence[str], shown: int = 20) -> str:
    """The first classes with the numbers of their outputs: "0 = cat, 1 = dog"."""
    numbered = [f"{number} = {name}" for number, name in enumerate(classes)]
    if len(numbered) > shown + 1:
        numbered = [*numbered[:shown], "...", numbered[-1]]
    return ", ".join(numbered)


def not_square_note(images: int, method: str) -> str:
    """What a resize method does to images that are not square, and which keep them whole."""
    resize = RESIZE_METHODS[method]
    note = f"Images that are not square: {images:,}. {resize.title}: {resize.help}"
    if resize.whole:
        return note
    others = join_words(m.title.lower() for m in RESIZE_METHODS.values() if m.whole)
    return f"{note} The resize methods {others} keep the whole image."

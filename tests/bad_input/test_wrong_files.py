"""Wrong images and checkpoints are refused before any training."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.helpers.refusals import ALL_IMAGES, Refuse, image, image_folder

Make = Callable[[Path], Path]


def zipped(root: Path) -> Path:
    return Path(shutil.make_archive(str(root), "zip", root))


def empty_class(root: Path) -> Path:
    (image_folder(root) / "train/bird").mkdir()
    return root


def other_classes(root: Path) -> Path:
    image(image_folder(root) / "train/bird/1.png", 7)
    return root


def one_class(root: Path) -> Path:
    shutil.rmtree(image_folder(root, ("",)) / "cat")
    return root


def broken_image(root: Path) -> Path:
    path = image_folder(root) / "train/cat/7.png"
    path.write_bytes(path.read_bytes()[:60])
    return root


def broken_image_in_a_zip(root: Path) -> Path:
    return zipped(broken_image(root))


def dangling_link(root: Path) -> Path:
    (image_folder(root) / "train/cat/link.png").symlink_to(root / "nowhere")
    return root


def name_of_other_bytes(root: Path) -> Path:
    image(image_folder(root) / "train/cat/new.png", 9)
    os.rename(root / "train/cat/new.png", os.fsencode(root / "train/cat") + b"/\xff.png")
    return root


def zip_with(root: Path, name: str) -> Path:
    path = zipped(image_folder(root))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    return path


def zip_leading_outside(root: Path) -> Path:
    return zip_with(root, "../../evil.png")


def zip_with_an_absolute_path(root: Path) -> Path:
    return zip_with(root, "/etc/evil.png")


def zip_that_expands(root: Path) -> Path:
    """Its table of contents says that one image has 3 GiB."""
    path = zipped(image_folder(root))
    raw = bytearray(path.read_bytes())
    start = raw.rindex(b"PK\x01\x02") + 24
    raw[start : start + 4] = (3 * 2**30).to_bytes(4, "little")
    path.write_bytes(raw)
    return path


def no_zip(root: Path) -> Path:
    path = root.with_suffix(".zip")
    path.write_text("This is a letter.")
    return path


def half_a_zip(root: Path) -> Path:
    path = zipped(image_folder(root))
    path.write_bytes(path.read_bytes()[:-500])
    return path


def nothing(root: Path) -> Path:
    root.mkdir()
    return root


SETS: list[tuple[Make, str]] = [
    (empty_class, "no images in train/bird/"),
    (other_classes, "test lacks bird"),
    (one_class, "only one class folder"),
    (broken_image, "train/cat/7.png is not a readable image"),
    (broken_image_in_a_zip, "train/cat/7.png is not a readable image"),
    (dangling_link, "cannot be read as a file: train/cat/link.png (a broken link)"),
    (name_of_other_bytes, "is not UTF-8"),
    (zip_leading_outside, "'../../evil.png' leads outside"),
    (zip_with_an_absolute_path, "'/etc/evil.png' is an absolute path"),
    (zip_that_expands, "expands to 3,072 MiB; the limit for one file is 512 MiB"),
    (no_zip, "neither a folder nor a whole .zip"),
    (half_a_zip, "cut short"),
    (nothing, "no class folder"),
]


@pytest.mark.parametrize(("make", "words"), SETS, ids=lambda x: getattr(x, "__name__", ""))
def test_wrong_images_are_refused(refuse: Refuse, tmp_path: Path, make: Make, words: str) -> None:
    path = make(tmp_path / "my images ü")
    message = refuse("--data", str(path), *ALL_IMAGES)
    assert message.startswith(f"--data: in {path}, ") or str(path) in message
    assert message.startswith("--data: ")
    assert words in message
    assert not list(tmp_path.parent.rglob("evil.png"))


def test_more_own_images_than_there_are_is_refused(refuse: Refuse, tmp_path: Path) -> None:
    data = ["--data", str(image_folder(tmp_path / "set"))]
    assert refuse(*data, "--train-size", "25").startswith(
        "--train-size: 25 is too high: there are 24 "
    )
    sizes = ["--train-size", "0", "--test-size", "9"]
    assert refuse(*data, *sizes).startswith("--test-size: 9 is too high: there are 8 ")


@pytest.mark.parametrize("sizes", [(), ALL_IMAGES], ids=["asked", "all"])
def test_a_class_with_a_single_training_image_is_named(
    refuse: Refuse, tmp_path: Path, sizes: tuple[str, ...]
) -> None:
    root = image_folder(tmp_path / "set")
    for i in range(1, 12):
        (root / f"train/cat/{i}.png").unlink()
    size = sizes or ("--train-size", "8", "--test-size", "0")
    message = refuse("--data", str(root), *size)
    assert message.startswith("--data: class 'cat' has a single training image; each class needs")


def test_no_message_shows_an_address(refuse: Refuse, tmp_path: Path) -> None:
    root = image_folder(tmp_path / "set")
    (root / "train/cat/7.png").write_text("a letter")
    message = refuse("--data", str(root), *ALL_IMAGES)
    assert "7.png is not a readable image (its format is not recognized)" in message


def wrong_keys(path: Path) -> Path:
    save_file({"features.0.0.weight": torch.zeros(1), "fc.bias": torch.zeros(2)}, path)
    return path


def not_finite(path: Path) -> Path:
    from torchvision.models import mobilenet_v2

    state = mobilenet_v2(num_classes=10, width_mult=0.35).state_dict()
    state["classifier.1.bias"][3] = float("nan")
    save_file(state, path)
    return path


def pickled_model(path: Path) -> Path:
    path = path.with_suffix(".pt")
    torch.save(torch.nn.Linear(2, 2), path)
    return path


def cut_short(path: Path) -> Path:
    wrong_keys(path)
    path.write_bytes(path.read_bytes()[:-3])
    return path


def text_file(path: Path) -> Path:
    path = path.with_suffix(".txt")
    path.write_text("hello")
    return path


CHECKPOINTS: list[tuple[Make, list[str]]] = [
    (wrong_keys, ["missing (", "1 unexpected (fc.bias)", "of another shape"]),
    (not_finite, ["classifier.1.bias", "not numbers"]),
    (pickled_model, ["holds no weights with the names of torchvision", "called weight, bias,"]),
    (cut_short, ["cannot be read as safetensors"]),
    (text_file, ["own weights.txt cannot be read as saved weights"]),
]


@pytest.mark.parametrize(("make", "words"), CHECKPOINTS, ids=lambda x: getattr(x, "__name__", ""))
def test_a_wrong_checkpoint_is_refused(
    refuse: Refuse, tmp_path: Path, make: Make, words: list[str]
) -> None:
    path = make(tmp_path / "own weights.safetensors")
    message = refuse("--weights", str(path))
    assert message.startswith("--weights: ")
    assert path.name in message
    assert [word for word in words if word not in message] == []


def test_a_pickle_that_needs_code_runs_none(refuse: Refuse, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "trace"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(trace),)

    torch.save({"weights": Evil()}, path)
    assert refuse("--weights", str(path)).startswith("--weights: evil.pt")
    assert not trace.exists()

"""Images decoded to arrays on disk."""

from __future__ import annotations

import io
import shutil
import zipfile
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pruning_core.common.errors import SpecError
from pruning_core.engine.data import decoding, image_files
from pruning_core.engine.data.decoding import decode_dataset, fitting
from pruning_core.engine.data.image_files import UnreadableImage, decode_image
from pruning_core.engine.data.inspection import inspect_dataset
from pruning_core.engine.data.split import stratified_subset
from pruning_core.planning.inspection_types import DatasetSettings, InspectDatasetSettings
from pruning_core.planning.stage_types import stored


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def make_set(root: Path, each: int = 100) -> Path:
    for part in ("train", "test"):
        for label, name in enumerate(("cat", "dog")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(each):
                (folder / f"{i:04}.png").write_bytes(encoded(noise(32, 32, 1000 * label + i)))
    return root


def run(path: Path, out: Path, digest: str = "", **changes: Any) -> dict[str, Any]:
    hints = {"name": "images", "path": str(path)}
    facts = inspect_dataset(InspectDatasetSettings("images", 0), hints, out, lambda f, text: None)
    digest = digest or facts.digest
    sizes: dict[str, Any] = {
        "image_size": 32,
        "train_size": 0,
        "test_size": 0,
        "split_seed": 0,
        **changes,
    }
    out.mkdir()
    decode = DatasetSettings(digest, **{"value_range": facts.value_range, **sizes})
    return stored(decode_dataset(decode, hints, out, out, lambda f, text: None))


def test_every_image_in_the_order_of_its_path(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set")
    shutil.make_archive(str(tmp_path / "set"), "zip", root)
    facts = run(root, tmp_path / "a")
    assert facts == {
        "train_images": 200,
        "test_images": 200,
        "classes": ["cat", "dog"],
        "notes": [],
    }
    images = np.load(tmp_path / "a/train_images.npy")
    labels = np.load(tmp_path / "a/train_labels.npy")
    assert (images.dtype, images.shape) == (np.uint8, (200, 32, 32, 3))
    assert (labels.dtype, labels.tolist()) == (np.int64, [0] * 100 + [1] * 100)
    for i in (0, 63, 64, 99):
        assert (images[i] == np.asarray(noise(32, 32, i))).all()
        assert (images[100 + i] == np.asarray(noise(32, 32, 1000 + i))).all()
    run(tmp_path / "set.zip", tmp_path / "b")
    for file in sorted((tmp_path / "a").iterdir()):
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_only_the_chosen_subset_is_decoded(tmp_path: Path) -> None:
    root = make_set(tmp_path / "set", each=20)
    facts = run(root, tmp_path / "all")
    subset = run(root, tmp_path / "subset", train_size=10, test_size=6, split_seed=3)
    assert (facts["train_images"], subset["train_images"], subset["test_images"]) == (40, 10, 6)
    labels = np.load(tmp_path / "all/train_labels.npy")
    chosen = stratified_subset(labels, 10, 3)
    all_images = np.load(tmp_path / "all/train_images.npy")
    assert (np.load(tmp_path / "subset/train_images.npy") == all_images[chosen]).all()
    assert (np.load(tmp_path / "subset/train_labels.npy") == labels[chosen]).all()
    with pytest.raises(SpecError, match=r"data\.test_size: 41 images are too many"):
        run(root, tmp_path / "more", test_size=41)


@pytest.mark.parametrize("sizes", [{}, {"test_size": 50}])
def test_changed_images_are_refused(tmp_path: Path, sizes: dict[str, int]) -> None:
    """Also where too few images are there for the sizes that were checked before."""
    root = make_set(tmp_path / "set", each=2)
    with pytest.raises(SpecError, match=r"data\.path: The images in .*set have changed since"):
        run(root, tmp_path / "out", digest="0" * 64, **sizes)


def test_an_image_that_changes_while_it_is_decoded_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file is read once: what is decoded is what enters the digest."""
    root = make_set(tmp_path / "set", each=2)
    last = root / "train/dog/0001.png"

    def change(raw: bytes, *arguments: Any) -> np.ndarray:
        last.write_bytes(encoded(noise(32, 32, 77)))
        return decode_image(raw, *arguments)

    monkeypatch.setattr(decoding, "decode_image", change)
    monkeypatch.setattr(decoding, "CHUNK_IMAGES", 1)
    monkeypatch.setattr(decoding, "ThreadPoolExecutor", OneAtATime)
    with pytest.raises(SpecError, match="have changed since"):
        run(root, tmp_path / "out")


class OneAtATime:
    """A pool that computes at once."""

    def __init__(self, threads: int) -> None:
        pass

    def submit(self, function: Any, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments))
        return future

    def shutdown(self, **options: bool) -> None:
        pass


def test_16_bit_images_use_the_range_of_the_training_images(tmp_path: Path) -> None:
    """12 bits in 16: one range for all images, and values of test images outside are clipped."""
    root = make_set(tmp_path / "set", each=3)
    values = np.linspace(700, 4000, 1024).round().astype(np.uint16).reshape(32, 32)
    for file in root.rglob("*.png"):
        file.write_bytes(encoded(Image.fromarray(values)))
    bright = root / "test/cat/0000.png"
    bright.write_bytes(encoded(Image.fromarray(values + 30_000)))
    (root / "train/cat/0001.png").write_bytes(encoded(Image.fromarray(values // 2)))
    facts = run(root, tmp_path / "out", value_range=[350, 4000])
    train, test = (np.load(tmp_path / f"out/{name}_images.npy") for name in ("train", "test"))
    expected = np.rint((values - 350.0) * 255 / 3650).astype(np.uint8)
    assert (train[0, :, :, 0] == expected).all()
    assert len(np.unique(train[1])) > 100
    assert (test[0] == 255).all()
    assert facts["train_images"] == 6


@pytest.mark.parametrize(
    ("resize", "left", "word"),
    [("crop", 100, "cuts off"), ("letterbox", 0, "black bars"), ("squash", 200, "proportions")],
)
def test_images_that_are_not_square(tmp_path: Path, resize: str, left: int, word: str) -> None:
    """A note says how they became square; only a center crop loses the ends."""
    root = make_set(tmp_path / "set", each=2)
    wide = np.full((32, 128, 3), 100, np.uint8)
    wide[:, :32] = 200
    for file in root.rglob("*.png"):
        file.write_bytes(encoded(Image.fromarray(wide)))
    facts = run(root, tmp_path / "out", resize=None if resize == "crop" else resize)
    image = np.load(tmp_path / "out/train_images.npy")[0, :, :, 0]
    (note,) = facts["notes"]
    assert "not square: 8." in note
    assert word in note
    assert ("letterbox and squash keep the whole image" in note) == (resize == "crop")
    assert image[0, 0] == left
    assert (image[16, 1] == 200) == (resize != "crop")


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_broken_image_is_named(tmp_path: Path, damage: str) -> None:
    root = make_set(tmp_path / "set", each=3)
    file = root / "train/cat/0001.png"
    file.write_bytes(file.read_bytes()[:-200] if damage == "cut" else b"no image")
    with pytest.raises(SpecError, match=r"train/cat/0001\.png is not a readable image") as caught:
        run(root, tmp_path / "out")
    assert caught.value.field == "data.path"


def test_a_broken_image_in_a_zip_is_named_by_its_full_path(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("a", "b"):
            for i in range(4):
                archive.writestr(f"top/{name}/{i}.jpg", b"\xff\xd8\xff broken")
    with pytest.raises(SpecError, match=r"8 images cannot be read: top/a/0\.jpg, .*top/b/3\.jpg\."):
        run(path, tmp_path / "out")


def test_a_full_disk_is_reported_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_set(tmp_path / "set", each=2)
    usage = SimpleNamespace(total=10, used=9, free=1)
    monkeypatch.setattr(decoding.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(OSError, match=r"No space left on device: the decoded images need"):
        run(root, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_the_order_does_not_depend_on_the_number_of_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_set(tmp_path / "set", each=80)
    monkeypatch.setattr(decoding, "CHUNK_IMAGES", 3)
    for cores in (1, 7):
        monkeypatch.setattr(decoding.os, "cpu_count", lambda cores=cores: cores)
        run(root, tmp_path / str(cores))
    first, second = ((tmp_path / cores / "train_images.npy").read_bytes() for cores in "17")
    assert first == second


def test_gray_images_become_three_channels() -> None:
    gray = Image.fromarray(np.arange(1024, dtype=np.uint8).reshape(32, 32))
    decoded = decode_image(encoded(gray), 32)
    assert (decoded == np.asarray(gray)[:, :, None]).all()
    assert (decode_image(encoded(noise(32, 32)), 32) == np.asarray(noise(32, 32))).all()


def test_the_shorter_side_is_resized_and_the_center_cropped() -> None:
    image = noise(60, 120)
    resized = image.resize((30, 60), Image.Resampling.BILINEAR)
    expected = np.asarray(resized.crop((0, 15, 30, 45)))
    assert (decode_image(encoded(image), 30) == expected).all()
    wide = noise(50, 32)
    assert (decode_image(encoded(wide), 32) == np.asarray(wide)[:, 9:41]).all()


def test_a_large_photo_is_decoded_small_and_looks_the_same() -> None:
    checks = np.kron(np.indices((12, 16)).sum(0) % 2, np.full((25, 25), 255)).astype(np.uint8)
    photo = Image.fromarray(np.repeat(checks[:, :, None], 3, 2))
    expected = photo.resize((42, 32), Image.Resampling.BILINEAR).crop((5, 0, 37, 32))
    decoded = decode_image(encoded(photo, "JPEG", quality=95), 32).astype(int)
    assert np.abs(decoded - np.asarray(expected)).mean() < 4


def test_bombs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "MAX_PIXELS", 2000)
    with pytest.raises(UnreadableImage, match="more than the limit of 2,000 pixels"):
        decode_image(encoded(noise(60, 60)), 32)
    with pytest.raises(UnreadableImage, match="more than the limit"):
        decode_image(encoded(noise(1, 1500)), 32)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(UnreadableImage):
        decode_image(encoded(noise(60, 60)), 32)


@pytest.mark.parametrize("kind", ["EPS", "PCX"])
def test_only_the_listed_formats_are_opened(kind: str) -> None:
    with pytest.raises(UnreadableImage):
        decode_image(encoded(noise(32, 32), kind), 32)


def test_an_image_to_predict_is_fitted_as_the_data_set_was() -> None:
    """The prediction of an upload takes resize method and range from the decoded data set."""
    plain = DatasetSettings("d", 32, 0, 0, 0)
    assert fitting(plain) == ("crop", None)
    assert fitting(replace(plain, resize="squash", value_range=[5, 900])) == ("squash", (5, 900))

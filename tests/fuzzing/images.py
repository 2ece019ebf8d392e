"""Images of users, in folders and in zips: odd formats, names and layouts, and changed bytes."""

from __future__ import annotations

import functools
import io
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from PIL import Image

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.decoding import decode_dataset
from pruning_core.engine.data.inspection import inspect_dataset
from pruning_core.methods.datasets import OWN_IMAGES
from pruning_core.planning.inspection_types import DatasetSettings, InspectDatasetSettings
from pruning_core.settings.messages import for_command_line
from tests.fuzzing.kinds import InputKind, edited, edits

SIZE = 8
FORMATS = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "GIF": ("P", "L"),
    "BMP": ("1", "L", "P", "RGB"),
    "TIFF": ("1", "L", "RGB", "RGBA", "I;16", "F", "CMYK"),
    "WEBP": ("RGB", "RGBA"),
    "PPM": ("L", "RGB"),
}
SUFFIXES = (".png", ".jpg", ".JPEG", ".gif", ".bmp", ".tif", ".webp", ".ppm", ".jfif", ".txt", "")
NAMES = (
    *("a", "Ä ö", "x" * 100, ".hidden", "._a", "Thumbs", "a\u202eb", "con", "-rf", "$HOME", "a'b"),
    *("\x1b[31mred", "line\nbreak", "*", "%s{0}"),
)
FOLDERS = ("", "train/", "test/", "val/", "outer/", "__MACOSX/", "outer/train/")
CLASSES = ("0", "1", "10", "cat", "Dög", "train", ".git", "{class}", "\x1b]0;title\x07")
# Names of zip members that must not lead outside, and some that need not be valid.
MEMBERS = (
    "../up.png",
    "/abs.png",
    "a/../../b.png",
    "C:\\x.png",
    "a\\b\\c.png",
    "a//b.png",
    "\0.png",
)


@dataclass(frozen=True)
class UserImages:
    """The files by path; as a zip with further members and changed bytes, or as a folder."""

    files: dict[str, bytes]
    as_zip: bool
    members: tuple[str, ...]
    changes: list[tuple[float, str, bytes]]


@functools.cache
def _encoded(kind: str, mode: str, width: int, height: int) -> bytes:
    shades = np.arange(width * height, dtype=np.uint16).reshape(height, width) * 257 % 4096
    image = Image.fromarray(shades) if mode == "I;16" else Image.fromarray(shades.astype("u1"))
    buffer = io.BytesIO()
    (image if image.mode == mode else image.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


@st.composite
def image_bytes(draw: DrawFn) -> bytes:
    """An image file in one of many formats and modes; in some, bytes are changed."""
    kind = draw(st.sampled_from(list(FORMATS)))
    mode = draw(st.sampled_from(FORMATS[kind]))
    sides = st.sampled_from((1, 2, 7, 33))
    content = _encoded(kind, mode, draw(sides), draw(sides))
    return edited(content, draw(edits(3))) if draw(st.integers(0, 4)) == 0 else content


@st.composite
def user_images(draw: DrawFn) -> UserImages:
    """A data set of two plain classes, and up to three odd files."""
    plain = _encoded("PNG", "RGB", 9, 9)
    root = draw(st.sampled_from(("", "", "outer/", "a/b/")))
    parts = draw(st.sampled_from((("",), ("train/", "test/"), ("Train/", "valid/"))))
    files = {
        f"{root}{part}{label}/{i}.png": plain + bytes([i])
        for part in parts
        for label in ("cat", "dog")
        for i in range(5)
    }
    for _ in range(draw(st.integers(0, 3))):
        content = draw(st.binary(max_size=60) if draw(st.integers(0, 9)) == 0 else image_bytes())
        folder = draw(st.sampled_from((f"{root}{parts[0]}cat/", f"{root}{parts[-1]}dog/", None)))
        if folder is None:
            folder = draw(st.sampled_from(FOLDERS)) + draw(st.sampled_from(CLASSES)) + "/"
        name = draw(st.sampled_from(NAMES)) + draw(st.sampled_from(SUFFIXES))
        files[folder + name] = content
    as_zip = draw(st.booleans())
    members = draw(st.lists(st.sampled_from(MEMBERS), max_size=1)) if as_zip else []
    changes = draw(edits(2)) if as_zip and draw(st.integers(0, 2)) == 0 else []
    return UserImages(files, as_zip, tuple(members), changes)


def attempt(example: UserImages, folder: Path) -> str | None:
    """Inspect and decode the images. Both name the same classes and counts."""
    path = folder / ("set.zip" if example.as_zip else "set")
    (_write_zip if example.as_zip else _write_folder)(example, path)
    hints = {"name": OWN_IMAGES, "path": str(path)}
    try:
        facts = inspect_dataset(
            InspectDatasetSettings(OWN_IMAGES, 0), hints, folder, lambda *_: None
        )
        settings = DatasetSettings(facts.digest, SIZE, 0, 0, 0)
        decoded = decode_dataset(settings, hints, folder, folder, lambda *_: None)
    except SpecError as error:
        return for_command_line(error)
    assert decoded.classes == facts.classes
    for subset, counts in (("train", facts.train_counts), ("test", facts.test_counts)):
        images = np.load(folder / f"{subset}_images.npy")
        labels = np.load(folder / f"{subset}_labels.npy")
        assert images.shape == (sum(counts), SIZE, SIZE, 3)
        assert np.bincount(labels, minlength=len(counts)).tolist() == counts
    return None


def _write_folder(example: UserImages, path: Path) -> None:
    for name, content in example.files.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _write_zip(example: UserImages, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in example.files.items():
            archive.writestr(name, content)
        for name in example.members:
            entry = zipfile.ZipInfo("x.png")
            entry.filename = name
            archive.writestr(entry, b"x")
    path.write_bytes(edited(path.read_bytes(), example.changes))
    os.utime(path, (0, 0))


IMAGES = InputKind("images", user_images(), attempt, share=0.3)

"""A user's images: which folder layouts are read, which are refused, and their digest."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pruning_core.common.errors import SpecError
from pruning_core.engine.data import archives, image_folder
from pruning_core.engine.data.image_files import UnreadableImage, decode_image
from pruning_core.engine.data.image_layout import part_of
from pruning_core.engine.data.inspection import example_images, inspect_dataset
from pruning_core.engine.data.user_images import open_images
from pruning_core.planning.inspection_types import (
    ExampleImagesSettings,
    InspectDatasetSettings,
    example_file,
)
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage_types import stored
from pruning_core.settings.data import DataSpec
from tests.helpers.inspections import Facts
from tests.helpers.project import ROOT, SHARED

GIVEN = [f"{part}/{name}/{i}.png" for part in ("train", "test") for name in "ab" for i in range(3)]
FLAT = [f"{name}/{i}.png" for name in "ab" for i in range(10)]


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def tree(root: Path, names: list[str]) -> Path:
    for i, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(i))
    return root


def zipped(root: Path, target: Path, top: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(root.rglob("*"), reverse=True):
            archive.write(file, top + file.relative_to(root).as_posix())
    return target


def inspected(path: Path, split_seed: int = 0, leave_out: bool = False) -> dict[str, Any]:
    settings = InspectDatasetSettings("images", split_seed, leave_out_broken=leave_out or None)
    hints = {"path": str(path)}
    return stored(inspect_dataset(settings, hints, path.parent / "downloads", lambda f, text: None))


def refused(path: Path, leave_out: bool = False) -> str:
    with pytest.raises(SpecError) as caught:
        inspected(path, leave_out=leave_out)
    assert caught.value.field == "data.path"
    return caught.value.message


def entry_zip(path: Path, name: str, data: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return path


def test_train_and_test_folders_are_used_as_given(tmp_path: Path) -> None:
    facts = inspected(tree(tmp_path / "set", GIVEN))
    assert facts["classes"] == ["a", "b"]
    assert facts["train_counts"] == facts["test_counts"] == [3, 3]
    assert (facts["split"], facts["images"], facts["flip"]) == ("given", 12, True)
    assert facts["notes"] == []
    assert json.loads(json.dumps(facts)) == facts


def test_class_folders_are_split_by_the_seed(tmp_path: Path) -> None:
    facts = inspected(tree(tmp_path / "set", FLAT))
    assert facts["split"] == "seeded"
    assert (facts["train_counts"], facts["test_counts"]) == ([8, 8], [2, 2])
    note = "No train/ and test/ folders: 20 % of each class is held out for testing (split seed 0)."
    assert facts["notes"] == [note]


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", GIVEN)
    digest = inspected(root)["digest"]
    copy = tmp_path / "elsewhere" / "other-name"
    shutil.copytree(root, copy)
    assert inspected(copy)["digest"] == digest
    assert inspected(copy.parent)["digest"] == digest, "one wrapping folder is not part of the set"
    assert inspected(zipped(root, tmp_path / "a.zip"))["digest"] == digest
    assert inspected(zipped(root, tmp_path / "b.zip", top="wrapping/"))["digest"] == digest


def test_one_changed_byte_or_one_moved_image_changes_the_digest(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", FLAT)
    digests = {inspected(root)["digest"]}
    # The last of one class becomes the first of the next: the order of the bytes is the same.
    (root / "a/9.png").rename(root / "b/-.png")
    digests.add(inspected(root)["digest"])
    (root / "a/1.png").write_bytes((root / "a/1.png").read_bytes() + b"\0")
    digests.add(inspected(root)["digest"])
    assert len(digests) == 3
    assert inspected(root, split_seed=5)["digest"] in digests


def test_a_zip_from_macos_spells_accents_as_a_folder_does(tmp_path: Path) -> None:
    names = [f"{name}/{i}.png" for name in ("cafXYZ", "tea") for i in (1, 2)]
    plain = zipped(tree(tmp_path / "plain", names), tmp_path / "mac.zip")
    # macOS writes decomposed UTF-8 without the mark that says so: the same length in bytes here.
    plain.write_bytes(plain.read_bytes().replace(b"cafXYZ", "cafe\u0301".encode()))
    root = tree(tmp_path / "set", [name.replace("cafXYZ", "caf\u00e9") for name in names])
    assert inspected(plain)["classes"] == ["caf\u00e9", "tea"]
    assert inspected(plain)["digest"] == inspected(root)["digest"]


def test_other_files_are_ignored_and_counted(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", GIVEN)
    digest = inspected(root)["digest"]
    for name in (".DS_Store", "train/a/Thumbs.db", "README.md", "train/a/._0.png"):
        (root / name).write_bytes(b"x")
    tree(root, ["__MACOSX/train/a/._0.png", ".git/objects/1.png", "outside.png"])
    for path in (root, zipped(root, tmp_path / "set.zip")):
        facts = inspected(path)
        assert facts["digest"] == digest
        assert facts["notes"] == [
            "Hidden files and folders, and those of the system, ignored: 5.",
            "Files of other types, ignored: 1 .md.",
            "Images ignored because they are outside the class folders: 1.",
        ]


def test_images_of_16_bits_are_counted(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", GIVEN)
    for name in GIVEN[:2]:
        Image.fromarray(np.zeros((4, 4), np.uint16)).save(root / name)
    note = "Images with 16 bits per channel, scaled to 8 bits: 2."
    facts = inspected(root)
    assert (facts["notes"], "value_range" in facts) == ([note], False), "all values are equal"


def test_a_few_bright_pixels_that_leave_few_gray_levels_are_told(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", GIVEN)
    for name in GIVEN:
        values = np.arange(10_000, dtype=np.uint16).reshape(100, 100) % 4096
        if name == "train/a/0.png":
            values[0, 0] = 65_535
        Image.fromarray(values).save(root / name)
    (note,) = inspected(root)["notes"]
    assert "99 % of the values are between 16 and 4,071" in note
    assert "become about 16 of 256 gray levels" in note


def test_further_pages_are_told(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", GIVEN)
    pages = [Image.new("L", (4, 4), value) for value in (1, 2)]
    pages[0].save(root / "train/a/stack.tif", save_all=True, append_images=pages[1:])
    (note,) = inspected(root)["notes"]
    assert note.startswith("Images with several pages or frames: 1. Only the first")


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system holds one of the names")
def test_two_spellings_of_an_accent_are_one_name(tmp_path: Path) -> None:
    """Without the check, one of two images would take the place of the other."""
    names = [f"{cafe}/{i}.png" for cafe in ("caf\u00e9", "cafe\u0301") for i in "12"]
    root = tree(tmp_path / "set", [*FLAT, *names])
    assert "their paths differ only in how accented letters are stored" in refused(root)


@pytest.mark.parametrize(("low", "high"), [(0, 1023), (700, 4095), (33_000, 36_000), (9, 40_000)])
def test_the_range_of_16_bit_images_is_that_of_the_training_images(
    tmp_path: Path, low: int, high: int
) -> None:
    root = tree(tmp_path / "set", GIVEN)
    for name in GIVEN:
        value = {"train/a/0.png": low, "train/b/2.png": high}.get(name, (low + high) // 2)
        if name.startswith("test"):
            value = 65_535
        Image.fromarray(np.full((4, 4), value, np.uint16)).save(root / name)
    facts = inspected(root)
    if high - low >= 2**15:
        assert "value_range" not in facts, "the upper 8 bits hold enough"
        return
    assert facts["value_range"] == [low, high]
    assert f"values {low:,} to {high:,} of 0 to 65,535" in facts["notes"][0]


@pytest.mark.parametrize(
    ("moves", "note"),
    [
        ({"train": "Train", "test": "Test"}, "Train (train), Test (test)"),
        ({"train": "Training", "test": "Testing"}, "Training (train), Testing (test)"),
        ({"train": "training_set", "test": "test-set"}, "training_set (train), test-set (test)"),
        ({"train": "train", "test": "val"}, "val (test)"),
        ({"train": "train", "test": "Validation"}, "Validation (test)"),
        ({"train": "a/b/c/train", "test": "a/b/c/valid"}, "valid (test)"),
        ({"train": "archive/train/train", "test": "archive/test/test"}, ""),
    ],
)
def test_folders_of_other_names_are_read(tmp_path: Path, moves: dict[str, str], note: str) -> None:
    """Under other usual names, and with folders around them, the images are the same data set."""
    root, moved = tree(tmp_path / "set", GIVEN), tmp_path / "moved"
    for part, name in moves.items():
        shutil.copytree(root / part, moved / name)
    (moved / "README.txt").write_text("about")
    expected = inspected(root)
    for path in (moved, zipped(moved, tmp_path / "moved.zip")):
        facts = inspected(path)
        assert facts["digest"] == expected["digest"]
        assert facts["notes"][0] == "Files of other types, ignored: 1 .txt."
        assert (note in facts["notes"][-1]) or not note


TRAIN = [name for name in GIVEN if name.startswith("train/")]
TRAINING_ALONE = {
    "unlabeled test images": ([f"test/{i}.png" for i in range(3)], "test, not used: 3; they"),
    "test images in one folder": (["val/images/1.png"], "val, not used: 1"),
    "an empty folder": (["test/"], "Folders without images, ignored: set/test."),
}


@pytest.mark.parametrize("kind", TRAINING_ALONE)
def test_training_images_alone_are_split(tmp_path: Path, kind: str) -> None:
    """As in many published data sets, whose test images have no labels."""
    names, note = TRAINING_ALONE[kind]
    root = tree(tmp_path / "outer/set", TRAIN)
    for name in names:
        tree(root, [name]) if name.endswith(".png") else (root / name).mkdir()
    facts, alone = inspected(tmp_path / "outer"), inspected(root / "train")
    assert (facts["digest"], facts["split"]) == (alone["digest"], "seeded")
    assert note in " ".join(facts["notes"])
    assert "20 % of each class is held out" in facts["notes"][-1]


@pytest.mark.parametrize(
    "inner", ["food/images/{}", "{}/images", "pets/train/images/{}", "set/Final_Training/{}"]
)
def test_folders_without_images_and_inside_of_parts_are_left_out(
    tmp_path: Path, inner: str
) -> None:
    names = [f"{inner.format(name)}/{i}.png" for name in "ab" for i in range(4)]
    plain = inspected(
        tree(tmp_path / "plain", [f"{name}/{i}.png" for name in "ab" for i in "0123"])
    )
    root = tree(tmp_path / "set", names)
    if "/" in inner.split("{}")[0]:
        top = root / inner.split("/")[0]
        (top / "meta").mkdir()
        (top / "meta/list.txt").write_text("a")
    facts = inspected(root)
    assert facts["digest"] == plain["digest"]
    assert (facts["classes"], facts["split"]) == (["a", "b"], "seeded")


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(("seg_train", "train"), ("imagenet-val", "validation"), ("train2017", "train")),
        *(("FlowersTest", "test"), ("1_testing", "test"), ("TRAIN_IMAGES", "train")),
        *(("trains", ""), ("contest", ""), ("evaluate", ""), ("train_test", ""), ("2017", "")),
    ],
)
def test_the_part_is_one_of_the_words_of_a_name(name: str, part: str) -> None:
    assert part_of(name) == part


def test_validation_images_beside_test_images_are_left_out_and_counted(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", GIVEN)
    digest = inspected(root)["digest"]
    tree(root, ["valid/a/0.png", "valid/b/1.png", "extra/c/1.png"])
    facts = inspected(root)
    assert facts["digest"] == digest
    assert facts["notes"] == [
        "Images in the folder extra, not used: 1.",
        "Images in the folder valid, not used: 2; validation images are a share of the training "
        "images.",
    ]


def test_system_files_are_ignored(tmp_path: Path) -> None:
    """Thumbnails of network drives and notebooks have the names of images."""
    root = tree(tmp_path / "set", GIVEN)
    digest = inspected(root)["digest"]
    names = ["train/a/@eaDir/0.png/THUMB_M.png", "train/.ipynb_checkpoints/0.png", "#recycle/1.png"]
    names += ["$RECYCLE.BIN/a/1.png", "test/b/Thumbs.db", "train/b/~$0.png", "Desktop.ini"]
    tree(root, names)
    for path in (root, zipped(root, tmp_path / "set.zip")):
        facts = inspected(path)
        assert facts["digest"] == digest
        assert facts["notes"] == [
            f"Hidden files and folders, and those of the system, ignored: {len(names)}."
        ]


def test_backslashes_in_a_zip_are_folders(tmp_path: Path) -> None:
    """Programs for Windows write them, and mark folders by one at the end."""
    root = tree(tmp_path / "set", GIVEN)
    path = zipped(root, tmp_path / "set.zip", top="pets/")
    with zipfile.ZipFile(path) as archive:
        names = [info.orig_filename.encode() for info in archive.infolist()]
    raw = path.read_bytes()
    for name in sorted(names, key=len, reverse=True):
        raw = raw.replace(name, name.replace(b"/", b"\\"))
    path.write_bytes(raw)
    assert b"/" not in raw
    assert inspected(path)["digest"] == inspected(root)["digest"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([str(i) for i in range(12)], [str(i) for i in range(12)]),
        (["-1", "0", "1.5", "10", "2"], ["-1", "0", "1.5", "2", "10"]),
        (["01", "1", "002", "10"], ["01", "1", "002", "10"]),
        (["0", "1", "10", "2", "other"], ["0", "1", "10", "2", "other"]),
    ],
)
def test_classes_with_numbers_for_names_have_their_order(
    tmp_path: Path, names: list[str], expected: list[str]
) -> None:
    paths = [f"{part}/{name}/{i}.png" for part in ("train", "test") for name in names for i in "12"]
    root = tree(tmp_path / "set", paths)
    assert inspected(root)["classes"] == expected
    with open_images(str(root), 0, tmp_path, lambda f, text: None) as dataset:
        images = dataset.subsets["train"]
        for row, label in enumerate(images.labels):
            assert images.name(row).split("/")[1] == expected[label]


@pytest.mark.parametrize("kind", ["named pipe", "socket", "device", "broken link"])
def test_an_entry_that_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    """Reading one of them would never end, or fill the memory."""
    root = tree(tmp_path / "set", FLAT)
    entry = root / "a/x.png"
    if kind == "named pipe":
        os.mkfifo(entry)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(entry))
    else:
        entry.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    assert f"1 entry with the name of an image cannot be read as a file: a/x.png (a {kind})" in (
        refused(root)
    )
    entry.rename(root / "a/x.txt")
    assert inspected(root)["images"] == 20


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png", "a/2.png"], "only one class folder, a."),
        (["1.png"], "no class folder"),
        ([*FLAT, "c/1.png"], "single image in c/"),
        ([*GIVEN, "train/c/1.png"], "test lacks c"),
        ([*GIVEN, "test/c/1.png", "train/d/1.png"], "test lacks d; train lacks c"),
        ([*GIVEN[:6], "other/a/1.png", "other/b/1.png"], "no folder test"),
        ([*GIVEN[:6], "other/a/1.png", "other/b/1.png"], "If other holds the test images, rename"),
        ([*TRAIN, "test/a/1.heic", "test/b/1.heic"], "There are no images in test/a, test/b."),
        (["images/train/1.png", "images/val/2.png"], "train and val are in no class folders"),
        ([*GIVEN, "train/a/deep/1.png"], "train/a/deep/1.png is deeper"),
        ([*GIVEN, "Training/a/1.png"], "folders train and Training are all of train images"),
        ([*GIVEN[3:6], "train/a/1.heic", "train/a/2.txt"], "1 .heic, 1 .txt. Save them as JPEG"),
    ],
)
def test_a_wrong_layout_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    root = tree(tmp_path / "set", names)
    assert message in refused(root)
    assert message in refused(zipped(root, tmp_path / "set.zip"))


@pytest.mark.parametrize("names", [GIVEN, FLAT])
def test_an_empty_class_folder_is_named(tmp_path: Path, names: list[str]) -> None:
    root = tree(tmp_path / "set", names)
    empty = root / ("train/empty" if names is GIVEN else "empty")
    empty.mkdir()
    message = f"no images in {empty.relative_to(root).as_posix()}/"
    assert message in refused(root)
    assert message in refused(zipped(root, tmp_path / "set.zip"))
    (empty / "notes.txt").write_text("nothing to see")
    assert message in refused(root)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    names = [f"{name}/{i}.png" for name in ("car", "train") for i in range(5)]
    assert inspected(tree(tmp_path / "set", names))["classes"] == ["car", "train"]


def test_a_missing_path_and_other_files_are_refused(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere")
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    assert "neither a folder nor a whole .zip" in refused(file)
    for content, words in (
        (b"\x1f\x8b\x08", "compressed with gzip (.gz, .tgz). Unpack it"),
        (b"Rar!\x1a\x07", "is a RAR archive. Unpack it"),
        (b"<html>", "is a web page"),
        (b"", "is empty"),
        (png(1), "is a single image. Give the folder"),
    ):
        file.write_bytes(content)
        assert words in refused(file)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../a/1.png", "leads outside"),
        ("a/../../1.png", "leads outside"),
        ("/etc/1.png", "absolute path"),
        ("C:/a/1.png", "absolute path"),
        ("..\\a\\1.png", "leads outside"),
        ("C:\\a\\1.png", "absolute path"),
    ],
)
def test_a_zip_that_points_outside_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    message = refused(entry_zip(tmp_path / "bad.zip", name))
    assert reason in message
    assert repr(name) in message


def test_links_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "link.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a/1.png")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "symbolic link" in refused(path)
    root = tree(tmp_path / "set", FLAT)
    (root / "c").symlink_to(root)
    assert "The folder c is a symbolic link" in refused(root)


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = zipped(tree(tmp_path / "set", FLAT), tmp_path / "set.zip")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    assert "is encrypted" in refused(path)


def test_an_entry_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    path = zipped(tree(tmp_path / "set", FLAT), tmp_path / "set.zip")
    path.write_bytes(path.read_bytes().replace(b"a/9.png", b"a/8.png"))
    assert "The entry a/8.png occurs twice" in refused(path)


def test_a_zip_by_another_method_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a/1.png", png(1))
    assert "method other than deflate. Unpack the zip, and give the folder." in refused(path)


def test_limits_on_entries_and_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tree(tmp_path / "set", FLAT), tmp_path / "set.zip")
    with monkeypatch.context() as patch:
        patch.setattr(archives, "MAX_ENTRIES", 5)
        assert "22 entries; the limit is 5" in refused(path)
    with monkeypatch.context() as patch:
        patch.setattr(archives, "MAX_TOTAL_BYTES", 100)
        assert "expand to" in refused(path)
    with monkeypatch.context() as patch:
        patch.setattr(archives, "MAX_FILE_BYTES", 10)
        assert "the limit for one file" in refused(path)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "MAX_FILE_BYTES", 10)
        broken = inspected(tmp_path / "set")["broken"]
        assert list(broken) == sorted(FLAT)
        assert "larger than" in broken["a/0.png"]


def test_a_header_that_lies_about_the_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in FLAT:
            archive.writestr(name, bytes(100_000))
    honest = path.read_bytes()
    for lie in (10, 200_000):
        raw = bytearray(honest)
        start = raw.index(b"PK\x01\x02") + 24
        raw[start : start + 4] = lie.to_bytes(4, "little")
        path.write_bytes(raw)
        reason = inspected(path)["broken"]["a/0.png"]
        assert "CRC" in reason or "stated size" in reason


def test_the_damaged_files_of_a_zip_are_listed(tmp_path: Path) -> None:
    path = zipped(tree(tmp_path / "set", FLAT), tmp_path / "set.zip")
    raw = path.read_bytes()
    path.write_bytes(raw[:-40])
    assert "cut short" in refused(path)
    damaged = bytearray(raw)
    damaged[raw.index(b"a/9.png") + 20] ^= 0xFF
    path.write_bytes(damaged)
    assert list(inspected(path)["broken"]) == ["a/9.png"]
    damaged[raw.index(b"b/3.png") + 20] ^= 0xFF
    path.write_bytes(damaged)
    broken = inspected(path)["broken"]
    assert list(broken) == ["a/9.png", "b/3.png"]
    assert "the zip is damaged, copy or download it again" in broken["b/3.png"]


def break_some(root: Path) -> dict[str, str]:
    """Break four images of `FLAT`, each in another way. Returns a part of each reason."""
    whole = (root / "a/0.png").read_bytes()
    contents = {
        "a/1.png": (b"", "the file is empty"),
        "a/5.png": (b"<html>404</html>", "it is a web page"),
        "b/0.png": (whole[:45], "truncated"),
        "b/9.png": (b"\xff\xd8\xff" + whole, "not recognized"),
    }
    for name, (content, _) in contents.items():
        (root / name).write_bytes(content)
    return {name: reason for name, (_, reason) in contents.items()}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_broken_images_are_found_and_left_out_as_if_they_were_removed(
    tmp_path: Path, packed: bool
) -> None:
    root = tree(tmp_path / "set", FLAT)
    reasons = break_some(root)
    path = zipped(root, tmp_path / "set.zip") if packed else root
    facts = inspected(path)
    assert list(facts["broken"]) == list(reasons)
    assert all(reason in facts["broken"][name] for name, reason in reasons.items())
    assert (facts["images"], facts["left_out"]) == (20, {})
    rest = inspected(path, leave_out=True)
    for name in reasons:
        (root / name).unlink()
    removed = inspected(root)
    note = "Images that cannot be read, left out: 4 (a/1.png, a/5.png, b/0.png, b/9.png)."
    expected = {**removed, "left_out": facts["broken"], "notes": [note, *removed["notes"]]}
    assert rest == expected
    assert inspected(root, leave_out=True) == removed, "nothing is broken any more"


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    ("names", "whole", "message"),
    [
        (
            FLAT,
            0,
            "10 images cannot be read. Without them the data set cannot be used: {}: There "
            "are no images in a/.",
        ),
        (
            FLAT,
            1,
            "9 images cannot be read. Without them the data set cannot be used: {}: There "
            "is a single image in a/.",
        ),
        (
            GIVEN,
            0,
            "6 images cannot be read. Without them the data set cannot be used: {}: There "
            "are no images in test/a/, train/a/.",
        ),
    ],
)
def test_a_class_without_enough_readable_images_is_refused(
    tmp_path: Path, names: list[str], whole: int, message: str, packed: bool
) -> None:
    root = tree(tmp_path / "set", names)
    for name in [name for name in names if Path(name).parent.name == "a"][whole:]:
        (root / name).write_bytes(b"broken")
    path = zipped_files(root, tmp_path / "set.zip") if packed else root
    assert refused(path, leave_out=True).startswith(message.format(path))


def zipped_files(root: Path, target: Path) -> Path:
    """A zip without entries for folders, as many programs write it."""
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(root.rglob("*.png")):
            archive.write(file, file.relative_to(root).as_posix())
    return target


def test_a_very_long_image_is_refused_for_a_large_center_crop_before_the_run(
    tmp_path: Path,
) -> None:
    """The size up to which it can be decoded is that of the decoding."""
    root = tree(tmp_path / "set", FLAT)
    Image.new("RGB", (9000, 2)).save(root / "a/3.png")
    facts = inspect_dataset(
        InspectDatasetSettings("images", 0), {"path": str(root)}, root, lambda f, text: None
    )
    raw, largest = (root / "a/3.png").read_bytes(), 141
    assert (facts.broken, facts.largest_crops) == ({}, {"a/3.png": largest})
    assert decode_image(raw, largest).shape == (largest, largest, 3)
    with pytest.raises(UnreadableImage):
        decode_image(raw, largest + 1)
    data = DataSpec("images", str(root), image_size=largest + 1)
    for changes in ({}, {"image_size": largest}, {"resize": "letterbox"}):
        spec = replace(QUICKSTART, data=replace(data, **changes))
        store = Facts(spec, data=stored(facts))
        if changes:
            assert plan(spec, store).complete
            continue
        with pytest.raises(SpecError, match=r"a/3\.png is too long .* size up to 141") as caught:
            plan(spec, store)
        assert caught.value.field == "data.resize"


def examples(path: Path, out: Path, **changes: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    hints = {"name": "images", "path": str(path), **changes.pop("hints", {})}
    out.mkdir()
    settings = ExampleImagesSettings(**{"digest": "", "image_size": 30, "split_seed": 0, **changes})
    result = example_images(settings, hints, out, out, lambda f, text: None)
    images = [np.asarray(Image.open(out / example_file(i))) for i in range(len(result.names))]
    return stored(result), images


def test_examples_are_what_the_model_sees(tmp_path: Path) -> None:
    """One readable image of each class, then the next ones, prepared as for training."""
    names = [f"train/{c}/{i}.png" for c in "abcd" for i in range(4)]
    root = tree(tmp_path / "set", [*names, *(f"test/{c}/0.png" for c in "abcd")])
    wide = np.zeros((20, 80, 3), np.uint8)
    wide[:, :20] = 255
    Image.fromarray(wide).save(root / "train/a/0.png")
    (root / "train/b/0.png").write_bytes(b"broken")
    result, images = examples(root, tmp_path / "crop")
    assert result["labels"] == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
    assert result["names"][3:5] == ["train/b/1.png", "train/b/2.png"]
    for name, image in zip(result["names"], images, strict=True):
        assert np.array_equal(image, decode_image((root / name).read_bytes(), 30))
    _, squashed = examples(root, tmp_path / "squash", resize="squash", image_size=40)
    assert images[0].max() == 0, "the center crop cuts off the white end"
    assert (squashed[0].shape, squashed[0][20, 5, 0]) == ((40, 40, 3), 255)
    result, _ = examples(root, tmp_path / "rest", hints={"left_out": ["train/b/0.png"]})
    assert result["names"][3:5] == ["train/b/1.png", "train/b/2.png"]


def test_there_are_at_most_ten_examples(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", [f"{c}/{i}.png" for c in "abcdefghijklm" for i in range(3)])
    result, _ = examples(root, tmp_path / "out")
    assert result["labels"] == list(range(10))


def test_inspecting_images_does_not_import_torch(tmp_path: Path) -> None:
    root = tree(tmp_path / "set", FLAT)
    arguments = f"InspectDatasetSettings('images', 0), {{'path': {str(root)!r}}}, Path('.')"
    code = (
        "import sys; from pathlib import Path; "
        "from pruning_core.engine.data.inspection import inspect_dataset; "
        "from pruning_core.planning.inspection_types import InspectDatasetSettings; "
        f"inspect_dataset({arguments}, lambda f, t: None); "
        "print('torch' in sys.modules, 'sklearn' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert out.stdout.split() == ["False", "False"], out.stderr


def test_the_shared_cifar10_zip() -> None:
    path = SHARED / "data" / "cifar10-images.zip"
    if not path.exists():
        pytest.skip("../shared/data/cifar10-images.zip is missing")
    fractions: list[float] = []
    settings = InspectDatasetSettings("images", 0)
    facts = inspect_dataset(
        settings, {"path": str(path)}, Path("."), lambda f, t: fractions.append(f)
    )
    assert facts.train_counts == [5000] * 10
    assert facts.test_counts == [1000] * 10
    assert facts.classes[3] == "cat"
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1

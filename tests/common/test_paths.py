"""The cache folder, and the home folder of a user without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.common.paths import Cache, is_upload, shown_path, upload_name


def test_a_user_without_a_home_folder_gets_one_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setenv("HOME", "/somewhere")
    Cache(tmp_path).set_home()
    assert os.environ["HOME"] == "/somewhere"
    monkeypatch.delenv("HOME")
    Cache(tmp_path).set_home()
    assert Path.home() == tmp_path / "home_folder"
    assert (tmp_path / "home_folder").stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("root", ["/home/me/cache", "/srv/my lab's cache", "~/c", r"C:\Users\me\c"])
@pytest.mark.parametrize(
    "sentence", ["{}", "{}: no class folder.", "[Errno 2] No such file: '{}'", "use /tmp/x, not {}"]
)
def test_an_upload_is_shown_by_its_own_name(root: str, sentence: str) -> None:
    separator = "\\" if "\\" in root else "/"
    path = separator.join([root, "uploads", "a" * 64, "cats and dogs.zip"])
    assert is_upload(path)
    assert shown_path(sentence.format(path)) == sentence.format("cats and dogs.zip")
    assert SpecError("data.path", "{p}", p=sentence.format(path)).message == sentence.format(
        "cats and dogs.zip"
    )
    own = path.replace("a" * 64, "2024")
    assert (shown_path(own), is_upload(own)) == (own, False)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("photos.zip", "photos.zip"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\nät.pth", "nät.pth"),
        ("..", "file"),
        ("a\0b\n.zip", "ab.zip"),
        ("x" * 300 + ".zip", "x" * 116 + ".zip"),
    ],
)
def test_the_name_of_an_upload_is_a_file_name(name: str, kept: str) -> None:
    assert upload_name(name) == kept

"""The cache folder, and the home folder of a user without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pruning_core.common.paths import Cache


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

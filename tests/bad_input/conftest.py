"""A cache with earlier results, and a `compare` that must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pruning_core.cli.main import main
from pruning_core.common.paths import Cache
from tests.helpers.refusals import Refuse, contents, ended, one_line, training, without_worker
from tests.helpers.workers import TINY_OPTIONS


@pytest.fixture(scope="session")
def used(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache that holds the results of an earlier run."""
    cache = Cache(tmp_path_factory.mktemp("used") / "cache")
    with pytest.MonkeyPatch.context() as patch:
        without_worker(patch)
        options = ["--cache-dir", str(cache.root), "--detach", *TINY_OPTIONS]
        assert main(["compare", *options, "--no-equal-budget", "--amounts", "0.5"]) == 0
    return cache


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in this process, and quickly."""
    without_worker(monkeypatch)


@pytest.fixture
def refuse(
    used: Cache, inline: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Iterator[Refuse]:
    """Gives `compare` wrong options and returns its message; afterwards the cache is unchanged."""
    before, trained = contents(used), training(used)
    usual = ["--cache-dir", str(used.root), "--out", str(tmp_path / "out"), *TINY_OPTIONS]

    def call(*arguments: str) -> str:
        code, out, error = ended(capfd, "compare", *usual, *arguments)
        assert (code, out) == (2, ""), error
        # Of the usual options, some have no effect beside a wrong one, and are noted.
        notes = [line for line in error.splitlines(keepends=True) if line.startswith("Note: --")]
        return one_line(error.removeprefix("".join(notes)))

    yield call
    assert training(used) == trained
    after = contents(used)
    assert {name: after.get(name) for name in before} == before

"""What the tests of bad input share: run the command line in this process, look at a cache."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pruning_core import cli, follow
from pruning_core.cli import main
from pruning_core.engine import inspect
from pruning_core.paths import Cache
from pruning_core.queue.jobs import Queue
from tests.workers import serve

Refuse = Callable[..., str]


def without_worker(patch: pytest.MonkeyPatch) -> None:
    """Have the stages run in this process, and quickly."""
    for module in (follow, cli):
        patch.setattr(module, "ensure_worker", serve)
    patch.setattr(follow, "PAUSE_SECONDS", 0.0)
    patch.setattr(inspect, "TRIAL_SECONDS", 0.0)


def ended(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """The exit code of a command and what it printed on standard output and error."""
    capfd.readouterr()
    try:
        code: object = main(list(arguments))
    except SystemExit as end:
        code = end.code
    printed = capfd.readouterr()
    return code, printed.out, printed.err


def one_line(said: str) -> str:
    """A message without its end of line, which is the only one."""
    assert said.endswith((".\n", "?\n"))
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert "usage:" not in said
    return said.strip()


def contents(cache: Cache) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in cache.stages.rglob("*") if p.is_file()}


def training(cache: Cache) -> dict[str, tuple[str, int]]:
    """Every stage that trains and was started, and how often."""
    rows = Queue(cache.queue)._all("SELECT * FROM stages WHERE kind IN ('baseline', 'level')")
    return {row["key"]: (row["status"], row["attempts"]) for row in rows if row["attempts"]}

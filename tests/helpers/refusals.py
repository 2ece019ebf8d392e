"""The command line in the test's own process, and bad input for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from pruning_core.cli import progress
from pruning_core.cli.main import main, parser
from pruning_core.cli.options import spec_from
from pruning_core.common.paths import Cache
from pruning_core.engine.analysis import inspect_model
from pruning_core.reports import csv_export
from pruning_core.settings.spec import Spec
from pruning_core.storage.jobs import Queue
from pruning_core.worker import start
from tests.helpers.workers import serve

Refuse = Callable[..., str]
ALL_IMAGES = ("--train-size", "0", "--test-size", "0")


def spec_of(*options: str) -> Spec:
    """The spec of `compare` with these options. Raises `SpecError`."""
    return spec_from(parser().parse_args(["compare", *options]))


def without_worker(patch: pytest.MonkeyPatch) -> None:
    """Run stages in this process and quickly, and draw no image of the charts."""
    patch.setattr(start, "start_worker", serve)
    patch.setattr(progress, "PAUSE_SECONDS", 0.0)
    patch.setattr(inspect_model, "TRIAL_SECONDS", 0.0)
    patch.setattr(csv_export, "panel_image", lambda frame: b"image")


def code_of(command: Callable[[], int]) -> int:
    """The exit code of a command, also where the parser ends it."""
    try:
        return command()
    except SystemExit as end:
        return int(end.code or 0)


def ended(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[object, str, str]:
    """The exit code of a command and what it printed on standard output and error."""
    capfd.readouterr()
    try:
        code: object = main(list(arguments))
    except SystemExit as end:
        code = end.code
    printed = capfd.readouterr()
    return code, printed.out, printed.err


def one_line(message: str) -> str:
    """A message of one line, without its end of line."""
    assert message.endswith((".\n", "?\n"))
    assert message.count("\n") == 1
    assert "Traceback" not in message
    assert "usage:" not in message
    return message.strip()


def contents(cache: Cache) -> dict[str, bytes]:
    """The files of all finished stages, by path."""
    return {str(p): p.read_bytes() for p in cache.stages.rglob("*") if p.is_file()}


def training(cache: Cache) -> dict[str, tuple[str, int]]:
    """The status and the attempts of all stages that train and were started."""
    rows = Queue(cache.queue)._all("SELECT * FROM stages WHERE kind IN ('baseline', 'pruned')")
    return {row["key"]: (row["status"], row["attempts"]) for row in rows if row["attempts"]}


def image(path: Path, shade: int) -> None:
    """Write an image of 32x32 pixels with one color."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (shade, 100, 50)).save(path)


def image_folder(root: Path, parts: tuple[str, ...] = ("train/", "test/")) -> Path:
    """A valid data set of two classes with 24 training and 8 test images."""
    for part in parts:
        for label in ("cat", "dög"):
            for i in range(4 if part == "test/" else 12):
                image(root / f"{part}{label}/{i}.png", 20 * i + len(part) + len(label))
    return root

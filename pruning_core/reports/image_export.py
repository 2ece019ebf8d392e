"""Figures as image files, drawn by kaleido in a Chrome or Chromium of this machine."""

from __future__ import annotations

import asyncio
import io
import logging
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from pruning_core.reports.charts.comparison import CHARTS, comparison_chart, comparison_panel
from pruning_core.reports.charts.style import on_white

FORMATS = ("png", "svg", "pdf", "jpg", "webp")
WIDTH = 760
SCALE = 2
NO_CHROME = (
    "Images need Google Chrome or Chromium, and none was found on this machine. "
    "Install one, or write .html, whose charts save themselves as PNG and SVG."
)


class ImageError(RuntimeError):
    """An image could not be drawn; the message is a sentence."""


def chrome_found() -> bool:
    """True where kaleido would find a browser."""
    from choreographer.browsers import Chromium  # imported here: pages must start fast

    path = Chromium.find_browser(skip_local=False)
    return bool(path) and Path(str(path)).is_file()


def image_bytes(drawn: go.Figure, image_format: str = "png") -> bytes:
    """A figure on white as png, svg, pdf, jpg or webp. Raises `ImageError`."""
    return render([(drawn, image_format)])[0]


def write_images(frame: pd.DataFrame, folder: Path, x: str = "sparsity_prunable") -> list[Path]:
    """The panel as PNG and each chart as PNG and SVG, written into `folder`.

    One browser draws all. Raises `ImageError` where there is none.
    """
    jobs = [(folder / "pruning_comparison.png", comparison_panel(frame, x))]
    for name in CHARTS:
        drawn = comparison_chart(frame, name, x)
        jobs += [(folder / f"{name}.{ending}", drawn) for ending in ("png", "svg")]
    contents = render([(drawn, path.suffix[1:]) for path, drawn in jobs])
    folder.mkdir(parents=True, exist_ok=True)
    for (path, _), content in zip(jobs, contents, strict=True):
        path.write_bytes(content)
    return [path for path, _ in jobs]


def render(jobs: Sequence[tuple[go.Figure, str]]) -> list[bytes]:
    """Each figure in its format, all drawn by one browser. Raises `ImageError`.

    The browser has a thread and an event loop of its own, because a notebook runs one in
    this thread, and it ends with the call. Nothing is fetched from the internet.
    """
    from choreographer.errors import BrowserDepsError
    from kaleido import errors

    if not chrome_found():
        raise ImageError(NO_CHROME)
    # It prints a traceback for the browser's "bye", which it then ignores.
    logging.getLogger("choreographer.channels.pipe").setLevel(logging.CRITICAL)
    failures = (
        errors.BrowserClosedError,
        errors.BrowserFailedError,
        errors.ChromeNotFoundError,
        errors.JavascriptError,
        errors.KaleidoError,
        BrowserDepsError,
        TimeoutError,
    )
    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(asyncio.run, _render(jobs)).result()
    except failures as error:
        raise ImageError(f"Chrome could not draw the image: {error}") from error


async def _render(jobs: Sequence[tuple[go.Figure, str]]) -> list[bytes]:
    from kaleido import Kaleido

    async with Kaleido(mathjax=False) as browser:
        return [
            await browser.calc_fig(on_white(drawn).to_dict(), opts=_options(drawn, image_format))
            for drawn, image_format in jobs
        ]


def _options(drawn: go.Figure, image_format: str) -> dict[str, object]:
    return {
        "format": image_format,
        "width": drawn.layout.width or WIDTH,
        "height": drawn.layout.height or WIDTH / 2,
        "scale": SCALE if image_format in ("png", "jpg", "webp") else 1,
    }


def images_zip(frame: pd.DataFrame, x: str) -> bytes:
    """The charts as image files in one archive."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(buffer, "w") as archive:
        for path in write_images(frame, Path(folder), x):
            archive.write(path, path.name)
    return buffer.getvalue()

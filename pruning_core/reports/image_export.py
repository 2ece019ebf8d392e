"""Charts as image files, rendered by kaleido in the Chrome or Chromium of this machine."""

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
    "Image files need Google Chrome or Chromium, which is not installed. Install one of them, or "
    "export .html: its charts have buttons that save PNG and SVG."
)


class ImageError(RuntimeError):
    """An image could not be rendered. The message is a sentence for people."""


def chrome_found() -> bool:
    """Whether kaleido finds a browser."""
    from choreographer.browsers import Chromium  # imported here: pages must start fast

    path = Chromium.find_browser(skip_local=False)
    return bool(path) and Path(str(path)).is_file()


def image_bytes(figure: go.Figure, image_format: str = "png") -> bytes:
    """A figure on white in one of FORMATS. Raises `ImageError`."""
    return render([(figure, image_format)])[0]


def write_images(frame: pd.DataFrame, folder: Path, x: str = "sparsity_prunable") -> list[Path]:
    """Write the panel as PNG and each chart as PNG and SVG into `folder`; return the paths.

    One browser renders all. Raises `ImageError` if no browser is installed or rendering fails.
    """
    jobs = [(folder / "pruning_comparison.png", comparison_panel(frame, x))]
    for name in CHARTS:
        chart = comparison_chart(frame, name, x)
        jobs += [(folder / f"{name}.{suffix}", chart) for suffix in ("png", "svg")]
    contents = render([(figure, path.suffix[1:]) for path, figure in jobs])
    folder.mkdir(parents=True, exist_ok=True)
    for (path, _), content in zip(jobs, contents, strict=True):
        path.write_bytes(content)
    return [path for path, _ in jobs]


def render(jobs: Sequence[tuple[go.Figure, str]]) -> list[bytes]:
    """Render each figure in its format, all in one browser. Raises `ImageError`.

    The browser runs in another thread with its own event loop, because a notebook already runs a
    loop in this thread. It ends with the call and fetches nothing from the internet.
    """
    from choreographer.errors import BrowserDepsError
    from kaleido import errors

    if not chrome_found():
        raise ImageError(NO_CHROME)
    # choreographer logs a traceback when the browser closes its pipe, and then ignores it.
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
        raise ImageError(f"Chrome could not render the image: {error}") from error


async def _render(jobs: Sequence[tuple[go.Figure, str]]) -> list[bytes]:
    from kaleido import Kaleido

    async with Kaleido(mathjax=False) as browser:
        return [
            await browser.calc_fig(on_white(figure).to_dict(), opts=_options(figure, image_format))
            for figure, image_format in jobs
        ]


def _options(figure: go.Figure, image_format: str) -> dict[str, object]:
    return {
        "format": image_format,
        "width": figure.layout.width or WIDTH,
        "height": figure.layout.height or WIDTH / 2,
        "scale": SCALE if image_format in ("png", "jpg", "webp") else 1,
    }


def images_zip(frame: pd.DataFrame, x: str) -> bytes:
    """The files of `write_images` as a ZIP archive. Raises `ImageError`."""
    buffer = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(buffer, "w") as archive:
        for path in write_images(frame, Path(folder), x):
            archive.write(path, path.name)
    return buffer.getvalue()

"""Image files: rendered by one browser; without a browser a sentence gives the reason."""

from __future__ import annotations

import io
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest

from pruning_core.reports import assignment, csv_export, image_export
from pruning_core.reports.assignment import compare_pruning_strategies
from pruning_core.reports.csv_export import write_report
from pruning_core.reports.image_export import ImageError, images_zip, render
from pruning_core.settings.spec import Spec
from tests.helpers.assignment import ITERATIVE, ONE_SHOT
from tests.helpers.frames import comparison, frame

needs_chrome = pytest.mark.skipif(
    not image_export.chrome_found(), reason="Image files need Chrome or Chromium."
)


@pytest.fixture
def no_chrome(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (image_export, csv_export, assignment):
        monkeypatch.setattr(module, "chrome_found", lambda: False)


@pytest.mark.usefixtures("no_chrome")
def test_without_chrome_all_other_files_are_written(tmp_path: Path) -> None:
    written = write_report(frame(comparison()), {"run-1": Spec()}, tmp_path)
    assert [path.name for path in written] == ["pruning_comparison.csv", "pruning_comparison.html"]
    assert all(path.stat().st_size for path in written)
    assert "not installed" in csv_export.missing_chrome()[0]
    with pytest.raises(ImageError, match=r"Chrome or Chromium.*\.html"):
        image_export.write_images(frame(comparison()), tmp_path)


@pytest.mark.usefixtures("no_chrome")
def test_without_chrome_the_assignment_writes_html_and_warns(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"Chrome.*four\.html is written"):
        compare_pruning_strategies(ONE_SHOT, ITERATIVE, tmp_path / "four.png")
    assert "<html" in (tmp_path / "four.html").read_text(encoding="utf-8")


@needs_chrome
def test_one_browser_renders_all_images(tmp_path: Path) -> None:
    paths = image_export.write_images(frame(comparison()), tmp_path)
    assert len(paths) == 9
    for path in paths:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG\r\n")
        else:
            root = ET.fromstring(path.read_text(encoding="utf-8"))
            assert "one-shot" in "".join(root.itertext())


@needs_chrome
def test_the_zip_has_every_image_under_its_name() -> None:
    with zipfile.ZipFile(io.BytesIO(images_zip(frame(comparison()), "epochs"))) as archive:
        names = archive.namelist()
    assert len(names) == 9
    assert {"pruning_comparison.png", "accuracy.png", "ratio.svg"} <= set(names)


@needs_chrome
def test_a_browser_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    from kaleido import Kaleido
    from kaleido.errors import BrowserFailedError

    async def fail(*arguments: object, **options: object) -> None:
        raise BrowserFailedError("it went away")

    monkeypatch.setattr(Kaleido, "calc_fig", fail)
    with pytest.raises(ImageError, match="could not render the image: it went away"):
        render([(compare_pruning_strategies(ONE_SHOT, ITERATIVE), "png")])

"""torchvision's pretrained weights, from a local server instead of torchvision's."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import get_model_weights

from pruning_core.common.errors import SpecError
from pruning_core.common.files import sha256
from pruning_core.engine.models import build as models
from pruning_core.engine.models.weight_files import pretrained_file
from pruning_core.engine.models.weights import load_weights

NAME = "mobilenet_v3_small"


def build(classes: int = 10, width: float = 1.0, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return models.build({"name": NAME, "width": width, "stem_stride": 2}, classes, 32)


def refusal(model: nn.Module, downloads: Path) -> str:
    with pytest.raises(SpecError) as caught:
        load_weights(model, "pretrained", NAME, downloads)
    assert caught.value.field == "model.weights"
    return caught.value.message


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Log nothing."""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file on a local server, named by its digest as torchvision does."""
    folder = tmp_path / "server"
    folder.mkdir()
    torch.save(build(classes=1000, seed=1).state_dict(), folder / "raw.pth")
    digest = sha256(folder / "raw.pth")
    file = (folder / "raw.pth").rename(folder / f"small-{digest[:8]}.pth")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    entry = get_model_weights(NAME).DEFAULT.value
    monkeypatch.setattr(entry, "url", f"http://127.0.0.1:{server.server_port}/{file.name}")
    yield file
    server.shutdown()
    thread.join()
    server.server_close()


def test_pretrained_is_downloaded_once(tmp_path: Path, published: Path) -> None:
    downloads, model = tmp_path / "downloads", build()
    (note,) = load_weights(model, "pretrained", NAME, downloads)
    assert "The file has 1000 classes, the data set 10" in note
    assert pretrained_file(NAME, downloads).read_bytes() == published.read_bytes()
    published.unlink()
    again = build()
    load_weights(again, "pretrained", NAME, downloads)
    first, second = model.state_dict(), again.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in second)


def test_a_download_with_a_wrong_digest_is_not_kept(tmp_path: Path, published: Path) -> None:
    published.write_bytes(published.read_bytes()[:-1])
    message = refusal(build(), tmp_path)
    assert "not the published file" in message
    assert [path for path in (tmp_path / "weights").rglob("*") if path.is_file()] == []


def test_a_damaged_file_is_refused(tmp_path: Path, published: Path) -> None:
    path = pretrained_file(NAME, tmp_path)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"other")
    assert "damaged" in refusal(build(), tmp_path)


def test_without_network_the_error_says_how_to_download_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = get_model_weights(NAME).DEFAULT.value
    monkeypatch.setattr(entry, "url", "http://127.0.0.1:9/small-00000000.pth")
    message = refusal(build(), tmp_path)
    for words in (NAME, "small-00000000.pth", str(tmp_path / "weights"), "none"):
        assert words in message


def test_pretrained_weights_are_for_width_1(tmp_path: Path) -> None:
    model = build(width=0.5)
    assert "width 1" in refusal(model, tmp_path)

"""Downloads one published file to a temporary name, checks it, and moves it into place."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from pruning_core.engine.data.dataset import Progress

TIMEOUT_S = 30
BLOCK_BYTES = 256 * 1024


class DownloadError(Exception):
    """The download failed. The message is the reason, to be put into a sentence."""


def download(urls: Sequence[str], target: Path, md5: str, title: str, progress: Progress) -> None:
    """Download `target` from the first URL that works. Raises `DownloadError` if none does."""
    reasons = []
    for url in urls:
        try:
            _fetch(url, target, md5, title, progress)
            return
        except (OSError, http.client.HTTPException, DownloadError) as error:
            reasons.append(f"{url}: {error}")
    raise DownloadError("; ".join(reasons))


def has_md5(path: Path, md5: str) -> bool:
    """Whether the file exists and has this MD5 sum."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "md5").hexdigest() == md5


def _fetch(url: str, target: Path, md5: str, title: str, progress: Progress) -> None:
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix=".part")
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "pruning-lab"})
        with (
            os.fdopen(handle, "wb") as out,
            urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply,
        ):
            _copy(reply, out, title, progress)
        if not has_md5(Path(name), md5):
            raise DownloadError("the MD5 sum of the download differs from the published one")
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)


def _copy(reply: Any, out: IO[bytes], title: str, progress: Progress) -> None:
    total = int(reply.headers.get("Content-Length") or 0)
    done = 0
    while block := reply.read(BLOCK_BYTES):
        out.write(block)
        done += len(block)
        of_total = f" of {total / 1e6:,.0f}" if total else ""
        megabytes = f"{done / 1e6:,.0f}{of_total} MB"
        progress(done / total if total else 0.0, f"Downloading {title}, {megabytes}")

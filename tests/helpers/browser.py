"""The app on a port of its own, and the browser that opens it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pruning_core.common.paths import CACHE_VARIABLE, Cache
from tests.helpers.project import ROOT
from tests.helpers.workers import stop_worker, until

CHROME = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def log_of(cache: Cache) -> Path:
    """The server's output."""
    return cache.root / "streamlit.log"


@contextmanager
def served(cache: Cache) -> Iterator[str]:
    """A server that shows this cache, by its address; its worker ends with it."""
    port = _free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    environment = {**os.environ, CACHE_VARIABLE: str(cache.root)}
    with log_of(cache).open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://localhost:{port}"
        until(lambda: _is_healthy(url) or None, "the server")
        yield url
    finally:
        process.terminate()
        process.wait()
        stop_worker(cache)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False

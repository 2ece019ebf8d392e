"""Processes killed at their file operations: nothing is lost, and the bits are the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.project import ROOT
from tests.helpers.stages import SMALL
from tests.helpers.workers import finished_run

KILLS = 20


def test_kills_at_file_operations_lose_nothing(tmp_path: Path) -> None:
    """`python -m tests.kills.suite` kills more processes."""
    donor = finished_run(tmp_path / "donor", SMALL)
    command = [sys.executable, "-m", "tests.kills.suite", "--kills", str(KILLS)]
    done = subprocess.run(
        [*command, "--donor", str(donor.root)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.startswith(f"{KILLS} kills (")

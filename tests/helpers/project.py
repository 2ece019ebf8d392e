"""Where the project and the data beside it lie."""

from __future__ import annotations

import argparse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"


def suite_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The command line of a test suite that is run as a module."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

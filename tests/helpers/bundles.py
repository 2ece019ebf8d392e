"""Reproducibility bundles in tests: an environment without this project, and verify.py in it."""

from __future__ import annotations

import subprocess
import venv
from collections.abc import Callable, Iterable
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Python = Callable[[Path], Path]


def environment(home: Path, requirements: str) -> Path:
    """The Python of a new environment with the given requirements and what they require.

    The packages that are installed here are linked, since a test has no network.
    """
    venv.create(home, with_pip=False)
    (packages,) = home.glob("lib/python*/site-packages")
    for path in _installed(Requirement(line).name for line in requirements.splitlines()):
        (packages / path.name).symlink_to(path)
    return home / "bin" / "python"


def _installed(names: Iterable[str]) -> set[Path]:
    """The files and folders of packages, and of the packages that they require."""
    pending, done, paths = list(names), set[str](), set[Path]()
    while pending:
        name = pending.pop()
        if canonicalize_name(name) in done:
            continue
        done.add(canonicalize_name(name))
        package = distribution(name)
        tops = {file.parts[0] for file in package.files or [] if file.parts[0] not in ("..", "bin")}
        paths |= {Path(str(package.locate_file(top))) for top in tops if top != "__pycache__"}
        required = map(Requirement, package.requires or [])
        pending += [r.name for r in required if not r.marker or r.marker.evaluate({"extra": ""})]
    return paths


def verify(python: Python, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run verify.py in the folder of an unpacked bundle."""
    command = [str(python(folder)), "verify.py", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)

"""A fixture for the tests that verify bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.bundles import Python, environment


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Python:
    """The Python of an environment for an unpacked bundle, made once for each requirements.txt."""
    environments: dict[str, Path] = {}

    def python_for(folder: Path) -> Path:
        requirements = (folder / "requirements.txt").read_text()
        if requirements not in environments:
            environments[requirements] = environment(tmp_path_factory.mktemp("venv"), requirements)
        return environments[requirements]

    return python_for

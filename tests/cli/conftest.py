"""A finished run for the commands on finished models, and the stages run in this process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pruning_core.common.paths import Cache
from pruning_core.settings.strategies import OneShotSpec
from tests.helpers.refusals import without_worker
from tests.helpers.workers import ONE_CUT, finished_run

# A baseline and two pruned models, none of which is fine-tuned.
TWO_MODELS = replace(ONE_CUT, one_shot=OneShotSpec((0.5, 0.9), 0))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """A cache with one finished job of three models."""
    return finished_run(tmp_path_factory.mktemp("finished"), TWO_MODELS)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages run in this process, and quickly."""
    without_worker(monkeypatch)

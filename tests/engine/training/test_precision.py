"""Precision: `auto` is decided once, by a trial, and the decision is part of every key."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pruning_core.engine.analysis import inspect_model as inspect
from pruning_core.engine.models.build import build
from pruning_core.engine.training.optimizers import make_optimizer
from pruning_core.engine.training.state import TrainingState
from pruning_core.engine.training.step import step
from pruning_core.methods.devices import PRECISIONS
from pruning_core.planning.inspections import inspect_model
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from tests.helpers.inspections import MODEL, Facts
from tests.helpers.models import weight_of

SETTINGS = {"name": "mobilenet_v2", "width": 0.35, "stem_stride": 2}
AUTO = replace(QUICKSTART, precision="auto")


def precisions(spec: Spec, trial: str) -> set[str]:
    facts = Facts(spec, model={**MODEL, "precision": trial} if trial else MODEL)
    return {s.settings["precision"] for s in plan(spec, facts).stages if "train" in s.settings}


@pytest.mark.parametrize("trial", ["fp32", "bf16"])
def test_the_precision_of_the_trial_is_used_by_every_stage(trial: str) -> None:
    assert precisions(AUTO, trial) == {trial}


def test_an_explicit_precision_needs_no_trial() -> None:
    assert precisions(QUICKSTART, "") == {"fp32"}
    assert precisions(replace(QUICKSTART, precision="bf16"), "") == {"bf16"}
    keys = {inspect_model(replace(QUICKSTART, precision=p), 10).key for p in PRECISIONS}
    assert len(keys) == 2


@pytest.mark.parametrize(("ratio", "precision"), [(1.5, "bf16"), (1.05, "fp32"), (0.5, "fp32")])
def test_bf16_is_used_where_it_is_clearly_faster(
    ratio: float, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = {"fp32": 100.0, "bf16": 100.0 * ratio}
    monkeypatch.setattr(inspect, "timed_step", lambda model, x, y, name: speeds[name])
    model = build(SETTINGS, 10, 32)
    actual = inspect.choose_precision(model, 10, 32, "cpu")
    assert actual == {"precision": precision, "bf16_speedup": pytest.approx(ratio)}
    assert precision in inspect.precision_notes(actual)[0]


def test_bf16_trains_weights_that_stay_in_fp32() -> None:
    torch.manual_seed(0)
    images, labels = torch.rand(8, 3, 32, 32), torch.arange(8) % 10
    ends = {}
    for precision in ("fp32", "bf16"):
        torch.manual_seed(1)
        model = build(SETTINGS, 10, 32)
        optimizer = make_optimizer(model, to_dict(QUICKSTART.finetune))
        torch.manual_seed(2)
        step(TrainingState(model, optimizer, precision=precision), images, labels, 0.01, 5.0)
        ends[precision] = weight_of(model, "classifier.1").detach()
    assert ends["bf16"].dtype == torch.float32
    assert not torch.equal(ends["fp32"], ends["bf16"])
    torch.testing.assert_close(ends["fp32"], ends["bf16"], atol=0.01, rtol=0.1)

"""Networks beyond those that the README lists first: which can be cut, how far, which cannot."""

from __future__ import annotations

import pytest
import torch

from pruning_core.engine.macs import macs
from pruning_core.engine.structured.cut import cut
from pruning_core.engine.structured.groups import trace
from pruning_core.engine.structured.importance import IMPORTANCES, Sight
from pruning_core.settings import SpecError
from tests.engine.test_structured_cut import SIZE, built, settings


def scorer(model: torch.nn.Module):  # type: ignore[no-untyped-def]
    return IMPORTANCES["magnitude_l2"](Sight(model))


@pytest.mark.parametrize("name", ["mnasnet0_5", "squeezenet1_1", "densenet121", "googlenet"])
def test_these_lose_half_of_their_macs_too(name: str) -> None:
    model = built(name)
    dense = macs(model, SIZE)
    smaller, _ = cut(model, settings(), SIZE, scorer(model))
    assert macs(smaller, SIZE) <= 0.5 * dense
    assert smaller(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 10)


def test_of_a_regnet_only_a_part_can_go() -> None:
    """Its grouped convolutions lose alike; what is asked beyond is refused with what can go."""
    model = built("regnet_y_400mf")
    with pytest.raises(SpecError, match=r"at most [12]\d\.\d% of the channels can go"):
        cut(model, settings(target="0.9", of="channels"), SIZE, scorer(model))


@pytest.mark.parametrize("name", ["swin_t", "shufflenet_v2_x0_5"])
def test_these_are_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(SpecError, match="Prune by mask, or take another model"):
        trace(built(name), SIZE)


def test_the_refusal_names_the_model() -> None:
    """A run with channels removed and a scan of groups both look at it; neither option is wrong."""
    with pytest.raises(SpecError) as caught:
        trace(built("swin_t"), SIZE)
    assert caught.value.field == "model.name"

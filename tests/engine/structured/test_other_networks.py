"""Networks beyond those that the README lists first: which can be cut, how far, which cannot."""

from __future__ import annotations

import pytest
import torch

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.macs import macs
from pruning_core.engine.structured.groups import trace
from pruning_core.engine.structured.importance import IMPORTANCES, ImportanceInputs
from pruning_core.engine.structured.width_plan import prune_channels
from tests.engine.structured.test_cut import SIZE, built, settings


def scorer(model: torch.nn.Module):  # type: ignore[no-untyped-def]
    return IMPORTANCES["magnitude_l2"](ImportanceInputs(model))


@pytest.mark.parametrize("name", ["mnasnet0_5", "squeezenet1_1", "densenet121", "googlenet"])
def test_these_lose_half_of_their_macs_too(name: str) -> None:
    model = built(name)
    dense = macs(model, SIZE)
    smaller, _ = prune_channels(model, settings(), SIZE, scorer(model))
    assert macs(smaller, SIZE) <= 0.5 * dense
    assert smaller(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 10)


@pytest.mark.parametrize(("round_to", "most"), [(8, r"2\d\.\d"), (1, r"8\d\.\d")])
def test_rounding_decides_how_much_of_a_small_regnet_can_go(round_to: int, most: str) -> None:
    """A grouped convolution loses alike in each of its groups, and by so many channels at once."""
    model = built("regnet_y_400mf")
    with pytest.raises(SpecError, match=f"at most {most}% of the channels can go"):
        prune_channels(
            model, settings(target="0.9", of="channels", round_to=round_to), SIZE, scorer(model)
        )


@pytest.mark.parametrize("name", ["swin_t", "maxvit_t", "shufflenet_v2_x0_5"])
def test_these_are_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(SpecError, match="Prune by mask, or take another model"):
        trace(built(name), SIZE)


def test_the_refusal_names_the_model() -> None:
    """A run with channels removed and a scan of groups both look at it; neither option is wrong."""
    with pytest.raises(SpecError) as caught:
        trace(built("swin_t"), SIZE)
    assert caught.value.field == "model.name"

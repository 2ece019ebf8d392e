"""Networks beyond the common ones: which can be pruned, up to which ratio, and which cannot."""

from __future__ import annotations

import pytest
import torch

from pruning_core.common.errors import SpecError
from pruning_core.engine.models.macs import macs
from pruning_core.engine.structured.groups import trace
from pruning_core.engine.structured.importance import ImportanceInputs, Scorer, magnitude_l2
from tests.helpers.structured import SIZE, built, prune_channels, settings


def scorer(model: torch.nn.Module) -> Scorer:
    return magnitude_l2(ImportanceInputs(model))


@pytest.mark.parametrize("name", ["mnasnet0_5", "squeezenet1_1", "densenet121", "googlenet"])
def test_half_of_the_macs_can_be_removed(name: str) -> None:
    model = built(name)
    dense = macs(model, SIZE)
    smaller, _ = prune_channels(model, settings(), SIZE, scorer(model))
    assert macs(smaller, SIZE) <= 0.5 * dense
    assert smaller(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 10)


@pytest.mark.parametrize(("round_to", "possible"), [(8, r"0\.2\d*"), (1, r"0\.8\d*")])
def test_rounding_limits_the_ratio_of_a_small_regnet(round_to: int, possible: str) -> None:
    """A grouped convolution loses equally many channels in each group."""
    model = built("regnet_y_400mf")
    with pytest.raises(
        SpecError, match=f"of the channels cannot be removed. At most {possible} can"
    ):
        prune_channels(
            model,
            settings(target="0.9", ratio_of="channels", round_to=round_to),
            SIZE,
            scorer(model),
        )


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t", "maxvit_t", "shufflenet_v2_x0_5"])
def test_models_that_cannot_be_traced_are_refused(name: str) -> None:
    with pytest.raises(SpecError, match="Switch structured pruning off, or choose another model"):
        trace(built(name), SIZE)


def test_the_refusal_names_the_model() -> None:
    """Two options need the trace, and neither is wrong: structured pruning, and sensitivity."""
    with pytest.raises(SpecError) as caught:
        trace(built("swin_t"), SIZE)
    assert caught.value.field == "model.name"

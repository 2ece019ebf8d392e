"""The rungs' mathematics: small layers by hand, and networks that can be restored exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.correction.corrections import RUNGS, CorrectionInputs
from pruning_core.engine.correction.least_squares import (
    ProductSums,
    regression_samples,
    solve_depthwise,
    solve_rows,
    windows,
)
from pruning_core.engine.correction.moments import Moments, channel_rows, moments, scale_and_shift
from pruning_core.engine.models.traced_layers import input_and_output, traced_layers
from pruning_core.methods.corrections import CORRECTIONS as NAMES

DOUBLE = torch.float64


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def network() -> nn.Sequential:
    """Plain, grouped, depthwise and strided convolutions, with and without batch norm or bias."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 12, 3, stride=2, padding=2, dilation=2, groups=2),
        nn.ReLU(),
        nn.Conv2d(12, 6, 1, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
    )
    with torch.no_grad():
        for _ in range(30):
            model(torch.randn(16, 3, 10, 10))
    return model.eval()


def cut(model: nn.Module, share: float = 0.5) -> dict[str, Tensor]:
    """Random masks, and the weights without what they remove."""
    generator, kept = torch.Generator().manual_seed(5), {}
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            kept[name] = torch.rand(weight.shape, generator=generator) > share
            weight.data.mul_(kept[name])
    return kept


def climb(share: float = 0.5) -> CorrectionInputs:
    dense = network()
    pruned = copy.deepcopy(dense)
    kept = cut(pruned, share)
    images = drawn(96, 3, 10, 10, seed=2).float()
    batches = [(part, torch.zeros(len(part))) for part in images.split(40)]

    def settle() -> None:
        norms = [m for m in pruned.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        with torch.no_grad():
            for batch, _ in batches:
                pruned(batch)
        pruned.eval()

    return CorrectionInputs(pruned, dense, batches, kept, settle)


def test_each_row_is_the_least_squares_solution_on_its_own_support() -> None:
    x, y, weight = drawn(40, 6), drawn(40, 4, seed=1), drawn(4, 6, seed=2)
    kept = torch.rand(4, 6, generator=torch.Generator().manual_seed(3)) > 0.4
    kept[3] = False
    found = solve_rows(weight, kept, x.T @ x / 40, y.T @ x / 40, ridge=0.0)
    for row in range(4):
        there = kept[row]
        own = torch.linalg.lstsq(x[:, there], y[:, row : row + 1]).solution[:, 0]
        assert torch.allclose(found[row, there], own, atol=1e-10)
        assert (found[row, ~there] == 0).all()


def test_the_ridge_pulls_towards_the_weight_as_it_was() -> None:
    """As a least squares problem with a row more for each weight."""
    x, y, weight = drawn(40, 3), drawn(40, 1, seed=1), drawn(1, 3, seed=2)
    gram, ridge = x.T @ x / 40, 0.3
    pull = (40 * ridge * gram.diagonal().mean()).sqrt() * torch.eye(3, dtype=DOUBLE)
    own = torch.linalg.lstsq(torch.cat([x, pull]), torch.cat([y, pull @ weight.T])).solution
    found = solve_rows(weight, torch.ones(1, 3, dtype=torch.bool), gram, y.T @ x / 40, ridge)
    assert torch.allclose(found, own.T, atol=1e-10)


def test_an_input_that_is_never_there_leaves_its_weight() -> None:
    x, y, weight = drawn(40, 3), drawn(40, 2, seed=1), drawn(2, 3, seed=2)
    x[:, 1] = 0
    kept = torch.ones(2, 3, dtype=torch.bool)
    found = solve_rows(weight, kept, x.T @ x / 40, y.T @ x / 40)
    assert torch.equal(found[:, 1], weight[:, 1])
    still = solve_rows(
        weight, kept, torch.zeros(3, 3, dtype=DOUBLE), torch.zeros(2, 3, dtype=DOUBLE)
    )
    assert torch.equal(still, weight)


def test_rows_with_a_matrix_each_are_as_one_by_one() -> None:
    x, y, weight = drawn(5, 30, 9), drawn(5, 30, seed=1), drawn(5, 9, seed=2)
    kept = torch.rand(5, 9, generator=torch.Generator().manual_seed(3)) > 0.4
    kept[2], x[4] = False, 0.0
    gram, cross = x.transpose(1, 2) @ x / 30, (y[:, None] @ x)[:, 0] / 30
    found = solve_depthwise(weight, kept, gram, cross)
    for i in range(5):
        own = solve_rows(weight[i : i + 1], kept[i : i + 1], gram[i], cross[i : i + 1])
        assert torch.allclose(found[i : i + 1], own, atol=1e-10)


CONVOLUTIONS = (
    nn.Conv2d(4, 6, 3, padding=1),
    nn.Conv2d(4, 6, (1, 3), stride=(2, 1), padding=(0, 2), dilation=2, groups=2),
    nn.Conv2d(4, 4, 3, padding="same", groups=4, padding_mode="reflect"),
)


@pytest.mark.parametrize("module", CONVOLUTIONS)
@torch.no_grad()
def test_windows_times_weights_are_the_convolution(module: nn.Conv2d) -> None:
    inputs = drawn(2, 4, 7, 6).float().contiguous(memory_format=torch.channels_last)
    seen = windows(module, inputs).unflatten(1, (module.groups, -1))
    weight = module.weight.unflatten(0, (module.groups, -1))
    made = torch.einsum("ngchwkl,gockl->ngohw", seen, weight).flatten(1, 2)
    assert module.bias is not None
    own = made + module.bias[:, None, None]
    assert torch.allclose(own, module(inputs), atol=1e-5)


@pytest.mark.parametrize("module", [*CONVOLUTIONS, nn.Linear(4, 3)])
@torch.no_grad()
def test_samples_pair_what_meets_the_weights_with_what_comes_out(module: nn.Module) -> None:
    inputs = drawn(2, 4, 7, 6).float()
    if isinstance(module, nn.Linear):
        inputs = inputs.movedim(1, -1)
    x, y = regression_samples(module, inputs, module(inputs), torch.Generator())  # type: ignore[arg-type]
    weight = module.weight.double().reshape(len(x), -1, x.shape[2])  # type: ignore[operator, union-attr]
    bias = module.bias.double().reshape(len(x), 1, -1)  # type: ignore[operator, union-attr]
    assert torch.allclose(x @ weight.transpose(1, 2) + bias, y, atol=1e-5)
    assert y.shape[1] <= 2 * 16


def test_moments_add_up_over_parts_and_the_correction_leads_there() -> None:
    found, wanted = drawn(50, 4), 3 * drawn(50, 4, seed=1) + 2
    found[:, 3] = 7.0
    mine, theirs = moments(found.split(20)), moments([wanted])
    assert torch.allclose(mine.mean, found.mean(0))
    assert torch.allclose(theirs.std, wanted.std(0, False))
    scale, shift = scale_and_shift(theirs, mine)
    after = moments([scale * found + shift])
    assert torch.allclose(after.mean, theirs.mean)
    assert torch.allclose(after.std[:3], theirs.std[:3])
    assert scale[3] == 1, "a channel that does not vary cannot be made to"
    flat = scale_and_shift(
        Moments(torch.ones(1), torch.zeros(1)), Moments(torch.ones(1), torch.ones(1))
    )
    assert flat[0] == 1, "nor is a weight ever multiplied by 0"


def test_sites_stand_in_the_order_of_computation_with_their_batch_norm() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.unused = nn.Linear(4, 2), nn.Linear(1, 1)
            self.twice, self.first = nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 1)
            self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.first(x))
            x = self.other(functional.relu(self.twice(self.twice(x)), inplace=True))
            return self.last(x.mean((2, 3)))

    model = Turned()
    found = traced_layers(model, torch.zeros(2, 3, 4, 4))
    assert [(site.name, site.norm) for site in found] == [("first", model.norm), ("last", None)]


@torch.no_grad()
def outputs(one: CorrectionInputs, model: nn.Module) -> dict[str, Moments]:
    """Moments of each layer's output with batch norm's offset, over all batches at once."""
    found = {}
    for site in traced_layers(model, one.batches[0][0]):  # type: ignore[index]
        parts = [
            channel_rows(site.module, input_and_output(model, site.module, x)[1])
            for x, _ in one.batches
        ]
        found[site.name] = moments(parts)
    return found


def test_bias_and_scale_give_every_layer_the_dense_mean_and_deviation() -> None:
    one = climb()
    notes = RUNGS["bias_scale"](one)
    dense, found = outputs(one, one.dense), outputs(one, one.pruned)
    for name, wanted in dense.items():
        assert torch.allclose(found[name].std, wanted.std, rtol=1e-5), name
    for name in ("5", "11"):  # which have a bias
        assert torch.allclose(found[name].mean, dense[name].mean, atol=1e-5)
    assert notes == [
        "7 has neither a bias nor a batch norm after it: only the scale was corrected."
    ]
    for norm in (1, 4):  # the offset of the others stands in their batch norm
        own, theirs = one.pruned[norm], one.dense[norm]  # type: ignore[index]
        layer = str(norm - 1)
        assert torch.allclose(
            found[layer].mean - own.running_mean, dense[layer].mean - theirs.running_mean, atol=1e-5
        )
        assert torch.equal(own.running_var, theirs.running_var)


@pytest.mark.parametrize("name", RUNGS)
def test_zeros_and_structure_stay_and_twice_is_the_same(name: str) -> None:
    one, again = climb(), climb()
    zeros = {n: p == 0 for n, p in one.pruned.named_parameters() if p.dim() > 1}
    before = {n: value.shape for n, value in one.pruned.state_dict().items()}
    for each in (one, again):
        RUNGS[name](each)
    assert {n: value.shape for n, value in one.pruned.state_dict().items()} == before
    for n, parameter in one.pruned.named_parameters():
        if n in zeros:
            assert torch.equal(parameter == 0, zeros[n]), n
    for n, value in one.pruned.state_dict().items():
        assert torch.equal(value, again.pruned.state_dict()[n]), n
    dense = network().state_dict()
    assert all(torch.equal(value, dense[n]) for n, value in one.dense.state_dict().items())


def error(one: CorrectionInputs) -> float:
    with torch.no_grad():
        both = [(one.pruned(x), one.dense(x)) for x, _ in one.batches]
    return sum(float((a - b).square().sum()) for a, b in both)


def test_each_rung_comes_nearer_here() -> None:
    one = climb()
    errors = [error(one)]
    for rung in RUNGS.values():
        rung(one)
        errors.append(error(one))
    assert errors[3] < errors[2] < errors[0]


@torch.no_grad()
def test_a_linear_network_is_restored_where_the_mask_allows() -> None:
    """A channel stands there twice: what was removed of the one the other can carry."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(64, 3))
    dense[0].weight[:, 1] = dense[0].weight[:, 0]
    pruned = copy.deepcopy(dense)
    kept = {"0.weight": torch.ones_like(dense[0].weight, dtype=torch.bool)}
    kept["0.weight"][:, 1] = False
    pruned[0].weight.mul_(kept["0.weight"])
    twin = drawn(60, 1, 4, 4).float().expand(-1, 2, -1, -1)
    one = CorrectionInputs(pruned, dense, [(twin, torch.zeros(60))], kept, lambda: None)
    before = error(one)
    RUNGS["least_squares"](one)
    # The ridge of 1 % towards the weights as they were is all that is left between the two.
    assert error(one) < 1e-3 * before


def test_the_weight_that_sums_give_and_its_offset() -> None:
    """With an intercept: a line through points that do not begin at 0."""
    x = drawn(1, 50, 2) + 3
    layer = nn.Linear(2, 2)
    wanted = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=DOUBLE)
    sums = ProductSums.nothing(1, 2, 2)
    sums.add(x, x @ wanted.T + 5)
    kept = torch.ones(2, 2, dtype=torch.bool)
    for _ in range(40):  # the ridge lets it come nearer each time
        weight, offset = sums.solve(layer, kept, offset=True)
        with torch.no_grad():
            layer.weight.copy_(weight)
    assert torch.allclose(weight, wanted, atol=1e-5)
    assert torch.allclose(offset, torch.full((2,), 5.0, dtype=DOUBLE), atol=1e-4)


def test_a_transformer_is_climbed_but_for_its_projections() -> None:
    torch.manual_seed(0)
    dense = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    dense.linear1.register_forward_pre_hook(lambda *_: None)  # keeps torch from its one-piece way
    pruned = copy.deepcopy(dense)
    one = CorrectionInputs(
        pruned, dense, [(drawn(40, 5, 8).float(), torch.zeros(40))], cut(pruned), lambda: None
    )
    before = error(one)
    notes = [RUNGS[name](one) for name in RUNGS]
    assert notes[0] == [
        "The model has no batch norm, so re-estimating its statistics changes nothing."
    ]
    assert "self_attn.in_proj_weight" in notes[2][0]
    assert "left as it was" in notes[2][0]
    assert error(one) < before


def test_the_registry_has_a_function_for_each_name() -> None:
    assert tuple(RUNGS) == NAMES[1:]

"""Training-free corrections: small layers by hand, and networks that can be restored exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pruning_core.engine.correction.corrections import CorrectionInputs, LayerCorrection
from pruning_core.engine.correction.least_squares import (
    ProductSums,
    regression_samples,
    solve_depthwise,
    solve_rows,
    windows,
)
from pruning_core.engine.correction.moments import Moments, channel_rows, moments, scale_and_shift
from pruning_core.engine.models.traced_layers import input_and_output, traced_layers
from pruning_core.methods.corrections import CORRECTIONS, NO_BATCH_NORM
from tests.helpers.models import module_of, weight_of

DOUBLE = torch.float64
METHODS = [name for name, method in CORRECTIONS.items() if method.implementation]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def network() -> nn.Sequential:
    """Standard, grouped, depthwise and strided convolutions, some with batch norm or bias."""
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


def prune(model: nn.Module, share: float = 0.5) -> dict[str, Tensor]:
    """Prune a model in place with random masks, and return them."""
    generator, masks = torch.Generator().manual_seed(5), {}
    for name, weight in model.named_parameters():
        if weight.dim() > 1:
            masks[name] = torch.rand(weight.shape, generator=generator) > share
            weight.data.mul_(masks[name])
    return masks


def pruned_and_dense(share: float = 0.5) -> CorrectionInputs:
    dense = network()
    pruned = copy.deepcopy(dense)
    masks = prune(pruned, share)
    images = random(96, 3, 10, 10, seed=2).float()
    batches = [(part, torch.zeros(len(part))) for part in images.split(40)]

    def recalibrate() -> None:
        norms = [m for m in pruned.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
            norm.train()
        with torch.no_grad():
            for batch, _ in batches:
                pruned(batch)
        pruned.eval()

    return CorrectionInputs(pruned, dense, batches, masks, recalibrate)


def test_each_row_is_the_least_squares_solution_of_its_remaining_weights() -> None:
    x, y, weight = random(40, 6), random(40, 4, seed=1), random(4, 6, seed=2)
    kept = torch.rand(4, 6, generator=torch.Generator().manual_seed(3)) > 0.4
    kept[3] = False
    actual = solve_rows(weight, kept, x.T @ x / 40, y.T @ x / 40, ridge=0.0)
    for row in range(4):
        mask = kept[row]
        solution = torch.linalg.lstsq(x[:, mask], y[:, row : row + 1]).solution[:, 0]
        assert torch.allclose(actual[row, mask], solution, atol=1e-10)
        assert (actual[row, ~mask] == 0).all()


def test_the_ridge_pulls_towards_the_former_weight() -> None:
    """As a least squares problem with one more row for each weight."""
    x, y, weight = random(40, 3), random(40, 1, seed=1), random(1, 3, seed=2)
    gram, ridge = x.T @ x / 40, 0.3
    pull = (40 * ridge * gram.diagonal().mean()).sqrt() * torch.eye(3, dtype=DOUBLE)
    own = torch.linalg.lstsq(torch.cat([x, pull]), torch.cat([y, pull @ weight.T])).solution
    actual = solve_rows(weight, torch.ones(1, 3, dtype=torch.bool), gram, y.T @ x / 40, ridge)
    assert torch.allclose(actual, own.T, atol=1e-10)


def test_an_input_that_is_always_zero_keeps_its_weight() -> None:
    x, y, weight = random(40, 3), random(40, 2, seed=1), random(2, 3, seed=2)
    x[:, 1] = 0
    kept = torch.ones(2, 3, dtype=torch.bool)
    actual = solve_rows(weight, kept, x.T @ x / 40, y.T @ x / 40)
    assert torch.equal(actual[:, 1], weight[:, 1])
    still = solve_rows(
        weight, kept, torch.zeros(3, 3, dtype=DOUBLE), torch.zeros(2, 3, dtype=DOUBLE)
    )
    assert torch.equal(still, weight)


def test_depthwise_rows_are_solved_as_one_by_one() -> None:
    x, y, weight = random(5, 30, 9), random(5, 30, seed=1), random(5, 9, seed=2)
    kept = torch.rand(5, 9, generator=torch.Generator().manual_seed(3)) > 0.4
    kept[2], x[4] = False, 0.0
    gram, cross = x.transpose(1, 2) @ x / 30, (y[:, None] @ x)[:, 0] / 30
    actual = solve_depthwise(weight, kept, gram, cross)
    for i in range(5):
        row = solve_rows(weight[i : i + 1], kept[i : i + 1], gram[i], cross[i : i + 1])
        assert torch.allclose(actual[i : i + 1], row, atol=1e-10)


CONVOLUTIONS = (
    nn.Conv2d(4, 6, 3, padding=1),
    nn.Conv2d(4, 6, (1, 3), stride=(2, 1), padding=(0, 2), dilation=2, groups=2),
    nn.Conv2d(4, 4, 3, padding="same", groups=4, padding_mode="reflect"),
)


@pytest.mark.parametrize("module", CONVOLUTIONS)
@torch.no_grad()
def test_windows_times_weights_are_the_convolution(module: nn.Conv2d) -> None:
    inputs = random(2, 4, 7, 6).float().contiguous(memory_format=torch.channels_last)
    patches = windows(module, inputs).unflatten(1, (module.groups, -1))
    weight = module.weight.unflatten(0, (module.groups, -1))
    products = torch.einsum("ngchwkl,gockl->ngohw", patches, weight).flatten(1, 2)
    assert module.bias is not None
    assert torch.allclose(products + module.bias[:, None, None], module(inputs), atol=1e-5)


@pytest.mark.parametrize("module", [*CONVOLUTIONS, nn.Linear(4, 3)])
@torch.no_grad()
def test_samples_are_pairs_of_inputs_and_outputs(module: nn.Conv2d | nn.Linear) -> None:
    inputs = random(2, 4, 7, 6).float()
    if isinstance(module, nn.Linear):
        inputs = inputs.movedim(1, -1)
    x, y = regression_samples(module, inputs, module(inputs), torch.Generator())
    weight = module.weight.double().reshape(len(x), -1, x.shape[2])
    assert module.bias is not None
    bias = module.bias.double().reshape(len(x), 1, -1)
    assert torch.allclose(x @ weight.transpose(1, 2) + bias, y, atol=1e-5)
    assert y.shape[1] <= 2 * 16


def test_moments_add_up_over_batches_and_scale_and_shift_reach_the_target() -> None:
    actual, expected = random(50, 4), 3 * random(50, 4, seed=1) + 2
    actual[:, 3] = 7.0
    current, target = moments(actual.split(20)), moments([expected])
    assert torch.allclose(current.mean, actual.mean(0))
    assert torch.allclose(target.std, expected.std(0, False))
    scale, shift = scale_and_shift(target, current)
    after = moments([scale * actual + shift])
    assert torch.allclose(after.mean, target.mean)
    assert torch.allclose(after.std[:3], target.std[:3])
    assert scale[3] == 1, "no factor makes a constant channel vary"
    flat = scale_and_shift(
        Moments(torch.ones(1), torch.zeros(1)), Moments(torch.ones(1), torch.ones(1))
    )
    assert flat[0] == 1, "no weight is ever multiplied by 0"


def test_traced_layers_are_in_the_order_of_computation_with_their_batch_norm() -> None:
    class OtherOrder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.unused = nn.Linear(4, 2), nn.Linear(1, 1)
            self.twice, self.first = nn.Conv2d(4, 4, 1), nn.Conv2d(3, 4, 1)
            self.norm, self.other = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.norm(self.first(x))
            x = self.other(functional.relu(self.twice(self.twice(x)), inplace=True))
            return self.last(x.mean((2, 3)))

    model = OtherOrder()
    actual = traced_layers(model, torch.zeros(2, 3, 4, 4))
    assert [(layer.name, layer.norm) for layer in actual] == [("first", model.norm), ("last", None)]


@torch.no_grad()
def outputs(inputs: CorrectionInputs, model: nn.Module) -> dict[str, Moments]:
    """The moments of each layer's output over all batches."""
    actual = {}
    first, _ = next(iter(inputs.batches))
    for layer in traced_layers(model, first):
        parts = [
            channel_rows(layer.module, input_and_output(model, layer.module, x)[1])
            for x, _ in inputs.batches
        ]
        actual[layer.name] = moments(parts)
    return actual


def test_bias_correction_gives_every_layer_the_dense_mean_and_deviation() -> None:
    inputs = pruned_and_dense()
    notes = CORRECTIONS.load("bias_correction")(inputs)
    dense, actual = outputs(inputs, inputs.dense), outputs(inputs, inputs.pruned)
    for name, expected in dense.items():
        assert torch.allclose(actual[name].std, expected.std, rtol=1e-5), name
    for name in ("5", "11"):  # which have a bias
        assert torch.allclose(actual[name].mean, dense[name].mean, atol=1e-5)
    assert notes == [
        "Only the scale was corrected (no bias, and no batch norm after the layer): 7."
    ]
    for number in (1, 4):  # without a bias, the batch norm holds the offset
        pruned = module_of(inputs.pruned, str(number), nn.BatchNorm2d)
        norm = module_of(inputs.dense, str(number), nn.BatchNorm2d)
        assert pruned.running_mean is not None
        assert pruned.running_var is not None
        assert norm.running_mean is not None
        assert norm.running_var is not None
        layer = str(number - 1)
        assert torch.allclose(
            actual[layer].mean - pruned.running_mean,
            dense[layer].mean - norm.running_mean,
            atol=1e-5,
        )
        assert torch.equal(pruned.running_var, norm.running_var)


@pytest.mark.parametrize("name", METHODS)
def test_zeros_and_structure_stay_and_the_result_is_repeatable(name: str) -> None:
    inputs, again = pruned_and_dense(), pruned_and_dense()
    zeros = {n: p == 0 for n, p in inputs.pruned.named_parameters() if p.dim() > 1}
    before = {n: value.shape for n, value in inputs.pruned.state_dict().items()}
    for repetition in (inputs, again):
        CORRECTIONS.load(name)(repetition)
    assert {n: value.shape for n, value in inputs.pruned.state_dict().items()} == before
    for n, parameter in inputs.pruned.named_parameters():
        if n in zeros:
            assert torch.equal(parameter == 0, zeros[n]), n
    for n, value in inputs.pruned.state_dict().items():
        assert torch.equal(value, again.pruned.state_dict()[n]), n
    dense = network().state_dict()
    assert all(torch.equal(value, dense[n]) for n, value in inputs.dense.state_dict().items())


def error(inputs: CorrectionInputs) -> float:
    with torch.no_grad():
        pairs = [(inputs.pruned(x), inputs.dense(x)) for x, _ in inputs.batches]
    return sum(float((a - b).square().sum()) for a, b in pairs)


def test_each_correction_reduces_the_error() -> None:
    inputs = pruned_and_dense()
    errors = [error(inputs)]
    for name in METHODS:
        CORRECTIONS.load(name)(inputs)
        errors.append(error(inputs))
    assert errors[3] < errors[2] < errors[0]


@torch.no_grad()
def test_a_linear_network_is_restored_where_the_mask_allows() -> None:
    """Two input channels are equal, so the weights of one can replace those of the other."""
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Flatten(), nn.Linear(64, 3))
    weight = weight_of(dense, "0")
    weight[:, 1] = weight[:, 0]
    pruned = copy.deepcopy(dense)
    mask = torch.ones_like(weight, dtype=torch.bool)
    mask[:, 1] = False
    weight_of(pruned, "0").mul_(mask)
    twin = random(60, 1, 4, 4).float().expand(-1, 2, -1, -1)
    inputs = CorrectionInputs(
        pruned, dense, [(twin, torch.zeros(60))], {"0.weight": mask}, lambda: None
    )
    before = error(inputs)
    CORRECTIONS.load("weight_reconstruction")(inputs)
    # Only the ridge of 1 % towards the former weights remains between the two.
    assert error(inputs) < 1e-3 * before


def test_the_sums_give_weight_and_offset() -> None:
    """Of a linear function with an intercept."""
    x = random(1, 50, 2) + 3
    layer = nn.Linear(2, 2)
    expected = torch.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=DOUBLE)
    sums = ProductSums.zeros(1, 2, 2)
    sums.add(x, x @ expected.T + 5)
    kept = torch.ones(2, 2, dtype=torch.bool)
    for _ in range(40):  # the ridge allows a part of the way each time
        weight, offset = sums.solve(layer, kept, with_offset=True)
        with torch.no_grad():
            layer.weight.copy_(weight)
    assert torch.allclose(weight, expected, atol=1e-5)
    assert torch.allclose(offset, torch.full((2,), 5.0, dtype=DOUBLE), atol=1e-4)


def test_a_transformer_is_corrected_except_for_its_projections() -> None:
    torch.manual_seed(0)
    dense = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    dense.linear1.register_forward_pre_hook(lambda *_: None)  # keeps torch from its fused path
    pruned = copy.deepcopy(dense)
    inputs = CorrectionInputs(
        pruned, dense, [(random(40, 5, 8).float(), torch.zeros(40))], prune(pruned), lambda: None
    )
    before = error(inputs)
    notes = [CORRECTIONS.load(name)(inputs) for name in METHODS]
    assert notes[0] == [NO_BATCH_NORM]
    assert "self_attn.in_proj_weight" in notes[2][0]
    assert "Not corrected (computed inside a larger module)" in notes[2][0]
    assert error(inputs) < before


def test_the_first_entry_is_the_pruned_model_itself() -> None:
    assert not CORRECTIONS["none"].implementation
    assert METHODS == ["bn_recalibration", "bias_correction", "weight_reconstruction"]


@pytest.mark.parametrize("index", [0, 3, 5, 7, 11])
def test_one_layer_is_corrected_and_the_model_restored(index: int) -> None:
    """Of each kind of layer, on smooth images; its outputs come nearer to the dense ones."""
    model, masks = network(), pruned_and_dense().masks
    before = copy.deepcopy(model.state_dict())
    small = random(256, 3, 3, 3, seed=3).float()
    images = functional.interpolate(small, (10, 10), mode="bilinear")
    layers = {one.name: one for one in traced_layers(model, images[:2])}
    layer = layers[str(index)]
    batches = [(part, torch.zeros(len(part))) for part in images.split(64)]
    correction = LayerCorrection(model, layer, batches, seed=0)
    mask, weight = masks[layer.weight_name], layer.module.weight
    _, dense = input_and_output(model, layer.module, images)
    with torch.no_grad():
        weight.mul_(mask)
    _, pruned = input_and_output(model, layer.module, images)
    with correction(mask):
        assert bool((weight[~mask] == 0).all())
        _, corrected = input_and_output(model, layer.module, images)
        following = layer.norm or nn.Identity()
        corrected = following(corrected)
    after = model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    target = following(dense)
    assert (corrected - target).square().sum() < 0.9 * (following(pruned) - target).square().sum()

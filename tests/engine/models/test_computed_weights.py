"""Computed weights become plain parameters, and what stays dense is named."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm
from torch.utils.data import DataLoader, TensorDataset

from pruning_core.engine.models.computed_weights import unprunable_weights
from pruning_core.engine.models.layers import weights
from pruning_core.engine.pruning_strategies import OneShotPruning, PruningStrategy

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")
IMAGES = torch.randn(12, 6, 8, generator=torch.Generator().manual_seed(0))
LOADER = DataLoader(TensorDataset(IMAGES, torch.arange(12) % 3), batch_size=6)
Wrap = Callable[..., Any]


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight.abs() - 0.1


def doubled(layer: nn.Module, name: str = "weight") -> nn.Module:
    parametrize.register_parametrization(layer, name, Doubled())
    return layer


WRAPS = [
    weight_norm,
    spectral_norm,
    parametrizations.weight_norm,
    parametrizations.spectral_norm,
    parametrizations.orthogonal,
    doubled,
]


class Recurrent(nn.Module):
    def __init__(self, kind: Callable[..., nn.RNNBase], wrap: Wrap | None = None) -> None:
        super().__init__()
        self.body = kind(8, 12, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(24, 3)
        if wrap:
            wrap(self.body, "weight_hh_l0")

    def forward(self, batch: Tensor) -> Tensor:
        return self.head(self.body(batch)[0][:, -1])


class Attention(nn.Module):
    def __init__(self, **options: int) -> None:
        super().__init__()
        self.body = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.head = nn.Linear(8, 3)

    def forward(self, batch: Tensor) -> Tensor:
        return self.head(self.body(batch, batch, batch)[0].mean(1))


def convolutional(wrap: Wrap) -> nn.Sequential:
    layers = nn.Sequential(
        wrap(nn.Conv1d(6, 16, 3)), nn.ReLU(), nn.Flatten(), wrap(nn.Linear(96, 20)), nn.ReLU()
    )
    return layers.append(nn.Linear(20, 3))


def zero_shares(model: nn.Module) -> list[float]:
    return [float((w == 0).float().mean()) for w in weights(model, "all").values()]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("wrap", WRAPS, ids=lambda wrap: f"{wrap.__module__}.{wrap.__name__}")
def test_computed_weights_are_pruned_and_named(wrap: Wrap, frozen: bool) -> None:
    torch.manual_seed(0)
    model = convolutional(wrap)
    model(IMAGES)  # Old hooks leave a computed tensor, which `deepcopy` refuses.
    model[0].requires_grad_(not frozen)
    expected = model.eval()(IMAGES)
    one_shot = OneShotPruning(model, "cpu")
    with pytest.warns(UserWarning, match=r"plain parameters.*0\.weight \(.*3\.weight \("):
        one_shot.prune(0.0)
    torch.testing.assert_close(one_shot.model(IMAGES), expected)
    torch.testing.assert_close(model(IMAGES), expected)  # The given model stays as it is,
    twin = OneShotPruning(model, "cpu")  # and can be given again.
    with pytest.warns(UserWarning, match="plain parameters"):
        assert twin.prune(0.8) == pytest.approx(one_shot.prune(0.8))
    one_shot.prune(0.8, LOADER, 2)
    assert zero_shares(one_shot.model) == pytest.approx([0.8] * 3, abs=0.01)
    assert one_shot.model.get_parameter("0.weight").requires_grad is not frozen
    assert all(not name.endswith(("_g", "_v", "_u")) for name in one_shot.model.state_dict())


@pytest.mark.parametrize("wrap", [None, weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_pruned(kind: Callable[..., nn.RNNBase], wrap: Wrap | None) -> None:
    one_shot = OneShotPruning(Recurrent(kind, wrap), "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if wrap else "error")
        one_shot.prune(0.8, LOADER, 2)
    shares = zero_shares(one_shot.model)
    assert len(shares) == 9
    assert shares == pytest.approx([0.8] * 9, abs=0.02)
    with torch.no_grad():  # The layer computes with the pruned parameters, not with a copy.
        before = one_shot.model(IMAGES)
        one_shot.model.get_parameter("body.weight_hh_l0").zero_()
        assert not torch.equal(one_shot.model(IMAGES), before)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        (Attention(), 3),
        (Attention(kdim=8, vdim=8), 3),
        (nn.Sequential(nn.Flatten(), nn.GRUCell(48, 3)), 2),
    ],
)
def test_attention_and_recurrent_cells_are_pruned(model: nn.Module, count: int) -> None:
    one_shot = OneShotPruning(model, "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one_shot.prune(0.75, LOADER, 1)
    assert zero_shares(one_shot.model) == pytest.approx([0.75] * count, abs=0.01)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("wrap", [torch.jit.script, torch.compile, nn.DataParallel])
def test_wrapped_models_are_copied_pruned_and_trained(wrap: Wrap) -> None:
    options = {"backend": "eager"} if wrap is torch.compile else {}
    model = wrap(convolutional(lambda layer: layer), **options)
    one_shot = OneShotPruning(model, "cpu")
    one_shot.prune(0.0, LOADER, 1)
    trained = [value.clone() for value in one_shot.model.parameters()]
    one_shot.prune(0.8, LOADER, 2)
    assert zero_shares(one_shot.model) == pytest.approx([0.8] * 3, abs=0.01)
    assert zero_shares(model) == [0.0] * 3
    assert all(bool((a != b).any()) for a, b in zip(trained, model.parameters(), strict=True))
    pruner = PruningStrategy(model, "cpu")
    pruner.fine_tune(LOADER)
    assert zero_shares(pruner.model) == [0.0] * 3


class Mixed(nn.Module):
    """Weights that no pruning step reaches, beside one that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.table = nn.Parameter(torch.ones(3, 4))
        self.scale = nn.Parameter(torch.ones(1, 1, 4))
        self.fixed = nn.Linear(4, 4)
        values = self.fixed.weight.detach()
        del self.fixed.weight
        self.fixed.register_buffer("weight", values)
        self.head = nn.Linear(4, 2)


def test_weights_that_stay_dense_are_named() -> None:
    one_shot = OneShotPruning(Mixed(), "cpu")
    with pytest.warns(UserWarning, match=r"dense: table, embedding\.weight and fixed\.weight\. "):
        one_shot.prune(0.5)
    assert unprunable_weights(convolutional(lambda layer: layer)) == []


def test_zeros_of_a_hook_on_a_part_of_a_computed_weight_stay() -> None:
    layer = weight_norm(nn.Linear(8, 3))
    prune.l1_unstructured(layer, "weight_v", amount=0.5)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), layer)
    one_shot = OneShotPruning(model, "cpu")
    with pytest.warns(UserWarning, match=r"2\.weight \(12 of 24\)"):
        one_shot.prune(0.25, LOADER, 1)
    assert zero_shares(one_shot.model) == pytest.approx([0.25, 0.5])


@pytest.mark.parametrize("kept", [{}, [], None])
def test_models_that_keep_features_of_a_forward_pass_are_copied(kept: Any) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    attribute: dict[str, Any] = {"kept": kept}
    attribute["itself"] = attribute
    model.attribute = attribute  # type: ignore[assignment]

    def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
        if isinstance(kept, dict):
            kept["features"] = [output]
        elif isinstance(kept, list):
            kept.append((output,))
        else:
            module.kept = output

    model[1].register_forward_hook(keep)
    expected = model(IMAGES)
    assert torch.equal(OneShotPruning(model, "cpu").model(IMAGES), expected)


@pytest.mark.parametrize("suffix", ["_orig", "_raw"])
def test_weights_that_a_hook_of_the_user_computes_stay_dense_and_are_named(suffix: str) -> None:
    """Zeros of the parameter behind such a weight need not be zeros of the weight."""
    layer = nn.Linear(48, 8)
    source = layer._parameters.pop("weight")
    layer.register_parameter(f"weight{suffix}", source)

    def centre(module: nn.Module, inputs: Any) -> None:
        parameter = module.get_parameter(f"weight{suffix}")
        module.weight = parameter - parameter.mean(1, keepdim=True)

    layer.register_forward_pre_hook(centre)
    model = nn.Sequential(nn.Flatten(), layer, nn.Linear(8, 3))
    model(IMAGES)
    one_shot = OneShotPruning(model, "cpu")
    with pytest.warns(UserWarning, match=r"stay dense: 1\.weight"):
        one_shot.prune(0.5, LOADER, 1)
    assert zero_shares(one_shot.model) == [0.5]


@pytest.mark.parametrize("wrap", [weight_norm, parametrizations.weight_norm])
def test_zeros_of_a_computed_weight_stay_in_fine_tuning(wrap: Wrap) -> None:
    layer = nn.Linear(48, 3)
    prune.remove(prune.l1_unstructured(layer, "weight", amount=0.5), "weight")
    pruner = PruningStrategy(nn.Sequential(nn.Flatten(), wrap(layer)), "cpu")
    with (
        pytest.warns(UserWarning, match=r"plain parameters.*1\.weight"),
        pytest.warns(UserWarning, match=r"zero before: 1\.weight \(72 of 144\)"),
    ):
        pruner.fine_tune(LOADER)
    assert zero_shares(pruner.model) == [0.5]


def test_fine_tuning_leaves_a_dense_computed_weight_computed() -> None:
    pruner = PruningStrategy(convolutional(parametrizations.weight_norm), "cpu")
    pruner.fine_tune(LOADER)
    assert parametrize.is_parametrized(pruner.model.get_submodule("0"), "weight")

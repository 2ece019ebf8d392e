"""Sensitivity analysis by dependency group: coupled channels are removed from a copy."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch_pruning as tp
from torch import nn

from pruning_core.common.paths import Cache
from pruning_core.engine.analysis.group_sensitivity import GroupPruner
from pruning_core.engine.models.build import make
from pruning_core.engine.structured.groups import trace
from pruning_core.engine.structured.importance import ImportanceInputs
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.planning.plan import plan
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.stage import Stage
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.results.sensitivity import read_sensitivity
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec
from pruning_core.storage.job_progress import job_progress
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.helpers.workers import TINY, serve

SIZE = 32


class Coupled(nn.Module):
    """Two branches of 8 channels that are added, so both must lose the same channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        summed = self.first(images) + self.second(images)
        return self.head(summed.mean((2, 3)))


def pruner_of(model: nn.Module, name: str, importance: str = "magnitude_l2") -> GroupPruner:
    scorer = CHANNEL_IMPORTANCES.load(importance)(
        ImportanceInputs(model, generator=torch.Generator().manual_seed(0))
    )
    return GroupPruner(model, name, SIZE, scorer)


def test_the_lowest_channels_are_removed_from_all_coupled_layers() -> None:
    """By hand: a channel has 4 weights in each branch and 10 in the head."""
    torch.manual_seed(0)
    model = Coupled().eval()
    with torch.no_grad():
        for layer in (model.first, model.second):
            layer.weight[[2, 5]] *= 1e-3
    pruner = pruner_of(model, "first")
    assert pruner.prune(0.25) == 2 * (4 + 4 + 10)
    kept = [0, 1, 3, 4, 6, 7]
    pruned = pruner.pruned
    assert isinstance(pruned, Coupled)
    assert torch.equal(pruned.first.weight, model.first.weight[kept])
    assert torch.equal(pruned.second.weight, model.second.weight[kept])
    assert torch.equal(pruned.head.weight, model.head.weight[:, kept])


def test_each_call_prunes_the_original_model() -> None:
    torch.manual_seed(0)
    model = make("resnet18", 10, image_size=SIZE).eval()
    before = copy.deepcopy(model.state_dict())
    pruner = pruner_of(model, "conv1")
    first = pruner.prune(0.5)
    pruner.prune(0.75)
    assert pruner.prune(0.5) == first > 0
    assert len(pruner.pruned.get_parameter("conv1.weight")) == 32
    assert pruner.pruned(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 10)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("sparsity", [0.001, 0.999])
def test_a_group_keeps_a_channel_and_a_tiny_sparsity_removes_none(sparsity: float) -> None:
    pruner = pruner_of(Coupled().eval(), "first")
    removed = pruner.prune(sparsity)
    assert len(pruner.pruned.get_parameter("first.weight")) == (8 if sparsity < 0.5 else 1)
    assert (removed == 0) == (sparsity < 0.5)


def test_attention_heads_lose_the_same_channels() -> None:
    torch.manual_seed(0)
    model = make("vit_b_16", 10, image_size=SIZE).eval()
    stream = next(group.name for group in trace(model, SIZE).groups if group.parts == 12)
    pruner = pruner_of(model, stream)
    pruner.prune(0.5)
    attention = next(m for m in pruner.pruned.modules() if isinstance(m, nn.MultiheadAttention))
    assert (attention.embed_dim, attention.num_heads) == (384, 12)


SPEC = replace(
    TINY,
    sensitivity=SensitivitySpec(sparsities=(0.25, 0.5), images=20, unit="dependency_group"),
    baseline_epochs=1,
)


def sensitivity_stages(spec: Spec, store: Store | Facts) -> list[Stage]:
    return [stage for stage in plan(spec, store).stages if stage.kind == "sensitivity"]


@pytest.fixture(scope="module")
def analyzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, Spec]:
    """A finished analysis by groups, with an importance that uses images."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.prepare()
    structured = replace(SPEC.structured, channel_importance="taylor")
    spec = sensitivity_only(replace(SPEC, structured=structured))
    job = Queue(cache.queue).submit(spec, "sensitivity")
    serve(cache, STAGE_KINDS)
    assert job_progress(Queue(cache.queue), job).state == "done"
    return cache, spec


def test_all_groups_that_can_be_pruned_are_analyzed_in_the_order_of_the_model(
    analyzed: tuple[Cache, Spec],
) -> None:
    cache, spec = analyzed
    frame = read_sensitivity(spec, Store(cache))
    names = list(dict.fromkeys(frame["layer"]))
    assert names[0] == "features.1.conv.0.0"
    assert names[-1] == "features.18.0"
    assert "classifier.1" not in names
    assert set(frame["size_unit"]) == {"channels"}
    assert (frame[frame["sparsity"] == 0.0].groupby("layer").size() == 1).all()
    assert (frame[frame["sparsity"] > 0]["removed"] > 0).all()
    assert frame[frame["sparsity"] == 0.0]["accuracy"].nunique() == 1


def test_its_stages_depend_on_the_baseline_and_differ_from_those_of_layers(
    analyzed: tuple[Cache, Spec],
) -> None:
    cache, spec = analyzed
    store = Store(cache)
    run = replace(spec, sensitivity=replace(spec.sensitivity, enabled=True), one_shot=TINY.one_shot)
    assert {s.key for s in sensitivity_stages(run, store)} == {
        s.key for s in sensitivity_stages(spec, store)
    }
    layers = replace(spec, sensitivity=replace(spec.sensitivity, unit="layer"))
    assert not {s.key for s in sensitivity_stages(layers, store)} & {
        s.key for s in sensitivity_stages(spec, store)
    }


def test_the_number_of_images_matters_only_to_an_importance_that_uses_images(
    analyzed: tuple[Cache, Spec],
) -> None:
    cache, spec = analyzed

    def keys(importance: str, images: int) -> set[str]:
        structured = replace(spec.structured, channel_importance=importance)
        changed = replace(
            spec, structured=structured, pruning=replace(spec.pruning, calibration_images=images)
        )
        return {stage.key for stage in plan(changed, Store(cache)).stages}

    for name, choice in CHANNEL_IMPORTANCES.items():
        assert (keys(name, 64) == keys(name, 128)) != choice.uses_images


def test_the_recovery_method_does_not_prevent_an_analysis_by_groups() -> None:
    """A schedule over iterative pruning, which is off: with structured pruning it is refused."""
    one_shot = replace(SPEC, iterative=replace(SPEC.iterative, enabled=False))
    spec = replace(one_shot, recovery=RecoverySpec("lr_rewinding"), lr_schedule_span="pruning")
    spec = replace(spec, sensitivity=replace(spec.sensitivity, enabled=True))
    kinds = [stage.kind for stage in plan(spec, Facts(spec)).stages]
    assert kinds == ["inspect_dataset", "inspect_model", "inspect_groups"]


def test_torch_pruning_finds_the_same_coupled_layers() -> None:
    """Pruning the same channels with it gives the same widths."""
    torch.manual_seed(0)
    model = make("resnet18", 10, image_size=SIZE).eval()
    pruner = pruner_of(model, "conv1")
    pruner.prune(0.5)
    other = copy.deepcopy(model)
    image = torch.zeros(1, 3, SIZE, SIZE)
    graph = tp.DependencyGraph().build_dependency(other, image)
    graph.get_pruning_group(
        other.conv1, tp.prune_conv_out_channels, list(range(32))
    ).prune()  # the widths do not depend on which channels are removed
    shapes = {name: value.shape for name, value in other.state_dict().items()}
    assert {name: value.shape for name, value in pruner.pruned.state_dict().items()} == shapes

"""The sensitivity scan of coupled groups: what is coupled goes together, from a copy."""

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
from pruning_core.engine.structured.importance import IMPORTANCES, Sight
from pruning_core.methods.channel_importance import CHANNEL_IMPORTANCES
from pruning_core.planning.plan import plan
from pruning_core.planning.sensitivity import sensitivity_only
from pruning_core.planning.stage import Stage
from pruning_core.results.sensitivity import read_scan
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.spec import Spec
from pruning_core.storage.job_progress import standing
from pruning_core.storage.jobs import Queue
from pruning_core.storage.store import Store
from tests.helpers.inspections import Facts
from tests.helpers.workers import TINY, serve

SIZE = 32


class Coupled(nn.Module):
    """Two branches of 8 channels that are added up, so that both must lose the same ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(3, 8, 1)
        self.head = nn.Linear(8, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        summed = self.first(images) + self.second(images)
        return self.head(summed.mean((2, 3)))


def cuts_of(model: nn.Module, name: str, importance: str = "magnitude_l2") -> GroupPruner:
    scorer = IMPORTANCES[importance](Sight(model, generator=torch.Generator().manual_seed(0)))
    return GroupPruner(model, name, SIZE, scorer)


def test_a_cut_takes_the_weakest_channels_out_of_every_coupled_layer() -> None:
    """By hand: a channel has 4 weights in each branch and 10 in the head."""
    torch.manual_seed(0)
    model = Coupled().eval()
    with torch.no_grad():
        for layer in (model.first, model.second):
            layer.weight[[2, 5]] *= 1e-3
    cuts = cuts_of(model, "first")
    assert cuts.cut(0.25) == 2 * (4 + 4 + 10)
    stay = [0, 1, 3, 4, 6, 7]
    assert torch.equal(cuts.now.first.weight, model.first.weight[stay])
    assert torch.equal(cuts.now.second.weight, model.second.weight[stay])
    assert torch.equal(cuts.now.head.weight, model.head.weight[:, stay])


def test_each_cut_is_of_the_model_as_it_was() -> None:
    torch.manual_seed(0)
    model = make("resnet18", 10, image_size=SIZE).eval()
    before = copy.deepcopy(model.state_dict())
    cuts = cuts_of(model, "conv1")
    first = cuts.cut(0.5)
    cuts.cut(0.75)
    assert cuts.cut(0.5) == first > 0
    assert cuts.now.conv1.out_channels == 32
    assert cuts.now(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 10)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_group_keeps_a_channel_and_a_share_of_none_removes_none(share: float) -> None:
    cuts = cuts_of(Coupled().eval(), "first")
    removed = cuts.cut(share)
    assert cuts.now.first.out_channels == (8 if share < 0.5 else 1)
    assert (removed == 0) == (share < 0.5)


def test_the_heads_of_attention_lose_alike() -> None:
    torch.manual_seed(0)
    model = make("vit_b_16", 10, image_size=SIZE).eval()
    stream = next(group.name for group in trace(model, SIZE).groups if group.parts == 12)
    cuts = cuts_of(model, stream)
    cuts.cut(0.5)
    attention = next(m for m in cuts.now.modules() if isinstance(m, nn.MultiheadAttention))
    assert (attention.embed_dim, attention.num_heads) == (384, 12)


SCAN = replace(
    TINY,
    sensitivity=SensitivitySpec(sparsities=(0.25, 0.5), images=20, unit="dependency_group"),
    baseline_epochs=1,
)


def scans(spec: Spec, store: Store | Facts) -> list[Stage]:
    return [stage for stage in plan(spec, store).stages if stage.kind == "sensitivity"]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, Spec]:
    """A scan by groups, finished by a worker that looked at images for the scores."""
    cache = Cache(tmp_path_factory.mktemp("cache"))
    cache.prepare()
    own = replace(SCAN.structured, channel_importance="taylor")
    spec = sensitivity_only(replace(SCAN, structured=own))
    job = Queue(cache.queue).submit(spec, "sensitivity")
    serve(cache)
    assert standing(Queue(cache.queue), job).state == "done"
    return cache, spec


def test_every_group_that_can_be_cut_is_scanned_in_the_order_of_the_model(
    scanned: tuple[Cache, Spec],
) -> None:
    cache, spec = scanned
    found = read_scan(spec, Store(cache))
    names = list(dict.fromkeys(found["layer"]))
    assert names[0] == "features.1.conv.0.0"
    assert names[-1] == "features.18.0"
    assert "classifier.1" not in names
    assert set(found["of"]) == {"channels"}
    assert (found[found["sparsity"] == 0.0].groupby("layer").size() == 1).all()
    assert (found[found["sparsity"] > 0]["removed"] > 0).all()
    assert found[found["sparsity"] == 0.0]["accuracy"].nunique() == 1


def test_its_stages_hang_off_the_baseline_and_differ_from_those_of_layers(
    scanned: tuple[Cache, Spec],
) -> None:
    cache, spec = scanned
    store = Store(cache)
    within = replace(
        spec, sensitivity=replace(spec.sensitivity, enabled=True), one_shot=TINY.one_shot
    )
    assert {s.key for s in scans(within, store)} == {s.key for s in scans(spec, store)}
    layers = replace(spec, sensitivity=replace(spec.sensitivity, unit="layer"))
    assert not {s.key for s in scans(layers, store)} & {s.key for s in scans(spec, store)}


def test_only_an_importance_that_looks_at_images_depends_on_how_many(
    scanned: tuple[Cache, Spec],
) -> None:
    cache, spec = scanned

    def keys(importance: str, images: int) -> set[str]:
        own = replace(spec.structured, channel_importance=importance)
        made = replace(
            spec, structured=own, pruning=replace(spec.pruning, calibration_images=images)
        )
        return {stage.key for stage in plan(made, Store(cache)).stages}

    for name, choice in CHANNEL_IMPORTANCES.items():
        assert (keys(name, 64) == keys(name, 128)) != choice.images


def test_how_a_run_recovers_does_not_keep_its_groups_from_being_scanned() -> None:
    """One curve over a chain that is off: with a cut of channels it would be refused."""
    alone = replace(SCAN, iterative=replace(SCAN.iterative, enabled=False))
    spec = replace(alone, recovery=RecoverySpec("lr_rewinding"), lr_schedule_span="pruning")
    spec = replace(spec, sensitivity=replace(spec.sensitivity, enabled=True))
    kinds = [stage.kind for stage in plan(spec, Facts(spec)).stages]
    assert kinds == ["inspect_dataset", "inspect_model", "inspect_groups"]


def test_torch_pruning_agrees_on_what_is_coupled() -> None:
    """Its own pruning of the same channels gives the same widths."""
    torch.manual_seed(0)
    model = make("resnet18", 10, image_size=SIZE).eval()
    cuts = cuts_of(model, "conv1")
    cuts.cut(0.5)
    other = copy.deepcopy(model)
    image = torch.zeros(1, 3, SIZE, SIZE)
    graph = tp.DependencyGraph().build_dependency(other, image)
    graph.get_pruning_group(
        other.conv1, tp.prune_conv_out_channels, list(range(32))
    ).prune()  # the widths do not depend on which go
    shapes = {name: value.shape for name, value in other.state_dict().items()}
    assert {name: value.shape for name, value in cuts.now.state_dict().items()} == shapes

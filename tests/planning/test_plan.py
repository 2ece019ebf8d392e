"""The graph of stages and its keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.planning import plan as plans
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import OneShotSpec
from tests.helpers.inspections import DATA, Facts


def planned(spec: Spec) -> Plan:
    return plans.plan(spec, Facts(spec))


def levels(plan: Plan) -> list[Stage]:
    return [stage for stage in plan.stages if stage.kind == "pruned"]


def keys(spec: Spec, strategy: str) -> list[str]:
    return [point.key for point in planned(spec).models if point.strategy == strategy]


def test_pinned_keys() -> None:
    """A key that changes makes every cached result unreachable: change these on purpose only."""
    found = {(p.strategy, p.iteration, p.target): p.key for p in planned(Spec()).models}
    assert found["baseline", 0, 0.0][:16] == "c22ec97a8d1593dc"
    assert found["one_shot", 0, 0.5][:16] == "9695566e49946f72"
    assert found["iterative", 5, 0.9][:16] == "532e45cf0f91d50e"


def test_before_the_inspections_there_is_only_what_to_inspect() -> None:
    class Empty(Facts):
        def exists(self, key: str) -> bool:
            return False

    plan = plans.plan(QUICKSTART, Empty(QUICKSTART))
    assert [stage.kind for stage in plan.stages] == ["inspect_dataset"]
    assert not plan.complete


def test_one_shot_hangs_off_one_baseline_and_iterative_is_a_chain() -> None:
    plan = planned(QUICKSTART)
    parents = {stage.key: stage.parent for stage in plan.stages}
    base = keys(QUICKSTART, "baseline")[0]
    assert {parents[key] for key in keys(QUICKSTART, "one_shot")} == {base}
    chain = keys(QUICKSTART, "iterative")
    assert [parents[key] for key in chain] == [base, *chain[:-1]]
    assert len(keys(QUICKSTART, "one_shot_equal_budget")) == 1


def test_parents_come_first() -> None:
    seen: set[str] = {""}
    for stage in planned(QUICKSTART).stages:
        assert stage.parent in seen
        seen.add(stage.key)


def test_matched_has_the_budget_of_the_chain() -> None:
    plan = planned(QUICKSTART)
    stages = {stage.key: stage for stage in plan.stages}
    equal_budget = stages[keys(QUICKSTART, "one_shot_equal_budget")[0]]
    chain = [stages[key] for key in keys(QUICKSTART, "iterative")]
    assert equal_budget.settings["epochs"] == sum(stage.settings["epochs"] for stage in chain)
    assert equal_budget.settings["target"] == chain[-1].settings["target"] == "0.9"


CHANGES: list[tuple[str, Callable[[Spec], Spec], bool, bool]] = [
    # what is changed, how, whether the baseline's key changes, whether the levels' keys do
    ("label", lambda s: replace(s, label="other"), False, False),
    ("amount", lambda s: replace(s, one_shot=replace(s.one_shot, amounts=(0.1,))), False, True),
    ("scope", lambda s: replace(s, pruning=PruningSpec(allocation="global")), False, True),
    (
        "norm unread",
        lambda s: replace(s, pruning=PruningSpec(filter_norm="1", filter_dim=1)),
        False,
        False,
    ),
    (
        "table unread",
        lambda s: replace(s, pruning=PruningSpec(layer_sparsities=("*=0.5",))),
        False,
        False,
    ),
    ("floor unread", lambda s: replace(s, pruning=PruningSpec(min_density=0.2)), False, False),
    ("exclude", lambda s: replace(s, pruning=PruningSpec(exclude=("stem",))), False, True),
    ("kernel", lambda s: replace(s, pruning=PruningSpec(granularity="kernel")), False, True),
    ("rate", lambda s: replace(s, finetune=replace(s.finetune, lr=0.5)), False, True),
    ("rounding", lambda s: replace(s, finetune=replace(s.finetune, lr=0.02 + 1e-9)), False, False),
    ("epochs", lambda s: replace(s, baseline_epochs=3), True, True),
    ("seed", lambda s: replace(s, seeds=(7,)), True, True),
    ("threads", lambda s: replace(s, finetune_threads=2), False, True),
    ("size", lambda s: replace(s, data=replace(s.data, train_size=100)), True, True),
]


@pytest.mark.parametrize(("name", "change", "baseline", "level"), CHANGES)
def test_a_key_follows_what_can_change_the_result(
    name: str, change: Callable[[Spec], Spec], baseline: bool, level: bool
) -> None:
    changed = change(QUICKSTART)
    assert (keys(changed, "baseline") != keys(QUICKSTART, "baseline")) == baseline
    assert (keys(changed, "one_shot") != keys(QUICKSTART, "one_shot")) == level


def test_what_is_read_is_in_the_key() -> None:
    def key(**settings: object) -> list[str]:
        pruning = PruningSpec(**{"exclude": ("stem",), **settings})  # type: ignore[arg-type]
        return keys(replace(QUICKSTART, pruning=pruning), "one_shot")

    def filters(norm: str) -> list[str]:
        return key(granularity="filter", filter_norm=norm)

    assert filters("1") != filters("2") == filters("2.0")
    assert key(allocation="custom", layer_sparsities=("*=0.5",)) != key(
        allocation="custom", layer_sparsities=("*=0.6",)
    )


def test_where_nothing_goes_only_the_layers_are_read() -> None:
    """The dense control is shared by all criteria, scopes and pieces."""

    def control(pruning: PruningSpec) -> str:
        return keys(replace(QUICKSTART, pruning=pruning), "one_shot")[0]

    plain = control(PruningSpec())
    assert (
        control(PruningSpec(criterion="taylor", allocation="lamp", calibration_images=9)) == plain
    )
    assert control(PruningSpec(granularity="kernel")) == plain
    assert control(PruningSpec(exclude=("stem",))) != plain != control(PruningSpec(layers="core"))


@pytest.mark.parametrize(("criterion", "read"), [("magnitude", False), ("wanda", True)])
def test_where_nothing_is_trained_only_how_images_are_taken_is_read(
    criterion: str, read: bool
) -> None:
    def cut(**training: object) -> str:
        finetune = replace(QUICKSTART.finetune, **training)  # type: ignore[arg-type]
        spec = replace(QUICKSTART, finetune=finetune, pruning=PruningSpec(criterion=criterion))
        return keys(replace(spec, one_shot=OneShotSpec((0.5,), 0)), "one_shot")[0]

    assert cut(lr=0.5, optimizer="adam", label_smoothing=0.2) == cut()
    assert (cut(batch_size=16) != cut()) == read


def test_one_key_has_one_target() -> None:
    """A typed amount that only looks like a step of the schedule is another stage."""
    typed = replace(QUICKSTART.one_shot, amounts=(0.369043,))
    spec = replace(QUICKSTART, one_shot=typed, iterative=replace(QUICKSTART.iterative, epochs=2))
    assert keys(spec, "one_shot")[0] != keys(spec, "iterative")[0]


def test_a_data_set_is_its_content() -> None:
    """Another digest is another key; another name for the same content is not."""
    spec = QUICKSTART
    other = Facts(spec, {**DATA, "digest": "e" * 64})
    assert plans.plan(spec, other).models[0].key != planned(spec).models[0].key
    renamed = replace(spec, data=replace(spec.data, name="mnist"))
    same = plans.plan(renamed, Facts(renamed))
    assert same.models[0].key == planned(spec).models[0].key


def test_several_seeds_repeat_the_whole_comparison() -> None:
    spec = replace(QUICKSTART, seeds=(0, 1, 2))
    plan = planned(spec)
    assert len(plan.models) == 3 * len(planned(QUICKSTART).models)
    assert {point.seed for point in plan.models} == {0, 1, 2}


def test_more_images_than_there_are_is_refused() -> None:
    spec = replace(QUICKSTART, data=replace(QUICKSTART.data, train_size=1438))
    with pytest.raises(SpecError, match=r"train_size.*1,438.*1,437"):
        planned(spec)


@pytest.mark.parametrize(
    ("name", "train_size", "field"),
    [("images", 0, "data.path"), ("images", 40, "data.path"), ("digits", 0, "data.name")],
)
def test_a_class_too_small_to_validate_is_named(
    tmp_path: Path, name: str, train_size: int, field: str
) -> None:
    counts = [144] * 9 + [1]
    facts = {**DATA, "classes": [*"abcdefghi", "cat"], "train_counts": counts}
    path = str(tmp_path) if name == "images" else ""
    data = replace(QUICKSTART.data, name=name, path=path, train_size=train_size)
    spec = replace(QUICKSTART, data=data)
    with pytest.raises(SpecError, match="class 'cat' has a single training image") as caught:
        plans.plan(spec, Facts(spec, facts))
    assert caught.value.field == field
    two = {**facts, "train_counts": [144] * 9 + [2]}
    assert plans.plan(spec, Facts(spec, two)).complete


def test_a_cut_below_the_floor_is_refused() -> None:
    pruning = PruningSpec(allocation="global", min_density=0.2)
    with pytest.raises(SpecError, match=r"at most .* can go"):
        planned(replace(QUICKSTART, pruning=pruning))


def test_the_floor_counts_in_whole_weights() -> None:
    """Ten and 990 weights, 5 % kept of each: 1 and 50, so 949 of 1,000 can go, not 950."""
    pruning = PruningSpec(allocation="global", min_density=0.05)
    shallow = replace(QUICKSTART.iterative, target=0.949)
    deep = replace(QUICKSTART.iterative, target=0.95)
    assert planned(replace(QUICKSTART, pruning=pruning, iterative=shallow)).complete
    with pytest.raises(SpecError, match=r"94\.90%"):
        planned(replace(QUICKSTART, pruning=pruning, iterative=deep))


def test_a_chain_curve_covers_the_whole_chain() -> None:
    spec = replace(QUICKSTART, lr_schedule_span="pruning")
    stages = {stage.key: stage for stage in planned(spec).stages}
    chain = [stages[key].settings for key in keys(spec, "iterative")]
    assert [s["lr_from_epoch"] for s in chain] == [0, 2, 4, 6, 8]
    assert {s["lr_epochs"] for s in chain} == {10}
    assert [s["keep_optimizer"] for s in chain] == [True] * 4 + [False]


def test_weights_stand_by_their_content(tmp_path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"same")
    second.write_bytes(b"same")
    assert plans.weights_identity(str(first)) == plans.weights_identity(str(second))
    second.write_bytes(b"other bytes")
    assert plans.weights_identity(str(first)) != plans.weights_identity(str(second))
    with pytest.raises(SpecError, match=r"model\.weights"):
        plans.weights_identity(str(tmp_path / "none"))

"""The graph of stages and its keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pruning_core.common.errors import SpecError
from pruning_core.common.files import weights_identity
from pruning_core.planning import plan as plan_module
from pruning_core.planning.inspections import BrokenImages
from pruning_core.planning.plan import plan
from pruning_core.planning.presets import QUICKSTART
from pruning_core.planning.stage import Plan, Stage
from pruning_core.settings.data import DataSpec
from pruning_core.settings.messages import for_command_line, for_page
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import OneShotSpec
from pruning_core.storage.job_record import job_id
from tests.helpers.inspections import DATA, Facts


def planned(spec: Spec) -> Plan:
    return plan(spec, Facts(spec))


def keys(spec: Spec, strategy: str) -> list[str]:
    return [model.key for model in planned(spec).models if model.strategy == strategy]


def test_before_the_inspections_a_plan_has_the_first_inspection_only() -> None:
    class Empty(Facts):
        def exists(self, key: str) -> bool:
            return False

    inspections = plan(QUICKSTART, Empty(QUICKSTART))
    assert [stage.kind for stage in inspections.stages] == ["inspect_dataset"]
    assert not inspections.complete


def test_one_shot_models_start_from_one_baseline_and_iterative_steps_are_a_chain() -> None:
    parents = {stage.key: stage.parent for stage in planned(QUICKSTART).stages}
    base = keys(QUICKSTART, "baseline")[0]
    assert {parents[key] for key in keys(QUICKSTART, "one_shot")} == {base}
    chain = keys(QUICKSTART, "iterative")
    assert [parents[key] for key in chain] == [base, *chain[:-1]]
    assert len(keys(QUICKSTART, "one_shot_equal_budget")) == 1


def test_parents_come_first() -> None:
    earlier: set[str] = {""}
    for stage in planned(QUICKSTART).stages:
        assert stage.parent in earlier
        earlier.add(stage.key)


def test_equal_budget_has_the_epochs_of_the_iterative_run() -> None:
    stages = {stage.key: stage for stage in planned(QUICKSTART).stages}
    equal_budget = stages[keys(QUICKSTART, "one_shot_equal_budget")[0]]
    chain = [stages[key] for key in keys(QUICKSTART, "iterative")]
    assert equal_budget.settings["epochs"] == sum(stage.settings["epochs"] for stage in chain)
    assert equal_budget.settings["target"] == chain[-1].settings["target"] == "0.9"


CHANGES: list[tuple[str, Callable[[Spec], Spec], bool, bool]] = [
    # the change, whether it changes the baseline's key, whether it changes the other keys
    ("label", lambda s: replace(s, label="other"), False, False),
    ("sparsity", lambda s: replace(s, one_shot=replace(s.one_shot, amounts=(0.1,))), False, True),
    ("allocation", lambda s: replace(s, pruning=PruningSpec(allocation="global")), False, True),
    (
        "filter norm without filters",
        lambda s: replace(s, pruning=PruningSpec(filter_norm="1", filter_dim=1)),
        False,
        False,
    ),
    (
        "custom sparsities without their allocation",
        lambda s: replace(s, pruning=PruningSpec(layer_sparsities=("*=0.5",))),
        False,
        False,
    ),
    (
        "minimum density with uniform allocation",
        lambda s: replace(s, pruning=PruningSpec(min_density=0.2)),
        False,
        False,
    ),
    ("exclude", lambda s: replace(s, pruning=PruningSpec(exclude=("stem",))), False, True),
    ("kernel", lambda s: replace(s, pruning=PruningSpec(granularity="kernel")), False, True),
    ("rate", lambda s: replace(s, finetune=replace(s.finetune, lr=0.5)), False, True),
    ("rounding", lambda s: replace(s, finetune=replace(s.finetune, lr=0.02 + 1e-9)), False, False),
    ("epochs", lambda s: replace(s, baseline_epochs=3), True, True),
    ("seed", lambda s: replace(s, seeds=(7,)), True, True),
    ("replicas", lambda s: replace(s, finetune_replicas=2), False, True),
    ("size", lambda s: replace(s, data=replace(s.data, train_size=100)), True, True),
]


@pytest.mark.parametrize(("name", "change", "baseline", "pruned"), CHANGES)
def test_a_key_has_the_settings_that_can_change_the_result(
    name: str, change: Callable[[Spec], Spec], baseline: bool, pruned: bool
) -> None:
    changed = change(QUICKSTART)
    assert (keys(changed, "baseline") != keys(QUICKSTART, "baseline")) == baseline
    assert (keys(changed, "one_shot") != keys(QUICKSTART, "one_shot")) == pruned


def test_settings_with_an_effect_are_in_the_key() -> None:
    def key(**settings: object) -> list[str]:
        pruning = PruningSpec(**{"exclude": ("stem",), **settings})  # type: ignore[arg-type]
        return keys(replace(QUICKSTART, pruning=pruning), "one_shot")

    def filters(norm: str) -> list[str]:
        return key(granularity="filter", filter_norm=norm)

    assert filters("1") != filters("2") == filters("2.0")
    assert key(allocation="custom", layer_sparsities=("*=0.5",)) != key(
        allocation="custom", layer_sparsities=("*=0.6",)
    )


def test_at_sparsity_0_only_the_layers_are_in_the_key() -> None:
    """All criteria, allocations and granularities share the dense control."""

    def control(pruning: PruningSpec) -> str:
        return keys(replace(QUICKSTART, pruning=pruning), "one_shot")[0]

    plain = control(PruningSpec())
    assert (
        control(PruningSpec(criterion="taylor", allocation="lamp", calibration_images=9)) == plain
    )
    assert control(PruningSpec(granularity="kernel")) == plain
    assert control(PruningSpec(exclude=("stem",))) != plain != control(PruningSpec(layers="core"))


@pytest.mark.parametrize(("criterion", "images"), [("magnitude", False), ("wanda", True)])
def test_without_training_only_the_batches_of_calibration_images_are_in_the_key(
    criterion: str, images: bool
) -> None:
    def untrained(**training: object) -> str:
        finetune = replace(QUICKSTART.finetune, **training)  # type: ignore[arg-type]
        spec = replace(QUICKSTART, finetune=finetune, pruning=PruningSpec(criterion=criterion))
        return keys(replace(spec, one_shot=OneShotSpec((0.5,), 0)), "one_shot")[0]

    assert untrained(lr=0.5, optimizer="adam", label_smoothing=0.2) == untrained()
    assert (untrained(batch_size=16) != untrained()) == images


def test_one_key_has_one_target() -> None:
    """A sparsity that equals a rounded step of the schedule is another stage."""
    rounded = replace(QUICKSTART.one_shot, amounts=(0.369043,))
    spec = replace(QUICKSTART, one_shot=rounded, iterative=replace(QUICKSTART.iterative, epochs=2))
    assert keys(spec, "one_shot")[0] != keys(spec, "iterative")[0]


def test_a_data_set_enters_the_key_by_its_content() -> None:
    """Another digest is another key; another name for the same content is not."""
    spec = QUICKSTART
    other = Facts(spec, {**DATA, "digest": "e" * 64})
    assert plan(spec, other).models[0].key != planned(spec).models[0].key
    renamed = replace(spec, data=replace(spec.data, name="mnist"))
    same = plan(renamed, Facts(renamed))
    assert same.models[0].key == planned(spec).models[0].key


def test_several_seeds_repeat_the_whole_comparison() -> None:
    spec = replace(QUICKSTART, seeds=(0, 1, 2))
    models = planned(spec).models
    assert len(models) == 3 * len(planned(QUICKSTART).models)
    assert {model.seed for model in models} == {0, 1, 2}


@pytest.mark.parametrize(("part", "size", "needed"), [("train", 19, 20), ("test", 9, 10)])
def test_too_few_images_for_the_classes_are_refused(part: str, size: int, needed: int) -> None:
    def with_size(images: int) -> Spec:
        sizes: dict[str, Any] = {f"{part}_size": images}
        return replace(QUICKSTART, data=replace(QUICKSTART.data, **sizes))

    with pytest.raises(SpecError, match=f"{size} is too low: at least {needed}") as caught:
        planned(with_size(size))
    assert caught.value.field == f"data.{part}_size"
    assert planned(with_size(needed)).complete


def test_more_images_than_available_are_refused() -> None:
    spec = replace(QUICKSTART, data=replace(QUICKSTART.data, train_size=1438))
    with pytest.raises(
        SpecError, match=r"train_size: 1,438 is too high: there are 1,437 training images\."
    ):
        planned(spec)


@pytest.mark.parametrize(
    ("name", "train_size", "field"),
    [("images", 0, "data.path"), ("images", 40, "data.path"), ("digits", 0, "data.name")],
)
def test_a_class_with_one_image_is_named(
    tmp_path: Path, name: str, train_size: int, field: str
) -> None:
    counts = [144] * 9 + [1]
    facts = {**DATA, "classes": [*"abcdefghi", "cat"], "train_counts": counts}
    path = str(tmp_path) if name == "images" else ""
    data = replace(QUICKSTART.data, name=name, path=path, train_size=train_size)
    spec = replace(QUICKSTART, data=data)
    with pytest.raises(
        SpecError,
        match="class 'cat' has a single training image; each class needs one for training",
    ) as caught:
        plan(spec, Facts(spec, facts))
    assert caught.value.field == field
    two = {**facts, "train_counts": [144] * 9 + [2]}
    assert plan(spec, Facts(spec, two)).complete


def test_a_target_below_the_minimum_density_is_refused() -> None:
    pruning = PruningSpec(allocation="global", min_density=0.2)
    with pytest.raises(SpecError, match=r"at most .* can be pruned"):
        planned(replace(QUICKSTART, pruning=pruning))


def test_the_minimum_density_counts_whole_weights() -> None:
    """Of 10 and 990 weights, 5 % are 1 and 50: 949 of 1,000 can be pruned, not 950."""
    pruning = PruningSpec(allocation="global", min_density=0.05)
    shallow = replace(QUICKSTART.iterative, target=0.949)
    deep = replace(QUICKSTART.iterative, target=0.95)
    assert planned(replace(QUICKSTART, pruning=pruning, iterative=shallow)).complete
    with pytest.raises(SpecError, match=r"at most 0\.949 can be pruned"):
        planned(replace(QUICKSTART, pruning=pruning, iterative=deep))


def test_one_schedule_spans_all_pruning_steps() -> None:
    spec = replace(QUICKSTART, lr_schedule_span="pruning")
    stages = {stage.key: stage for stage in planned(spec).stages}
    chain = [stages[key].settings for key in keys(spec, "iterative")]
    assert [s["lr_from_epoch"] for s in chain] == [0, 2, 4, 6, 8]
    assert {s["lr_epochs"] for s in chain} == {10}
    assert [s["keep_optimizer"] for s in chain] == [True] * 4 + [False]


def test_weights_enter_the_key_by_their_content(tmp_path: Path) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    first.write_bytes(b"same")
    second.write_bytes(b"same")
    assert weights_identity(str(first)) == weights_identity(str(second))
    second.write_bytes(b"other bytes")
    assert weights_identity(str(first)) != weights_identity(str(second))
    with pytest.raises(SpecError, match=r"model\.weights"):
        weights_identity(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seeds": tuple(range(4000))}, "seeds"),
        ({"one_shot": OneShotSpec(tuple(n / 10_000 for n in range(4000)))}, "one_shot.amounts"),
        ({"seeds": tuple(range(290))}, "seeds"),  # 12 stages each, known after the first seed
    ],
)
def test_a_run_with_too_many_stages_is_refused_before_they_are_planned(
    changes: dict[str, Any], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run must not block the queue of all others."""
    spec = replace(QUICKSTART, **changes)
    planned: list[Stage] = []
    original = plan_module._baseline

    def counted(*arguments: Any) -> Stage:
        planned.append(original(*arguments))
        return planned[-1]

    monkeypatch.setattr(plan_module, "_baseline", counted)
    with pytest.raises(SpecError, match=r"too many for one run: at most 3,000 stages") as error:
        plan(spec, Facts(spec))
    assert error.value.field == field
    assert len(planned) <= 1


def test_broken_images_are_refused_before_anything_is_planned() -> None:
    """The error names them, and the setting that leaves them out."""
    spec = replace(QUICKSTART, data=DataSpec("images", "/my photos"))
    broken = {f"a/{i}.jpg": "truncated" for i in range(30)}
    for number in (1, 30):
        listed = dict(list(broken.items())[:number])
        with pytest.raises(BrokenImages) as caught:
            plan(spec, Facts(spec, data={**DATA, "broken": listed}))
        for_user = for_command_line(caught.value)
        assert for_user.startswith("--data: /my photos: ")
        assert "a/0.jpg is not a readable image (truncated)" in for_user or number > 1
        assert for_user.endswith(", or set --leave-out-broken.")
        assert "'Leave out broken images'" in for_page(caught.value)
    assert "30 images cannot be read: a/0.jpg, " in for_user
    assert "a/19.jpg and 10 more files." in for_user
    left_out = replace(spec, data=replace(spec.data, leave_out_broken=True))
    facts = {**DATA, "left_out": broken}
    with_rest, clean = (
        plan(chosen, Facts(chosen, data=data)).stages
        for chosen, data in ((left_out, facts), (spec, DATA))
    )
    kinds = ("inspect_dataset", "inspect_model")
    keys = [[s.key for s in stages if s.kind not in kinds] for stages in (with_rest, clean)]
    assert keys[0] == keys[1], "the same content has the same results"
    decoded = next(stage for stage in with_rest if stage.kind == "dataset")
    assert decoded.hints["left_out"] == list(broken)


def test_the_setting_for_broken_images_changes_nothing_for_published_data() -> None:
    spec = replace(QUICKSTART, data=replace(QUICKSTART.data, leave_out_broken=True))
    assert [s.key for s in planned(spec).stages] == [s.key for s in planned(QUICKSTART).stages]
    assert job_id(spec) == job_id(QUICKSTART)

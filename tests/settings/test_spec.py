"""A spec checks its values and survives JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pruning_core.common.errors import SpecError
from pruning_core.common.names import BLANK
from pruning_core.methods.allocation import ALLOCATIONS
from pruning_core.methods.optimizers import OPTIMIZERS
from pruning_core.planning.presets import PRESETS
from pruning_core.settings import spec as specs
from pruning_core.settings.data import DataSpec, ModelSpec
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.recovery import RecoverySpec
from pruning_core.settings.sensitivity import SensitivitySpec
from pruning_core.settings.serialization import canonical_json, to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec
from pruning_core.settings.structured import StructuredSpec
from pruning_core.settings.training import TrainSpec

shares = st.floats(0, 0.999).map(lambda x: round(x, 6))
amounts = st.lists(shares, max_size=5, unique=True).map(tuple)
trains = st.builds(
    TrainSpec,
    optimizer=st.sampled_from(tuple(OPTIMIZERS)),
    lr=st.floats(0.0001, 10).map(lambda x: round(x, 6)),
    batch_size=st.integers(2, 4096),
)
whole_specs = st.builds(
    Spec,
    data=st.builds(DataSpec, image_size=st.integers(28, 224), train_size=st.integers(0, 10**6)),
    model=st.builds(ModelSpec, name=st.text(min_size=1, max_size=12)),
    finetune=trains,
    pruning=st.builds(
        PruningSpec,
        allocation=st.sampled_from(tuple(ALLOCATIONS)),
        layer_sparsities=st.just(("*=0.5", "conv1.weight=30%")),
        exclude=st.lists(st.text(min_size=1, max_size=9), max_size=3).map(tuple),
        granularity=st.sampled_from(("unstructured", "block:4", "kernel", "filter")),
        filter_norm=st.sampled_from(("1", "2", "inf")),
        filter_dim=st.sampled_from((0, 1)),
    ),
    one_shot=st.builds(OneShotSpec, amounts=amounts, epochs=st.integers(0, 50)),
    iterative=st.builds(IterativeSpec, iterations=st.integers(1, 100)),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=3, unique=True).map(tuple),
    label=st.text(
        st.characters(categories=("L", "N", "P", "S"), exclude_characters=BLANK), max_size=20
    ),
)


@given(whole_specs)
def test_a_spec_survives_json(spec: Spec) -> None:
    assert specs.from_json(specs.to_json(spec)) == spec


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    spec = PRESETS[name].spec
    assert specs.from_json(specs.to_json(spec)) == spec


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: OneShotSpec(amounts=(1.0,)), "one_shot.amounts"),
    (lambda: OneShotSpec(amounts=(-0.1,)), "one_shot.amounts"),
    (lambda: OneShotSpec(amounts=(float("nan"),)), "one_shot.amounts"),
    (lambda: OneShotSpec(amounts=(0.3, 0.3)), "one_shot.amounts"),
    (lambda: IterativeSpec(target=0.0), "iterative.target"),
    (lambda: IterativeSpec(target=1.0), "iterative.target"),
    (lambda: IterativeSpec(iterations=0), "iterative.iterations"),
    (lambda: IterativeSpec(schedule="sudden"), "iterative.schedule"),
    (lambda: DataSpec(name="images"), "data.path"),
    (lambda: DataSpec(image_size=27), "data.image_size"),
    (lambda: DataSpec(image_size=225), "data.image_size"),
    (lambda: DataSpec(std=(0.0, 1.0, 1.0)), "data.std"),
    (lambda: DataSpec(train_size=-1), "data.train_size"),
    (lambda: ModelSpec(stem_stride=3), "model.stem_stride"),
    (lambda: PruningSpec(allocation="everywhere"), "pruning.allocation"),
    (lambda: Spec(seeds=()), "seeds"),
    (lambda: Spec(seeds=(1, 1)), "seeds"),
    (lambda: Spec(device="tpu"), "device"),
]


@pytest.mark.parametrize(("make", "field"), WRONG)
def test_a_wrong_value_is_refused_by_name(make: Callable[[], object], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        make()
    assert caught.value.field == field
    assert caught.value.message.endswith(".")


@pytest.mark.parametrize(
    ("batch", "replicas", "device", "expected"),
    [
        (64, 0, "cpu", 2),
        (31, 0, "cpu", 1),
        (64, 4, "cpu", 4),
        (64, 1, "cpu", 1),
        (64, 4, "cuda", 1),
    ],
)
def test_the_replicas_of_the_baseline(
    batch: int, replicas: int, device: str, expected: int
) -> None:
    spec = Spec(baseline=TrainSpec(batch_size=batch), baseline_replicas=replicas)
    assert spec.replicas_of_baseline(device) == expected
    assert replace(spec, baseline_epochs=0).replicas_of_baseline(device) == 1


def test_an_error_in_a_nested_object_has_its_full_name() -> None:
    value = to_dict(Spec())
    value["finetune"]["lr"] = -1.0
    with pytest.raises(SpecError, match=r"finetune\.lr"):
        specs.from_dict(value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '{"speed": 1}', '{"data": 3}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(SpecError):
        specs.from_json(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty"),
        (" \r\n", "the file is empty"),
        ('{"seeds": [1], "seeds": [2]}', "the setting 'seeds' is in it twice. Remove one of them"),
        ('{"finetune": {"lr": 1, "lr": 2}}', "the setting 'lr' is in it twice"),
        ('{\n// once\n"seeds": [1]}', "line 2, column 1 begins with '// once"),
        ('{"seeds": [1] /* once */}', "JSON has no comments"),
        ('{"seeds": [1],}', "Remove the comma before the closing bracket"),
        ('{"seeds": [1, ]}', "Remove the comma before the closing bracket"),
        ("{'seeds': [1]}", "in straight double quotes"),
        ("{\u201cseeds\u201d: [1]}", "in straight double quotes"),
        ("baseline_epochs: 20", "A settings file begins with {"),
        ("[pruning]\ncriterion = 1", "line 1, column 2 begins with 'pruning"),
        ('{"label": "a"', "Correct it there"),
        ('{"seeds": [0,5 7]}', "column 16 begins with '7]}'"),
        ("[" * 100_000, "nested too deeply"),
        ('{"seeds": [' + "9" * 5000 + "]}", "a number in it has too many digits"),
    ],
    ids=lambda text: text[:20],
)
def test_a_text_that_is_no_json_is_told_where_and_what_to_do(text: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        specs.from_json(text)
    assert caught.value.field == "spec"
    assert words in caught.value.message


def test_whole_numbers_of_other_programs_are_whole_numbers() -> None:
    spec = specs.from_json('{"baseline_epochs": 7.0, "seeds": [2e0]}')
    assert spec == replace(Spec(), baseline_epochs=7, seeds=(2,))
    assert type(spec.seeds[0]) is int


@pytest.mark.parametrize("value", ["1", 1.5, True, None, [1]])
def test_a_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(SpecError, match="baseline_epochs"):
        specs.from_dict({"baseline_epochs": value})


def test_not_a_number_is_refused_in_json() -> None:
    with pytest.raises(SpecError):
        specs.from_json('{"iterative": {"target": NaN}}')


@given(st.floats(0.01, 0.99))
def test_floats_are_rounded_in_canonical_json(value: float) -> None:
    text = canonical_json({"x": value + 1e-9})
    assert json.loads(text)["x"] == round(value + 1e-9, 6)


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"],
)
@pytest.mark.parametrize("label", ["run", "дані é"])
def test_a_settings_file_of_any_unicode_encoding_is_read(encoding: str, label: str) -> None:
    """With and without a byte-order mark, and with the line breaks of Windows."""
    spec = replace(PRESETS["quickstart"].spec, label=label)
    text = specs.to_json(spec).replace("\n", "\r\n")
    assert specs.from_bytes(text.encode(encoding)) == spec
    assert specs.from_json(f"\ufeff{text}") == spec


@pytest.mark.parametrize("content", [b'{"label": "\xe9"}', b"\xff\xfe{", b"\xff\xff\xff", b"{\x00"])
def test_a_file_of_another_encoding_is_one_sentence(content: bytes) -> None:
    with pytest.raises(SpecError, match=r"save it again as UTF-8|not JSON") as error:
        specs.from_bytes(content)
    assert error.value.field == "spec"


ONE_SHOT, ITERATIVE = {"one_shot": OneShotSpec((), 0)}, {"iterative": IterativeSpec(enabled=False)}
STRUCTURED = {"structured": StructuredSpec(enabled=True)}
SENSITIVITY = {"sensitivity": SensitivitySpec(enabled=True)}
GLOBAL, ERK = PruningSpec(allocation="global"), PruningSpec("obd", allocation="erk")
PRETRAINED = ModelSpec("resnet18", weights="pretrained")
CHECKPOINT = ModelSpec(width=0.5, weights="/a/b/mine.pt")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "digits, uniform"),
        ({"pruning": GLOBAL, "seeds": (0, 1, 2)}, "digits, global, 3 seeds"),
        ({"pruning": ERK, "seeds": (7,)}, "digits, ERK, OBD, seed 7"),
        (
            {"pruning": PruningSpec("taylor", granularity="filter")},
            "digits, uniform, first-order Taylor, filter",
        ),
        (ITERATIVE, "digits, one-shot, uniform"),
        ({"one_shot": OneShotSpec((0.0,), 2)}, "digits, iterative, uniform"),
        ({"iterative": IterativeSpec(target=0.95, schedule="rigl")}, "digits, uniform, RigL, 95 %"),
        ({"one_shot": OneShotSpec((0.0,), 2), **ITERATIVE}, "digits, dense control"),
        (STRUCTURED, "digits, structured, uniform"),
        ({**ONE_SHOT, **ITERATIVE, **STRUCTURED}, "digits, structured"),
        ({**ONE_SHOT, **ITERATIVE, **SENSITIVITY}, "digits, sensitivity"),
        ({"model": PRETRAINED}, "digits, resnet18, pretrained, uniform"),
        ({"model": CHECKPOINT}, "digits, width 0.5, mine.pt, uniform"),
        ({"data": DataSpec("images", path="/a/flowers.zip")}, "flowers.zip, uniform"),
        ({"recovery": RecoverySpec("weight_rewinding")}, "digits, uniform, weight rewinding"),
        ({"label": "Mine, all of it", "seeds": (0, 1)}, "Mine, all of it"),
    ],
)
def test_a_default_name_tells_what_is_special(changes: dict[str, object], name: str) -> None:
    assert specs.describe(replace(Spec(), **changes)) == name  # type: ignore[arg-type]

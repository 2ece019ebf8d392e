"""Refusals and notes that follow from the layers of a model, before a pruning step runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pruning_core.common.errors import Choice, Ref, Share, SpecError
from pruning_core.methods.layers import Layer, prunable
from pruning_core.planning.layer_checks import check_layers, step_notes
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.pruning import PruningSpec
from pruning_core.settings.serialization import to_dict
from pruning_core.settings.spec import Spec
from pruning_core.settings.strategies import IterativeSpec, OneShotSpec

LAYERS = [
    Layer("stem.weight", "conv", "stem", (8, 3, 3, 3), 216),
    Layer("body.0.weight", "depthwise", "", (8, 1, 3, 3), 72),
    Layer("body.1.weight", "conv", "", (16, 8, 1, 1), 128),
    Layer("attention.in_proj_weight", "attention", "", (48, 16), 768),
    Layer("head.weight", "linear", "classifier", (10, 16), 160),
]
NO_ITERATIVE = IterativeSpec(enabled=False)


def spec(amount: float = 0.5, **pruning: Any) -> Spec:
    return replace(
        QUICKSTART,
        pruning=PruningSpec(**pruning),
        one_shot=OneShotSpec(amounts=(0.0, amount)),
        iterative=NO_ITERATIVE,
    )


def names(*exclude: str, choice: str = "all") -> list[str]:
    return [layer.name.split(".")[0] for layer in prunable(LAYERS, choice, exclude)]


@pytest.mark.parametrize(
    ("entry", "remaining"),
    [
        ("depthwise", ["stem", "body", "attention", "head"]),
        ("stem", ["body", "body", "attention", "head"]),
        ("classifier", ["stem", "body", "body", "attention"]),
        ("linear", ["stem", "body", "body", "attention"]),
        ("conv", ["body", "attention", "head"]),
        ("attention", ["stem", "body", "body", "head"]),
        ("body.*", ["stem", "attention", "head"]),
        ("body.[1-9].weight", ["stem", "body", "attention", "head"]),
    ],
)
def test_an_entry_excludes_a_kind_or_a_pattern(entry: str, remaining: list[str]) -> None:
    assert names(entry) == remaining


def test_entries_exclude_layers_of_the_choice() -> None:
    assert names("stem", "head*") == ["body", "body", "attention"]
    assert names("attention", choice="core") == ["body"]


WRONG: list[tuple[Spec, str, str]] = [
    (spec(exclude=("body.1.wieght",)), "pruning.exclude", "Did you mean body.1.weight"),
    (spec(exclude=("clasifier",)), "pruning.exclude", "Did you mean classifier"),
    (spec(exclude=("*",)), "pruning.exclude", "pruning.exclude contains '*'"),
    (
        spec(allocation="custom", layer_sparsities=("bodi*=0.5",)),
        "pruning.layer_sparsities",
        "matches no prunable layer",
    ),
    (
        spec(allocation="custom", layer_sparsities=("head*=0.5",), exclude=("head*",)),
        "pruning.layer_sparsities",
        "'head*' matches no prunable layer",
    ),
    (
        spec(0.3, allocation="custom", layer_sparsities=("head*=0.5",)),
        "pruning.layer_sparsities",
        "Lower the target to 0.119",
    ),
    (
        spec(granularity="filter", filter_dim=2, allocation="uniform"),
        "pruning.exclude",
        "there are no kernel rows in 'attention.in_proj_weight', 'head.weight'",
    ),
    (spec(0.999), "one_shot.amounts", "nothing would remain of 'stem.weight', 'body.0.weight'"),
    (
        spec(0.95, granularity="filter", exclude=("classifier",)),
        "one_shot.amounts",
        "choose an allocation with a minimum density (global, erk, lamp)",
    ),
    (
        spec(0.999, allocation="erk", min_density=0.0),
        "one_shot.amounts",
        "raise pruning.min_density",
    ),
    (spec(0.999, allocation="erk"), "one_shot.amounts", "at most 0.9486 can be pruned"),
    (spec(0.97, allocation="lamp"), "one_shot.amounts", "at most 0.9486 can be pruned"),
    (
        spec(granularity="filter"),
        "pruning.exclude",
        "each output channel of 'head.weight' is a class",
    ),
    (
        spec(granularity="filter", filter_dim=1),
        "pruning.exclude",
        "Add depthwise to pruning.exclude",
    ),
    (
        spec(granularity="4:8", exclude=("conv", "linear", "attention", "classifier")),
        "pruning.granularity",
        "no prunable layer fits 4:8",
    ),
]


@pytest.mark.parametrize(("wrong", "field", "words"), WRONG, ids=lambda x: str(x)[-40:])
def test_impossible_pruning_is_refused(wrong: Spec, field: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_layers(wrong, LAYERS)
    assert caught.value.field == field
    assert words in caught.value.message
    assert caught.value.message.endswith((".", "?"))


def test_an_unknown_kind_is_refused_with_the_kinds_of_the_model() -> None:
    others = [layer for layer in LAYERS if layer.kind != "attention"]
    words = r"no layer of the kind 'attention', only classifier, conv, depthwise, linear, stem\."
    with pytest.raises(SpecError, match=words):
        check_layers(spec(exclude=("attention",)), others)


@pytest.mark.parametrize(
    "possible",
    [
        spec(0.99, allocation="global", min_density=0.0),  # only the scores can show it
        spec(0.5, allocation="custom", layer_sparsities=("*=0.9", "stem*=0")),
        spec(granularity="filter", exclude=("classifier",)),
        spec(granularity="filter", filter_dim=1, exclude=("depthwise",)),
        spec(0.9, granularity="filter", allocation="erk", exclude=("classifier",)),
        spec(granularity="2:4"),
    ],
    ids=lambda possible: str(possible.pruning)[10:70],
)
def test_possible_pruning_passes(possible: Spec) -> None:
    check_layers(possible, LAYERS)


def test_layers_that_do_not_fit_a_pattern_are_listed() -> None:
    (note,) = step_notes(LAYERS, to_dict(PruningSpec(granularity="4:8")), 0.5)
    assert note == (
        "Layers stay dense if their number of inputs is not a multiple of 8: stem.weight, "
        "1 depthwise layer."
    )
    excluded = to_dict(PruningSpec(granularity="4:8", exclude=("stem", "depthwise")))
    assert step_notes(LAYERS, excluded, 0.5) == []
    assert step_notes(LAYERS, to_dict(PruningSpec(granularity="4:8")), 0.0) == []


def test_a_note_tells_the_scale_of_custom_sparsities() -> None:
    pruning = to_dict(PruningSpec(allocation="custom", layer_sparsities=("*=0.8",)))
    (note,) = step_notes(LAYERS, pruning, 0.4)
    assert note == "The custom sparsities are multiplied by 0.5 to reach 40.00 %."
    assert step_notes(LAYERS, pruning, 0.0) == step_notes(LAYERS, pruning, 0.8) == []


def test_a_note_names_layers_whose_kernels_are_single_weights() -> None:
    pruning = to_dict(PruningSpec(granularity="kernel"))
    flat = [layer.name for layer in LAYERS if len(layer.shape) == 2]
    assert flat == ["attention.in_proj_weight", "head.weight"]
    assert step_notes(LAYERS, pruning, 0.5) == [
        "In 'attention.in_proj_weight', 'head.weight' a kernel is a single weight."
    ]
    assert step_notes([x for x in LAYERS if len(x.shape) == 4], pruning, 0.5) == []


def test_layers_whose_blocks_are_not_whole_are_noted() -> None:
    layers = [
        replace(LAYERS[0], name="whole.weight"),
        replace(LAYERS[1], groups=8),
        Layer("grouped.weight", "conv", "", (12, 4, 1, 1), 48, groups=2),
        LAYERS[-1],
    ]
    smaller, depthwise, grouped = step_notes(
        layers, to_dict(PruningSpec(granularity="block:4")), 0.5
    )
    assert "do not divide by 4: grouped.weight, head.weight." in smaller
    assert depthwise.endswith(
        "depthwise layer a block is one kernel position of 4 consecutive channels."
    )
    assert grouped.endswith("no block extends over two groups: grouped.weight.")
    assert step_notes(layers[:1], to_dict(PruningSpec(granularity="block:8")), 0.5) == []


@pytest.mark.parametrize(
    ("amounts", "chain", "ok"),
    [
        ((0.0, 0.5), NO_ITERATIVE, True),
        ((0.5,), IterativeSpec(target=0.5, iterations=1), True),
        ((0.0, 0.5, 0.7), NO_ITERATIVE, False),
        ((0.5,), IterativeSpec(target=0.5, iterations=2), False),
        ((0.5,), IterativeSpec(target=0.6, iterations=1), False),
    ],
)
def test_a_pattern_is_one_pruning_step(
    amounts: tuple[float, ...], chain: IterativeSpec, ok: bool
) -> None:
    parts = {"one_shot": OneShotSpec(amounts=amounts), "iterative": chain}
    settings: dict[str, Any] = {"pruning": PruningSpec(granularity="2:4"), **parts}
    if ok:
        Spec(**settings)
        return
    with pytest.raises(
        SpecError, match=r"2:4 prunes 0\.5 of each layer that fits the pattern, in one step"
    ) as caught:
        Spec(**settings)
    assert caught.value.values == {
        "granularity": Choice("pruning.granularity", "2:4"),
        "sparsity": Share(0.5),
        "amounts": Ref("one_shot.amounts"),
    }


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"allocation": "custom"}, "pruning.layer_sparsities"),
        ({"layer_sparsities": ("x",)}, "pruning.layer_sparsities"),
        ({"granularity": "channel"}, "pruning.granularity"),
        ({"granularity": "2:4", "allocation": "global"}, "pruning.granularity"),
        ({"filter_norm": "0"}, "pruning.filter_norm"),
        ({"filter_norm": "nan"}, "pruning.filter_norm"),
        ({"filter_norm": "17"}, "pruning.filter_norm"),
        ({"filter_norm": "two"}, "pruning.filter_norm"),
        ({"filter_dim": 4}, "pruning.filter_dim"),
        ({"exclude": ("",)}, "pruning.exclude"),
    ],
)
def test_a_pruning_spec_refuses(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        PruningSpec(**settings)
    assert caught.value.field == field

"""What a model's layers show to be wrong with a cut is said before it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pruning_core.methods.layers import Layer, chosen
from pruning_core.planning.layer_checks import check_layers, told
from pruning_core.planning.presets import QUICKSTART
from pruning_core.settings.spec import (
    IterativeSpec,
    OneShotSpec,
    PruneSpec,
    Spec,
    SpecError,
    to_dict,
)

LAYERS = [
    Layer("stem.weight", "conv", "stem", (8, 3, 3, 3), 216),
    Layer("body.0.weight", "depthwise", "", (8, 1, 3, 3), 72),
    Layer("body.1.weight", "conv", "", (16, 8, 1, 1), 128),
    Layer("attention.in_proj_weight", "attention", "", (48, 16), 768),
    Layer("head.weight", "linear", "classifier", (10, 16), 160),
]
FACTS = {"layers": [vars(layer) for layer in LAYERS]}
ONE_CUT = IterativeSpec(enabled=False)


def spec(amount: float = 0.5, **prune: Any) -> Spec:
    return replace(
        QUICKSTART,
        prune=PruneSpec(**prune),
        one_shot=OneShotSpec(amounts=(0.0, amount)),
        iterative=ONE_CUT,
    )


def names(*spare: str, choice: str = "all") -> list[str]:
    return [layer.name.split(".")[0] for layer in chosen(LAYERS, choice, spare)]


@pytest.mark.parametrize(
    ("entry", "left"),
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
def test_an_entry_spares_a_kind_or_a_pattern(entry: str, left: list[str]) -> None:
    assert names(entry) == left


def test_entries_add_up_and_to_the_choice() -> None:
    assert names("stem", "head*") == ["body", "body", "attention"]
    assert names("attention", choice="spared") == ["body"]


WRONG: list[tuple[Spec, str, str]] = [
    (spec(spare=("body.1.wieght",)), "prune.spare", "Did you mean body.1.weight"),
    (spec(spare=("clasifier",)), "prune.spare", "Did you mean classifier"),
    (spec(spare=("*",)), "prune.spare", "'*' spare the rest"),
    (spec(scope="hand", by_hand=("bodi*=0.5",)), "prune.by_hand", "matches no layer"),
    (
        spec(scope="hand", by_hand=("head*=0.5",), spare=("head*",)),
        "prune.by_hand",
        "'head*' matches no layer that is pruned",
    ),
    (spec(0.3, scope="hand", by_hand=("head*=0.5",)), "prune.by_hand", "at most 11.90%"),
    (
        spec(granularity="filter", dim=2, scope="layer"),
        "prune.spare",
        "there are no rows of kernels (dim 2) in",
    ),
    (spec(0.999), "one_shot.amounts", "nothing would be left of 'stem.weight', 'body.0.weight'"),
    (
        spec(0.95, granularity="filter", spare=("classifier",)),
        "one_shot.amounts",
        "a scope with a keep-floor (global, lamp, erk)",
    ),
    (spec(0.999, scope="erk", keep_floor=0.0), "one_shot.amounts", "raise the keep-floor"),
    (spec(0.999, scope="erk"), "one_shot.amounts", "at most 94.86% can go"),
    (spec(0.97, scope="lamp"), "one_shot.amounts", "at most 94.86% can go"),
    (spec(granularity="filter"), "prune.spare", "a class in 'head.weight'"),
    (spec(granularity="filter", dim=1), "prune.spare", "Spare the kind depthwise"),
    (
        spec(granularity="4:8", spare=("conv", "linear", "attention", "classifier")),
        "prune.granularity",
        "no layer that is pruned fits `4:8`",
    ),
]


@pytest.mark.parametrize(("made", "field", "words"), WRONG, ids=lambda x: str(x)[-40:])
def test_what_cannot_be_is_refused(made: Spec, field: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        check_layers(made, FACTS)
    assert caught.value.field == field
    assert words in caught.value.message
    assert caught.value.message.endswith((".", "?"))


def test_a_kind_that_is_not_there_is_told_with_those_that_are() -> None:
    facts = {"layers": [layer for layer in FACTS["layers"] if layer["kind"] != "attention"]}
    words = r"no layer of the kind 'attention', only classifier, conv, depthwise, linear, stem\."
    with pytest.raises(SpecError, match=words):
        check_layers(spec(spare=("attention",)), facts)


@pytest.mark.parametrize(
    "made",
    [
        spec(0.99, scope="global", keep_floor=0.0),  # only the scores can tell
        spec(0.5, scope="hand", by_hand=("*=0.9", "stem*=0")),
        spec(granularity="filter", spare=("classifier",)),
        spec(granularity="filter", dim=1, spare=("depthwise",)),
        spec(0.9, granularity="filter", scope="erk", spare=("classifier",)),
        spec(granularity="2:4"),
    ],
    ids=lambda made: str(made.prune)[10:70],
)
def test_what_can_be_passes(made: Spec) -> None:
    check_layers(made, FACTS)


def test_layers_that_do_not_fit_a_pattern_are_listed() -> None:
    (said,) = told(LAYERS, to_dict(PruneSpec(granularity="4:8")), 0.5)
    assert said.endswith("as inputs are no multiple of 8: stem.weight, all 1 depthwise layers.")
    spared = to_dict(PruneSpec(granularity="4:8", spare=("stem", "depthwise")))
    assert told(LAYERS, spared, 0.5) == []
    assert told(LAYERS, to_dict(PruneSpec(granularity="4:8")), 0.0) == []


def test_a_scaled_table_is_told() -> None:
    prune = to_dict(PruneSpec(scope="hand", by_hand=("*=0.8",)))
    (said,) = told(LAYERS, prune, 0.4)
    assert said == "The shares of the table are multiplied by 0.5 for 40.00%."
    assert told(LAYERS, prune, 0.0) == told(LAYERS, prune, 0.8) == []


def test_kernels_that_are_single_weights_are_told() -> None:
    prune = to_dict(PruneSpec(granularity="kernel"))
    flat = [layer.name for layer in LAYERS if len(layer.shape) == 2]
    said = told(LAYERS, prune, 0.5)
    assert said == ([f"A kernel is a single weight in '{flat[0]}'."] if len(flat) == 1 else said)
    assert told([x for x in LAYERS if len(x.shape) == 4], prune, 0.5) == []


@pytest.mark.parametrize(
    ("amounts", "chain", "ok"),
    [
        ((0.0, 0.5), ONE_CUT, True),
        ((0.5,), IterativeSpec(target=0.5, iterations=1), True),
        ((0.0, 0.5, 0.7), ONE_CUT, False),
        ((0.5,), IterativeSpec(target=0.5, iterations=2), False),
        ((0.5,), IterativeSpec(target=0.6, iterations=1), False),
    ],
)
def test_a_pattern_is_one_cut(amounts: tuple[float, ...], chain: IterativeSpec, ok: bool) -> None:
    parts = {"one_shot": OneShotSpec(amounts=amounts), "iterative": chain}
    made = {"prune": PruneSpec(granularity="2:4"), **parts}
    if ok:
        Spec(**made)
        return
    with pytest.raises(SpecError, match=r"`2:4` is one cut that removes 50%.*must be off"):
        Spec(**made)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"scope": "hand"}, "prune.by_hand"),
        ({"by_hand": ("x",)}, "prune.by_hand"),
        ({"granularity": "channel"}, "prune.granularity"),
        ({"granularity": "2:4", "scope": "global"}, "prune.granularity"),
        ({"norm": "0"}, "prune.norm"),
        ({"norm": "nan"}, "prune.norm"),
        ({"norm": "17"}, "prune.norm"),
        ({"norm": "two"}, "prune.norm"),
        ({"dim": 4}, "prune.dim"),
        ({"spare": ("",)}, "prune.spare"),
    ],
)
def test_a_prune_spec_refuses(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as caught:
        PruneSpec(**settings)
    assert caught.value.field == field

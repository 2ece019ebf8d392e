"""Short names for runs: what all share is dropped, and no two are the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.results.labels import flatten, short_labels


def test_short_labels_drop_what_all_runs_share() -> None:
    specs = {
        "a": {"data.name": "digits", "finetune.lr": 0.02, "seeds": [0]},
        "b": {"data.name": "digits", "finetune.lr": 0.1, "seeds": [0, 1]},
    }
    assert short_labels(specs) == {"a": "lr=0.02, seeds=0", "b": "lr=0.1, seeds=0,1"}


def test_short_labels_keep_ambiguous_names_whole_and_paths_short() -> None:
    specs = {
        "a": {"baseline.lr": 0.1, "finetune.lr": 0.1, "data.path": "/x/one.zip"},
        "b": {"baseline.lr": 0.2, "finetune.lr": 0.3, "data.path": "/x/two.zip"},
    }
    assert short_labels(specs)["a"] == "baseline.lr=0.1, finetune.lr=0.1, path=one.zip"


def test_short_labels_prefer_own_labels_and_number_twins() -> None:
    assert short_labels({"a": {"label": "wide"}, "b": {"label": "slow"}}) == {
        "a": "wide",
        "b": "slow",
    }
    twins = short_labels({"a": {"label": "x", "n": 1}, "b": {"label": "x", "n": 1}})
    assert twins == {"a": "x (1)", "b": "x (2)"}


def test_a_typed_name_is_never_replaced() -> None:
    """Not where another run has no name, and not where two have the same."""
    assert short_labels({"a": {"label": "wide", "n": 1}, "b": {"n": 2}}) == {
        "a": "wide",
        "b": "n=2",
    }
    same = {"a": {"label": "x", "n": 1, "m": 3}, "b": {"label": "x", "n": 2, "m": 3}}
    assert short_labels({**same, "c": {"label": "y", "n": 1, "m": 4}}) == {
        "a": "x (n=1)",
        "b": "x (n=2)",
        "c": "y",
    }


@settings(deadline=None, max_examples=40)
@given(st.lists(st.fixed_dictionaries({c: st.integers(0, 2) for c in "abcdef"}), max_size=5))
def test_short_labels_are_never_the_same(values: list[dict[str, int]]) -> None:
    labels = short_labels({str(i): value for i, value in enumerate(values)})
    assert len(set(labels.values())) == len(values)


def test_flatten_names_nested_settings_with_dots() -> None:
    assert flatten({"data": {"name": 1, "deep": {"x": 2}}, "lr": 3}) == {
        "data.name": 1,
        "data.deep.x": 2,
        "lr": 3,
    }

"""Short names for runs: what all share is dropped, and no two are the same."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.planning.presets import QUICKSTART
from pruning_core.results.labels import changes, flatten, short_labels


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


def test_the_start_of_the_id_names_runs_that_differ_in_nothing_else() -> None:
    assert short_labels({"a": {"label": "wide"}, "b": {"label": "slow"}}) == {
        "a": "wide",
        "b": "slow",
    }
    twins = {run: {"label": "x", "n": 1} for run in ("a1b2c3d4", "a1b2c3e5", "0a1b2c3d")}
    assert short_labels(twins) == {
        "a1b2c3d4": "x (a1b2c3d)",
        "a1b2c3e5": "x (a1b2c3e)",
        "0a1b2c3d": "x (0a1b2c)",
    }


def test_names_that_differ_in_spaces_alone_look_equal() -> None:
    specs = {"a": {"label": "my  run", "n": 1}, "b": {"label": "my run", "n": 2}}
    assert short_labels(specs) == {"a": "my run (n=1)", "b": "my run (n=2)"}


def test_of_many_differing_settings_those_that_distinguish_runs_are_named() -> None:
    """The first four of six settings are equal in all but one run."""
    specs = {f"run {i}": {"label": "x"} | {c: int(i == 0) for c in "abcd"} for i in range(6)}
    for i, spec in enumerate(specs.values()):
        spec |= {"e": i % 3, "f": i // 3}
    labels = short_labels(specs)
    assert all("e=" in label and "f=" in label for label in labels.values())
    assert len(set(labels.values())) == 6
    assert not any("run" in label for label in labels.values()), "no id is needed"


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


def test_changes_name_what_has_an_effect_and_differs() -> None:
    base = replace(QUICKSTART, label="one")
    model = replace(base.model, name="resnet18")
    assert changes(replace(base, label="two"), base) == ""
    assert changes(replace(base, seeds=(0, 1), model=model), base) == "model=resnet18, seeds=0,1"
    off = replace(base, iterative=replace(base.iterative, enabled=False, target=0.5))
    assert changes(off, base) == "iterative=off", "its target has no effect"
    assert changes(base, off) == "iterative=on, target=0.9"
    files = (replace(base.data, name="images", path=f"/x/{name}.zip") for name in ("a", "b"))
    first, second = (replace(base, data=data) for data in files)
    assert changes(second, first) == "path=b.zip"
    everything = replace(
        base,
        seeds=(5,),
        baseline_epochs=1,
        model=model,
        data=replace(base.data, train_size=200),
        finetune=replace(base.finetune, lr=0.5),
    )
    assert changes(everything, base).endswith(", …")


def test_flatten_names_nested_settings_with_dots() -> None:
    assert flatten({"data": {"name": 1, "deep": {"x": 2}}, "lr": 3}) == {
        "data.name": 1,
        "data.deep.x": 2,
        "lr": 3,
    }

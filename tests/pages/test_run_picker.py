"""The labels of runs in a list: the start of the id tells runs with equal names apart."""

from __future__ import annotations

from pages.components.run_picker import distinct_labels


def test_only_runs_with_equal_names_show_the_start_of_their_ids() -> None:
    labels = {"a1b2c3d4": "digits", "b1b2c3d4": "mine", "c1b2c3d4": "digits", "d1b2c3d4": "mine 2"}
    assert distinct_labels(labels) == {
        "a1b2c3d4": "digits (a1b2c3)",
        "b1b2c3d4": "mine",
        "c1b2c3d4": "digits (c1b2c3)",
        "d1b2c3d4": "mine 2",
    }


def test_names_that_differ_in_spaces_alone_look_equal() -> None:
    assert distinct_labels({"a1b2c3d4": "my  run", "b1b2c3d4": "my run"}) == {
        "a1b2c3d4": "my  run (a1b2c3)",
        "b1b2c3d4": "my run (b1b2c3)",
    }

"""Seeded, stratified subsets and splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.split import stratified_split, stratified_subset

labels_and_size = st.lists(st.integers(0, 6), min_size=1, max_size=120).flatmap(
    lambda labels: st.tuples(st.just(np.array(labels)), st.integers(1, len(labels)))
)


@given(labels_and_size, st.integers(0, 2**40))
@settings(deadline=None, max_examples=150)
def test_a_subset_has_its_size_and_every_class_its_share(
    case: tuple[np.ndarray, int], seed: int
) -> None:
    labels, size = case
    chosen = stratified_subset(labels, size, seed)
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()
    assert chosen.min() >= 0
    assert chosen.max() < len(labels)
    classes, counts = np.unique(labels, return_counts=True)
    quotas = np.array([(labels[chosen] == label).sum() for label in classes])
    if size >= len(classes):
        assert quotas.min() >= 1
    exact = size * counts / len(labels)
    if exact.min() >= 1:
        assert (np.abs(quotas - exact) < 1).all()
    assert (chosen == stratified_subset(labels, size, seed)).all()


def test_the_largest_remainders_get_the_remaining_images() -> None:
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    chosen = stratified_subset(labels, 7, seed=3)
    assert np.bincount(labels[chosen]).tolist() == [4, 2, 1]


def test_a_rare_class_is_not_lost() -> None:
    labels = np.repeat([0, 1, 2], [997, 2, 1])
    assert np.bincount(labels[stratified_subset(labels, 3, seed=0)]).tolist() == [1, 1, 1]


@given(st.lists(st.integers(1, 30), min_size=2, max_size=8), st.data())
@settings(deadline=None, max_examples=100)
def test_each_class_gets_the_minimum_where_it_has_as_many(counts: list[int], data: Any) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    size = data.draw(st.integers(min(2 * len(counts), len(labels)), len(labels)))
    quotas = np.bincount(
        labels[stratified_subset(labels, size, seed=0, minimum=2)], minlength=len(counts)
    )
    assert quotas.sum() == size
    if size >= 2 * len(counts):
        assert (quotas >= np.minimum(2, counts)).all()


def test_a_subset_of_a_rare_class_can_be_trained_and_validated_on() -> None:
    labels = np.repeat([0, 1], [990, 10])
    assert np.bincount(labels[stratified_subset(labels, 20, 0)]).tolist() == [19, 1]
    assert np.bincount(labels[stratified_subset(labels, 20, 0, minimum=2)]).tolist() == [18, 2]


def test_size_zero_and_full_size_take_all_in_order() -> None:
    labels = np.array([2, 0, 1, 0])
    for size in (0, 4):
        assert stratified_subset(labels, size, seed=9).tolist() == [0, 1, 2, 3]


def test_another_seed_chooses_other_images() -> None:
    labels = np.arange(200) % 4
    assert stratified_subset(labels, 40, 0).tolist() != stratified_subset(labels, 40, 1).tolist()


def test_the_choice_is_the_same_on_every_machine() -> None:
    # A stage's key names the seed only, so the numbers a seed stands for may never change.
    assert stratified_subset(np.arange(30) % 3, 6, seed=0).tolist() == [1, 3, 11, 13, 20, 21]


def test_too_many_names_the_setting_and_both_counts() -> None:
    with pytest.raises(SpecError, match=r"7,000 images are too many: there are 5,000") as caught:
        stratified_subset(np.zeros(5000, dtype=np.int64), 7000, 0, "data.test_size")
    assert caught.value.field == "data.test_size"


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SpecError, match=r"data\.split_seed"):
        stratified_subset(np.zeros(5, dtype=np.int64), 2, -1)


@given(st.lists(st.integers(2, 30), min_size=2, max_size=8), st.floats(0.01, 0.5))
@settings(deadline=None, max_examples=100)
def test_a_split_takes_images_from_each_class_and_keeps_some(
    counts: list[int], share: float
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    kept, held_out = stratified_split(labels, int(share * len(labels)), seed=1)
    assert sorted([*kept, *held_out]) == list(range(len(labels)))
    assert set(labels[kept]) == set(labels[held_out]) == set(range(len(counts)))

"""The digits of scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from pruning_core.common.errors import SpecError
from pruning_core.engine.data.decoding import decode_dataset
from pruning_core.engine.data.inspection import inspect_dataset
from pruning_core.planning.inspection_types import DatasetSettings, InspectDatasetSettings
from pruning_core.planning.stage_types import stored


def inspected(seed: int = 0) -> dict[str, Any]:
    settings = InspectDatasetSettings("digits", seed)
    return stored(inspect_dataset(settings, {}, Path("unused"), lambda f, text: None))


def run(folder: Path, seed: int = 0, size: int = 32, digest: str = "") -> dict[str, Any]:
    folder.mkdir()
    settings = DatasetSettings(digest or inspected()["digest"], size, 0, 0, seed)
    hints = {"name": "digits"}
    return stored(decode_dataset(settings, hints, folder, folder, lambda f, text: None))


def test_the_facts() -> None:
    facts = inspected()
    assert facts["classes"] == [str(i) for i in range(10)]
    assert (sum(facts["train_counts"]), sum(facts["test_counts"])) == (1437, 360)
    whole = np.bincount(load_digits().target)
    assert (np.add(facts["train_counts"], facts["test_counts"]) == whole).all()
    assert np.abs(np.array(facts["test_counts"]) - whole * 360 / 1797).max() < 1
    assert (facts["split"], facts["flip"], facts["notes"]) == ("seeded", False, [])


def test_the_digest_is_of_the_digits_and_not_of_the_split() -> None:
    assert inspected(0)["digest"] == inspected(1)["digest"]


def test_the_images_are_the_digits_enlarged(tmp_path: Path) -> None:
    facts = run(tmp_path / "out", size=28)
    assert (facts["train_images"], facts["test_images"]) == (1437, 360)
    images = np.load(tmp_path / "out/test_images.npy")
    labels = np.load(tmp_path / "out/test_labels.npy")
    digits = load_digits()
    smallest = np.flatnonzero(digits.target == labels[0])
    enlarged = [
        np.asarray(
            Image.fromarray(np.rint(digits.images[i] * 255 / 16).astype(np.uint8)).resize(
                (28, 28), Image.Resampling.BILINEAR
            )
        )
        for i in smallest
    ]
    assert any((images[0] == one[:, :, None]).all() for one in enlarged)


def test_another_seed_tests_on_other_digits(tmp_path: Path) -> None:
    for seed in (0, 1):
        run(tmp_path / str(seed), seed)
    first, second = (np.load(tmp_path / name / "test_images.npy") for name in "01")
    assert first.shape == second.shape
    assert (first != second).any()


def test_another_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"data\.name: The images in digits have changed"):
        run(tmp_path / "out", digest="1" * 64)

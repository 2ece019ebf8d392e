"""What a stage reads from the stages before it: the baseline, models and images."""

from __future__ import annotations

from typing import Any

from torch import nn

from pruning_core.engine.data.loading import Splits, read_splits
from pruning_core.engine.export import sparse_file
from pruning_core.engine.models.build import rebuild
from pruning_core.engine.structured import widths
from pruning_core.methods.strategies import BASELINE
from pruning_core.planning.model_types import BaselineSettings
from pruning_core.planning.stage_kinds import STAGE_KINDS
from pruning_core.planning.stage_types import restored
from pruning_core.storage.store import Store

MODEL_FILE = "model.sparse"
MASK_FILE = "masks.sparse"


def baseline_key(store: Store, key: str) -> str:
    """The key of the baseline that a stage descends from; the key itself for a baseline."""
    while (stage := store.settings(key))["kind"] != BASELINE:
        key = stage["parent"]
    return key


def baseline_settings(store: Store, key: str) -> BaselineSettings:
    """The settings of a baseline, by its key."""
    return restored(BaselineSettings, store.settings(key)["settings"])


def baseline_of(store: Store, key: str) -> tuple[str, BaselineSettings]:
    """The key and the settings of the baseline that a stage descends from."""
    root = baseline_key(store, key)
    return root, baseline_settings(store, root)


def load_model(store: Store, key: str, base: BaselineSettings) -> nn.Module:
    """The trained model of a stage on the CPU, without the channels that were removed.

    `base` are the settings of its baseline.
    """
    model = rebuild(base.model, base.classes, base.data["image_size"])
    state = sparse_file.load(store.file(key, MODEL_FILE))
    if channels_removed(store, key):
        return widths.load(model, widths.read(store.file(key, widths.FILE)), state)
    model.load_state_dict(state)
    return model


def channels_removed(store: Store, key: str) -> bool:
    """Whether this stage, or one before it, removed channels (structured pruning)."""
    while (stage := store.settings(key))["kind"] != BASELINE:
        if STAGE_KINDS[stage["kind"]].removes_channels:
            return True
        key = stage["parent"]
    return False


def load_splits(store: Store, key: str, data: dict[str, Any]) -> Splits:
    """The images of a `dataset` stage. `data` are the data settings of the baseline."""
    return read_splits(store.folder(key), data)


def splits_of_baseline(store: Store, key: str, base: BaselineSettings) -> Splits:
    """The images that the baseline with this key was trained on. `base` are its settings."""
    return load_splits(store, store.settings(key)["parent"], base.data)

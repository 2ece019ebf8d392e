"""What a stage reads of the stages that it hangs off."""

from __future__ import annotations

from typing import Any

from torch import nn

from pruning_core.engine.data.loading import Splits, read_splits
from pruning_core.engine.export import sparse_file
from pruning_core.engine.models.build import rebuild
from pruning_core.engine.structured import widths
from pruning_core.storage.store import Store

MODEL_FILE = "model.sparse"
MASK_FILE = "masks.sparse"


def baseline_key(store: Store, key: str) -> str:
    """The baseline at the head of a chain of levels."""
    while (found := store.settings(key))["kind"] != "baseline":
        key = found["parent"]
    return key


def load_model(store: Store, key: str, base: dict[str, Any]) -> nn.Module:
    """The trained model of a stage, resized where channels were removed on the way to it.

    `base` are the settings of its baseline.
    """
    model = rebuild(base["model"], base["classes"], base["data"]["image_size"])
    state = sparse_file.load(store.file(key, MODEL_FILE))
    if channels_removed(store, key):
        return widths.load(model, widths.read(store.file(key, widths.FILE)), state)
    model.load_state_dict(state)
    return model


def channels_removed(store: Store, key: str) -> bool:
    """Whether channels were removed in this stage or in one that it hangs off."""
    while (found := store.settings(key))["kind"] not in ("baseline", "structured"):
        key = found["parent"]
    return bool(found["kind"] == "structured")


def load_splits(store: Store, key: str, settings: dict[str, Any]) -> Splits:
    return read_splits(store.folder(key), settings)

"""The stages of training-free correction."""

from __future__ import annotations

from pruning_core.methods.corrections import CORRECTIONS
from pruning_core.planning.stage import Stage

# What a correction takes over from the pruned model.
SAME = ("seed", "device", "precision", "threads", "pruning", "epochs")


def correction_stages(pruned: Stage, images: int) -> list[Stage]:
    """The pruned model and its corrections, in order; each has the one before as parent."""
    stages = [pruned]
    _, *corrections = CORRECTIONS
    for name in corrections:
        same = {setting: pruned.settings[setting] for setting in SAME}
        settings = {"correction": name, "images": images, **same}
        stages.append(Stage("correction", stages[-1].key, settings, threads=pruned.threads))
    return stages

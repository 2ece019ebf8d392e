"""The ladder without training: which stages it takes, and its points as a table."""

from __future__ import annotations

from pruning_core.methods.corrections import RUNGS
from pruning_core.planning.stage import Stage

# What a rung has from the cut that it stands above.
SAME = ("seed", "device", "precision", "threads", "prune", "epochs")


def rungs(cut: Stage, images: int) -> list[Stage]:
    """The stages of a ladder from its lowest rung, the cut, up; each hangs off the one below."""
    found = [cut]
    for name in RUNGS[1:]:
        same = {setting: cut.settings[setting] for setting in SAME}
        settings = {"rung": name, "images": images, **same}
        found.append(Stage("rung", found[-1].key, settings, threads=cut.threads))
    return found

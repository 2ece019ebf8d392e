"""Training-free corrections: what recovers accuracy after pruning without training."""

from __future__ import annotations

# From the lowest rung up. The first is the cut itself, a level without an epoch.
RUNG_TITLES = {
    "cut": "as pruned",
    "batch_norm": "batch norm re-estimated",
    "bias_scale": "bias and scale corrected",
    "least_squares": "least squares",
}


RUNGS = tuple(RUNG_TITLES)


# A Gram matrix of more inputs than this would take more than 170 MB: a 3x3 kernel on 512 channels.
MOST_INPUTS = 4608


NO_BATCH_NORM = "The model has no batch norm, so re-estimating its statistics changes nothing."


def rung_title(rung: int) -> str:
    """What rung number `rung` does, counted from 0."""
    return RUNG_TITLES[RUNGS[rung]]

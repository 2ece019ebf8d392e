"""The kinds of stage: the version of each, and its title."""

from __future__ import annotations

VERSIONS = {
    "inspect_data": 2,
    "inspect_model": 2,
    "data": 2,
    "baseline": 5,
    "level": 5,
    "scan": 2,
    "rung": 1,
    "inspect_overlap": 1,
    "inspect_answers": 1,
    "artifact": 4,
    "passport": 2,
    "latency": 4,
    "crossover": 1,
    "structured": 2,
    "inspect_structure": 1,
}


STAGE_TITLES = {
    "inspect_data": "Look at the images",
    "inspect_model": "Look at the model",
    "data": "Decode the images",
    "baseline": "Train the baseline",
    "level": "Prune and fine-tune",
    "rung": "Recover without training",
    "scan": "Scan a layer",
    "inspect_overlap": "Compare two models",
    "inspect_answers": "Ask two models",
    "artifact": "Write a file of a model",
    "passport": "Pack a passport",
    "latency": "Time models in turn",
    "crossover": "Time products with zeros",
    "structured": "Remove channels and fine-tune",
    "inspect_structure": "Look at the coupled layers",
}

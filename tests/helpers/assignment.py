"""Results in the form of the assignment's `prune`: percent and MB."""

from __future__ import annotations

ONE_SHOT: list[dict[str, float]] = [
    {"amount": 0.0, "sparsity": 0.0, "model_size": 8.85, "accuracy": 75.2},
    {"amount": 0.9, "sparsity": 90.0, "model_size": 0.88, "accuracy": 55.3},
]
ITERATIVE: list[dict[str, float]] = [
    {"iteration": 1, "sparsity": 36.9, "model_size": 5.58, "accuracy": 74.8},
    {"iteration": 2, "sparsity": 90.02, "model_size": 0.88, "accuracy": 68.2},
]

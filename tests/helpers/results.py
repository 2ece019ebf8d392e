"""Results of stages as they are stored, made by hand."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np


def result(zeros: int, accuracy: float, epochs: float, total: float) -> dict[str, Any]:
    """The result of a model with 80 prunable weights, of 200 parameters, on 10 test images
    and 1,000 validation images.

    `epochs` are those of its stage, `total` those since the baseline.
    """
    right = round(accuracy * 10)
    bits = np.packbits(np.arange(10) < right).tobytes()
    validation = np.packbits(np.arange(1000) < round(1000 * (accuracy - 0.01))).tobytes()
    return {
        "accuracy": accuracy,
        "validation_accuracy": accuracy - 0.01,
        "validation_images": 1000,
        "validation_correct": base64.b64encode(validation).decode(),
        "accuracy_low": accuracy - 0.1,
        "accuracy_high": accuracy + 0.1,
        "right": right,
        "test_images": 10,
        "correct": base64.b64encode(bits).decode(),
        "test_digest": "t",
        "loss": 1.0,
        "prunable": 80,
        "prunable_zeros": zeros,
        "weights": 100,
        "weights_zeros": zeros,
        "parameters": 200,
        "nonzero": 200 - zeros,
        "dense_bytes": 1000,
        "sparse_bytes": 250,
        "epochs": epochs,
        "epochs_total": total,
        "seconds": epochs * 2.0,
        "seconds_total": total * 2.0,
        "history": [],
        "parts": 1,
        "skipped": 0,
        "seed": 0,
        "precision": "fp32",
        "machine": "x86_64",
        "processor": "Chip 9000 (AVX2)",
        "chance": 0.1,
        "versions": {},
        "device": "cpu",
        "replicas": 1,
        "returned": 3,
        "notes": [],
    }


def exported(size: int, accuracy: float) -> dict[str, Any]:
    """The result of an exported file of `size` bytes, with an interval of 0.1 on each side."""
    packed = np.packbits(np.arange(400) < round(400 * accuracy)).tobytes()
    return {
        "file": "model",
        "bytes": size,
        "difference": 0.0,
        "order0_entropy": {},
        "accuracy": accuracy,
        "accuracy_low": accuracy - 0.1,
        "accuracy_high": accuracy + 0.1,
        "right": round(accuracy * 400),
        "test_images": 400,
        "correct": "",
        "loss": 1.0,
        "validation_accuracy": accuracy,
        "validation_images": 400,
        "validation_correct": base64.b64encode(packed).decode(),
        "processor": "Chip 9000 (AVX2)",
        "versions": {"torch": "2.9.0"},
        "seconds": 1.0,
        "notes": [],
    }

"""Recovery methods: how the weights and the learning rate restart after a pruning step."""

from __future__ import annotations

RECOVERIES = ("fine_tune", "lr_rewind", "weight_rewind", "random_reinit")


REWINDS = ("lr_rewind", "weight_rewind")


RESTARTS = ("weight_rewind", "random_reinit")


IN_WORDS = {
    "fine_tune": "fine-tuning",
    "lr_rewind": "learning-rate rewinding",
    "weight_rewind": "weight rewinding",
    "random_reinit": "random re-initialization",
}
